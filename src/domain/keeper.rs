//! The child that continues the VM when this process dies within a pause, even
//! by SIGKILL.
//!
//! It is forked before the first pause and waits on a pipe for our end. Where
//! QEMU's monitor is a socket of ours it shares that, so that its `cont` comes
//! after a `stop` that we have sent.
//!
//! Where libvirt holds the monitor the child has a connection of its own to
//! libvirt, opened before anything is paused. Calls on two connections have no
//! order, so there it is the child that stops and continues the VM, when told
//! by the pipe, and at our end too.
//!
//! What QEMU's gdb stub has not read by our end it would read once the VM runs,
//! and stop it again: the child closes a stub of ours first.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::panic::{self, AssertUnwindSafe};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{self, ForkResult, Pid};

use super::command::human;
use super::continuation::Continuation;
use super::error::{DomainError, Result};
use super::libvirt::{LibvirtAddress, LibvirtDomain, State};

/// What the keeper sends to QEMU, and what it looks for in the answers to know
/// that QEMU has read it: closing a socket with unread answers would make QEMU
/// hang up first.
const CONTINUE: &[u8] = b"\n{\"execute\":\"cont\",\"id\":\"ovmigrate-keeper\"}\n";
/// What it sends before where our stub may be open.
const CLOSE_STUB: &[u8] = b"\n{\"execute\":\"human-monitor-command\",\"arguments\":\
                           {\"command-line\":\"gdbserver none\"}}\n";
const ANSWERED: &[u8] = b"ovmigrate-keeper";

/// How long the keeper waits for each part of the answer.
const ANSWER_LIMIT_MS: i32 = 10_000;

/// How long the keeper may take to connect to libvirt, to stop or continue a
/// domain. libvirt itself waits 30 s for one that is busy (`QEMU_JOB_WAIT_TIME`).
const LIBVIRT_LIMIT: Duration = Duration::from_secs(60);

/// How long the keeper tries to continue a domain after our end: libvirt's
/// daemon may be restarting.
const CONTINUE_LIMIT: Duration = Duration::from_secs(120);
const CONTINUE_RETRY: Duration = Duration::from_millis(200);

/// What the keeper is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Order {
    /// The VM runs, or is to be continued.
    Runs,
    /// It is paused by us from now on, or is to be.
    Paused,
    /// Within a pause, QEMU's gdb stub is opened by us.
    StubOpens,
}

/// The child that continues the VM after our death.
#[derive(Debug)]
pub(super) struct Keeper {
    /// Dropped first: its end ends the child.
    pipe: Option<OwnedFd>,
    answers: OwnedFd,
    /// Whether it stops and continues the VM itself.
    acts: bool,
    /// Whether it is known to be ready.
    ready: bool,
    child: Pid,
}

impl Keeper {
    /// Forks the child, which [is ready](Self::await_ready) some time later. It
    /// keeps `claim`, so that nobody else changes the VM before it has done its
    /// part.
    pub fn start(continuation: Continuation<'_>, claim: BorrowedFd<'_>) -> Result<Self> {
        let failed = |e| DomainError::io("cannot start the child that continues the VM", e);
        let pipe = || unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(failed);
        let (reader, writer) = pipe()?;
        let (answers, answer) = pipe()?;
        // SAFETY: the child runs nothing but `keep` and never returns. With a
        // QMP socket it makes async-signal-safe calls only. With libvirt it
        // also allocates, which glibc makes possible after a fork, and takes
        // locks of libvirt's: one that another thread held at the fork would
        // keep it from its first answer, which is an error.
        match unsafe { unistd::fork() }.map_err(failed)? {
            ForkResult::Child => {
                let fds = [&reader, &answer].map(AsRawFd::as_raw_fd);
                keep(fds, claim.as_raw_fd(), continuation)
            }
            ForkResult::Parent { child } => {
                drop((reader, answer));
                let acts = matches!(continuation, Continuation::Libvirt(_));
                Ok(Self { pipe: Some(writer), answers, acts, ready: false, child })
            }
        }
    }

    /// Waits until it is ready: before that it does not outlive us.
    ///
    /// # Errors
    ///
    /// As [`answer`](Self::answer).
    pub fn await_ready(&mut self) -> Result<()> {
        if !self.ready {
            self.answer()?;
            self.ready = true;
        }
        Ok(())
    }

    /// Whether it stops and continues the VM itself, and answers.
    pub fn acts(&self) -> bool {
        self.acts
    }

    /// What came of what it was told.
    ///
    /// # Errors
    ///
    /// What libvirt says, or that the child has died or hangs. It is ended then.
    pub fn answer(&self) -> Result<()> {
        let deadline = Instant::now() + LIBVIRT_LIMIT;
        let mut text = [0; ANSWER_MAX];
        let failed = |reason: &str| {
            // One that hangs would not see our end of the pipe.
            let _ = kill(self.child, Signal::SIGKILL);
            let what = "the child that stops and continues the VM";
            Err(DomainError::io(what, io::Error::other(reason.to_owned())))
        };
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.answers.as_fd(), PollFlags::POLLIN)], timeout) {
                Err(Errno::EINTR) => continue,
                Ok(1..) => {}
                _ => return failed("it does not answer"),
            }
            return match unistd::read(&self.answers, &mut text) {
                Err(Errno::EINTR) => continue,
                Ok(1..) if text[0] == DONE => Ok(()),
                Ok(len @ 1..) => Err(refused(&text[1..len])),
                _ => failed("it has died"),
            };
        }
    }

    /// Tells it what comes next.
    pub fn tell(&self, order: Order) -> io::Result<()> {
        let Some(pipe) = &self.pipe else { return Ok(()) };
        unistd::write(pipe, &[order as u8])?;
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

fn refused(reason: &[u8]) -> DomainError {
    let reason = String::from_utf8_lossy(reason).into_owned();
    DomainError::Refused { command: "stop or cont".into(), reason }
}

/// The child's life.
fn keep([pipe, answers]: [RawFd; 2], claim: RawFd, continuation: Continuation<'_>) -> ! {
    match continuation {
        Continuation::Qmp(qmp) => {
            leave_parent([pipe, answers, -1, claim, qmp.as_raw_fd()]);
            answer(&[DONE]);
            let mut last = Order::Runs;
            while let Some(order) = next_order() {
                last = order;
            }
            match last {
                Order::Runs => {}
                Order::Paused => continue_by_qmp(QMP, &[CONTINUE]),
                Order::StubOpens => continue_by_qmp(QMP, &[CLOSE_STUB, CONTINUE]),
            }
        }
        Continuation::Libvirt(address) => {
            leave_parent([pipe, answers, -1, claim, -1]);
            // Unwinding would run on in the parent's code.
            let _ = panic::catch_unwind(AssertUnwindSafe(|| keep_domain(address)));
        }
    }
    // SAFETY: ends the child at once, without the parent's exit handlers.
    unsafe { libc::_exit(0) }
}

/// An answer begins with one of these; behind the second comes the reason.
const DONE: u8 = b'+';
const FAILED: u8 = b'-';

/// Longest answer. A pipe takes and gives so much at once (`PIPE_BUF`).
const ANSWER_MAX: usize = 4096;

/// The keeper's descriptors: the orders' reading end, the answers' writing end,
/// `/dev/null` for what libvirt might print, the claim, which is only kept, and
/// the QMP connection.
const PIPE: RawFd = 0;
const ANSWERS: RawFd = 1;
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
        // Nor does a service manager that ends all of a service, nor an answer
        // to a parent that is gone.
        let signals = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGPIPE];
        for signal in signals {
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

fn answer(text: &[u8]) {
    // SAFETY: the pointer is to as many bytes as the length says.
    unsafe { libc::write(ANSWERS, text.as_ptr().cast(), text.len().min(ANSWER_MAX)) };
}

/// What the parent says; `None` at its end.
fn next_order() -> Option<Order> {
    let mut order = 0_u8;
    loop {
        // SAFETY: one byte is read into a local variable.
        match unsafe { libc::read(PIPE, (&raw mut order).cast(), 1) } {
            1 => {
                let orders = [Order::Runs, Order::Paused, Order::StubOpens];
                return orders.into_iter().find(|known| *known as u8 == order);
            }
            // SAFETY: the location of this thread's errno is always valid.
            -1 if unsafe { *libc::__errno_location() } == libc::EINTR => {}
            _ => return None,
        }
    }
}

/// Continues a VM through a connection to its monitor.
fn continue_by_qmp(qmp: RawFd, commands: &[&[u8]]) {
    for command in commands {
        // SAFETY: the pointer is to a constant of the length given.
        unsafe { libc::send(qmp, command.as_ptr().cast(), command.len(), libc::MSG_NOSIGNAL) };
    }
    await_answer(qmp);
}

/// The child's life where libvirt has the monitor.
fn keep_domain(address: &LibvirtAddress) {
    let domain = match address.open() {
        Ok(domain) => domain,
        Err(e) => return answer_with(Err(e)),
    };
    answer_with(Ok(()));
    let (mut paused, mut stub) = (false, false);
    while let Some(order) = next_order() {
        let done = match order {
            Order::Runs => domain.resume(),
            Order::Paused => domain.suspend(),
            Order::StubOpens => Ok(()),
        };
        // Also where libvirt refuses: it may have been too late only.
        paused = order != Order::Runs || (paused && done.is_err());
        stub = order == Order::StubOpens;
        answer_with(done);
    }
    if paused {
        continue_domain(domain, address, stub);
    }
}

fn answer_with(result: Result<()>) {
    match result {
        Ok(()) => answer(&[DONE]),
        Err(e) => answer(&[&[FAILED], e.to_string().as_bytes()].concat()),
    }
}

fn continue_domain(mut domain: LibvirtDomain, address: &LibvirtAddress, mut stub: bool) {
    let deadline = Instant::now() + CONTINUE_LIMIT;
    while Instant::now() < deadline {
        stub = stub && domain.command(&human("gdbserver none")).is_err();
        match domain.state() {
            Ok(State::Paused) if domain.resume().is_err() => {}
            Ok(_) => return,
            Err(_) => {
                if let Ok(again) = address.open() {
                    domain = again;
                }
            }
        }
        thread::sleep(CONTINUE_RETRY);
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
        let mut keeper = Keeper::start(Continuation::Qmp(qmp.as_fd()), claim.as_fd()).unwrap();
        keeper.await_ready().unwrap();
        (keeper, ours)
    }

    #[test]
    fn our_end_within_a_pause_continues_the_vm() {
        let (keeper, mut qmp) = keeper();
        keeper.tell(Order::Runs).unwrap();
        keeper.tell(Order::Paused).unwrap();
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
    fn our_end_while_a_stub_is_open_closes_it_first() {
        let (keeper, mut qmp) = keeper();
        keeper.tell(Order::Paused).unwrap();
        keeper.tell(Order::StubOpens).unwrap();
        let ending = std::thread::spawn(move || drop(keeper));
        let mut sent = vec![0; CLOSE_STUB.len() + CONTINUE.len()];
        qmp.read_exact(&mut sent).unwrap();
        assert_eq!(sent, [CLOSE_STUB, CONTINUE].concat());
        for command in sent.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            serde_json::from_slice::<serde_json::Value>(command).unwrap();
        }
        qmp.write_all(b"{\"return\": {}, \"id\": \"ovmigrate-keeper\"}\n").unwrap();
        ending.join().unwrap();
    }

    #[test]
    fn our_end_outside_a_pause_changes_nothing() {
        let (keeper, mut qmp) = keeper();
        keeper.tell(Order::Paused).unwrap();
        keeper.tell(Order::Runs).unwrap();
        drop(keeper);
        assert_eq!(qmp.read(&mut [0]).unwrap(), 0);
    }
}
