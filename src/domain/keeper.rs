//! The child that continues the VM when this process dies within a pause, even
//! by SIGKILL.
//!
//! It is forked before the first pause and waits on a pipe for our end. Where
//! QEMU's monitor is a socket of ours it shares that. Where libvirt holds the
//! monitor it has a connection of its own to libvirt, which it opens before
//! the VM is paused; a child that cannot is an error, and nothing is paused.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::panic::{self, AssertUnwindSafe};
use std::time::{Duration, Instant};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{self, ForkResult, Pid};

use super::error::{DomainError, Result};
use super::libvirt::{LibvirtAddress, State};

/// What the keeper sends to QEMU, and what it looks for in the answers to know
/// that QEMU has read it: closing a socket with unread answers would make QEMU
/// hang up first.
const CONTINUE: &[u8] = b"\n{\"execute\":\"cont\",\"id\":\"ovmigrate-keeper\"}\n";
const ANSWERED: &[u8] = b"ovmigrate-keeper";

/// How long the keeper waits for each part of the answer.
const ANSWER_LIMIT_MS: i32 = 10_000;

/// How long the keeper may take to connect to libvirt.
const READY_LIMIT: Duration = Duration::from_secs(10);

/// How long the keeper tries to continue a domain: libvirt's daemon may be
/// restarting, or be busy with the domain for as long as it waits itself (30 s,
/// `QEMU_JOB_WAIT_TIME`).
const CONTINUE_LIMIT: Duration = Duration::from_secs(120);
const CONTINUE_RETRY: Duration = Duration::from_millis(200);

/// How the VM is continued from another process.
#[derive(Debug, Clone, Copy)]
pub(super) enum Continuation<'a> {
    /// By `cont` on this connection.
    Qmp(BorrowedFd<'a>),
    /// By libvirt.
    Libvirt(&'a LibvirtAddress),
}

/// The child that continues the VM after our death.
#[derive(Debug)]
pub(super) struct Keeper {
    /// Dropped first: its end ends the child.
    pipe: Option<OwnedFd>,
    child: Pid,
}

impl Keeper {
    /// Forks the child, and waits until it is ready. It keeps `claim`, so that
    /// nobody else changes the VM before it has done its part.
    pub fn start(continuation: Continuation<'_>, claim: BorrowedFd<'_>) -> Result<Self> {
        let failed = |e| DomainError::io("cannot start the child that continues the VM", e);
        let pipe = || unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(failed);
        let (reader, writer) = pipe()?;
        let (ready, says_ready) = pipe()?;
        // SAFETY: the child runs nothing but `keep` and never returns. With a
        // QMP socket it makes async-signal-safe calls only. With libvirt it
        // also allocates, which glibc makes possible after a fork, and takes
        // locks of libvirt's: one that another thread held at the fork would
        // stop the child before it says that it is ready, which is an error
        // below.
        match unsafe { unistd::fork() }.map_err(failed)? {
            ForkResult::Child => {
                let fds = [&reader, &says_ready].map(AsRawFd::as_raw_fd);
                keep(fds, claim.as_raw_fd(), continuation)
            }
            ForkResult::Parent { child } => {
                drop((reader, says_ready));
                let keeper = Self { pipe: Some(writer), child };
                keeper.await_ready(&ready)?;
                Ok(keeper)
            }
        }
    }

    fn await_ready(&self, ready: &OwnedFd) -> Result<()> {
        let deadline = Instant::now() + READY_LIMIT;
        let mut byte = [0];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let polled = poll(&mut [PollFd::new(ready.as_fd(), PollFlags::POLLIN)], timeout);
            match polled {
                Err(nix::errno::Errno::EINTR) => {}
                Ok(1..) if unistd::read(ready, &mut byte) == Ok(1) => return Ok(()),
                _ => break,
            }
        }
        // A child that hangs would not see our end of the pipe.
        let _ = kill(self.child, Signal::SIGKILL);
        let reason = io::Error::other("it cannot connect to libvirt a second time");
        Err(DomainError::io("cannot start the child that continues the VM", reason))
    }

    /// Tells whether the VM is paused by us from now on.
    pub fn tell(&self, paused: bool) -> io::Result<()> {
        let Some(pipe) = &self.pipe else { return Ok(()) };
        unistd::write(pipe, &[u8::from(paused)])?;
        Ok(())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.pipe = None;
        // It may have been reaped by a handler of the program we live in.
        let _ = waitpid(self.child, None);
    }
}

/// The child's life.
fn keep([pipe, says_ready]: [RawFd; 2], claim: RawFd, continuation: Continuation<'_>) -> ! {
    match continuation {
        Continuation::Qmp(qmp) => {
            leave_parent([pipe, says_ready, -1, claim, qmp.as_raw_fd()]);
            say_ready();
            if paused_at_end() {
                continue_by_qmp(QMP);
            }
        }
        Continuation::Libvirt(address) => {
            leave_parent([pipe, says_ready, -1, claim, -1]);
            // Unwinding would run on in the parent's code.
            let _ = panic::catch_unwind(AssertUnwindSafe(|| keep_domain(address)));
        }
    }
    // SAFETY: ends the child at once, without the parent's exit handlers.
    unsafe { libc::_exit(0) }
}

/// The keeper's descriptors: the reading end of the pipe, the writing end of
/// the other, `/dev/null` for what libvirt might say, the claim, which is only
/// kept, and the QMP connection.
const PIPE: RawFd = 0;
const READY: RawFd = 1;
const MESSAGES: RawFd = 2;
const QMP: RawFd = 4;

/// Lets go of all that the child has from its parent, but for `fds`, which get
/// the numbers of their places; `-1` is `/dev/null`. Only async-signal-safe
/// calls: the parent may have had threads that held any lock at the fork.
fn leave_parent(fds: [RawFd; 5]) {
    // SAFETY: plain system calls on descriptors that this child owns; the
    // pointers are to constants.
    #[allow(clippy::multiple_unsafe_ops_per_block)]
    unsafe {
        // Out of the terminal's process group, so that Ctrl-C does not end
        // parent and keeper together.
        libc::setsid();
        // Nor does a service manager that ends all of a service.
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
            libc::signal(signal, libc::SIG_IGN);
        }
        libc::chdir(c"/".as_ptr());
        libc::prctl(libc::PR_SET_NAME, c"ovmigrate-keep".as_ptr());
        // Above their places first, as one may stand in another's.
        let above = fds.map(|fd| match fd {
            -1 => {
                let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
                libc::fcntl(null, libc::F_DUPFD, 16)
            }
            fd => libc::fcntl(fd, libc::F_DUPFD, 16),
        });
        for (place, fd) in (0..).zip(above) {
            libc::dup2(fd, place);
        }
        // Nothing else stays open: not the writing end of the pipe, whose last
        // copy must go with the parent, nor the user's terminal or pipes.
        if libc::syscall(libc::SYS_close_range, 5, libc::c_uint::MAX, 0) != 0 {
            (5..libc::sysconf(libc::_SC_OPEN_MAX) as RawFd).for_each(|fd| {
                libc::close(fd);
            });
        }
    }
}

fn say_ready() {
    // SAFETY: one byte is written from a constant, and a descriptor of ours closed.
    #[allow(clippy::multiple_unsafe_ops_per_block)]
    unsafe {
        libc::write(READY, c"r".as_ptr().cast(), 1);
        libc::dup2(MESSAGES, READY);
    }
}

/// Waits for the parent's end; whether it had paused the VM.
fn paused_at_end() -> bool {
    let mut paused = 0_u8;
    loop {
        // SAFETY: one byte is read into a local variable.
        match unsafe { libc::read(PIPE, (&raw mut paused).cast(), 1) } {
            1 => {}
            // SAFETY: the location of this thread's errno is always valid.
            -1 if unsafe { *libc::__errno_location() } == libc::EINTR => {}
            _ => return paused != 0,
        }
    }
}

/// Continues a VM through a connection to its monitor.
fn continue_by_qmp(qmp: RawFd) {
    // SAFETY: the pointer is to a constant of the length given.
    unsafe { libc::send(qmp, CONTINUE.as_ptr().cast(), CONTINUE.len(), libc::MSG_NOSIGNAL) };
    await_answer(qmp);
}

/// The child's life where libvirt has the monitor.
fn keep_domain(address: &LibvirtAddress) {
    let Ok(mut domain) = address.open() else { return };
    say_ready();
    if !paused_at_end() {
        return;
    }
    let deadline = Instant::now() + CONTINUE_LIMIT;
    // A pause that was asked for by the parent's last call may come after our
    // first look: what counts is that it runs at two of them.
    let mut seen_running = false;
    while Instant::now() < deadline {
        match domain.state() {
            Ok(State::Other) => return,
            Ok(State::Running) if seen_running => return,
            Ok(State::Running) => seen_running = true,
            Ok(State::Paused) => {
                seen_running = false;
                let _ = domain.resume();
            }
            Err(_) => {
                if let Ok(again) = address.open() {
                    domain = again;
                }
            }
        }
        std::thread::sleep(CONTINUE_RETRY);
    }
}

/// Reads until [`ANSWERED`] has gone by, QEMU has hung up or says no more.
fn await_answer(qmp: RawFd) {
    let mut buf = [0_u8; 4096];
    let mut matched = 0;
    loop {
        let mut poll = libc::pollfd { fd: qmp, events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd is passed.
        if unsafe { libc::poll(&raw mut poll, 1, ANSWER_LIMIT_MS) } != 1 {
            return;
        }
        // SAFETY: the buffer has the length given.
        let len =
            unsafe { libc::recv(qmp, buf.as_mut_ptr().cast(), buf.len(), libc::MSG_DONTWAIT) };
        let Some(bytes) =
            usize::try_from(len).ok().filter(|&len| len > 0).and_then(|len| buf.get(..len))
        else {
            return;
        };
        for byte in bytes {
            // The first letter does not come again in the word, so a mismatch
            // can only start over.
            matched = if *byte == ANSWERED[matched] {
                matched + 1
            } else {
                usize::from(*byte == ANSWERED[0])
            };
            if matched == ANSWERED.len() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A keeper whose QMP connection ends here.
    fn keeper() -> (Keeper, UnixStream) {
        let (qmp, ours) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let claim = tempfile::tempfile().unwrap();
        (Keeper::start(Continuation::Qmp(qmp.as_fd()), claim.as_fd()).unwrap(), ours)
    }

    #[test]
    fn our_end_within_a_pause_continues_the_vm() {
        let (keeper, mut qmp) = keeper();
        keeper.tell(false).unwrap();
        keeper.tell(true).unwrap();
        let ending = std::thread::spawn(move || drop(keeper));
        let mut sent = vec![0; CONTINUE.len()];
        qmp.read_exact(&mut sent).unwrap();
        assert_eq!(sent, CONTINUE);
        // It stays until QEMU has answered that very command.
        qmp.write_all(b"{\"return\": {}}\n{\"event\": \"RESUME\"}\n").unwrap();
        qmp.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert_eq!(qmp.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        qmp.write_all(b"{\"return\": {}, \"id\": \"ovmigrate-keeper\"}\n").unwrap();
        assert_eq!(qmp.read(&mut [0]).unwrap(), 0);
        ending.join().unwrap();
    }

    #[test]
    fn our_end_outside_a_pause_changes_nothing() {
        let (keeper, mut qmp) = keeper();
        keeper.tell(true).unwrap();
        keeper.tell(false).unwrap();
        drop(keeper);
        assert_eq!(qmp.read(&mut [0]).unwrap(), 0);
    }
}
