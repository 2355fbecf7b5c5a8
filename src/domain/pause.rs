//! Pausing the VM for a moment, so that it goes on whatever becomes of us.
//!
//! [`Domain::pause`] stops the vCPUs with QMP `stop`; [`Pause::resume`] (or
//! dropping the guard) continues them. If this process dies in between, even
//! by SIGKILL, a [`Keeper`] continues the VM: a child that was forked before
//! the first pause, shares the QMP connection and waits on a pipe for our end.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::wait::waitpid;
use nix::unistd::{self, ForkResult, Pid};
use serde_json::json;

use super::Domain;
use super::error::{DomainError, Result};
use super::gdb::Stub;

/// What a pause needs that lasts as long as the attachment.
#[derive(Debug, Default)]
pub(super) struct PauseState {
    /// Set while a [`Pause`] lives.
    paused: AtomicBool,
    /// Started by the first pause.
    keeper: Mutex<Option<Keeper>>,
}

impl PauseState {
    /// Tells the keeper, started where there is none, that the VM is about to
    /// be stopped by us.
    fn arm(&self, qmp: BorrowedFd<'_>) -> Result<()> {
        let mut slot = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let keeper = match slot.take() {
            Some(keeper) => keeper,
            None => Keeper::start(qmp)?,
        };
        keeper
            .tell(true)
            .map_err(|e| DomainError::io("the child that continues the VM has died", e))?;
        *slot = Some(keeper);
        Ok(())
    }

    /// Tells the keeper that the VM runs again. One that has died since does
    /// no harm; the next pause starts another.
    fn disarm(&self) {
        let mut slot = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        slot.take_if(|keeper| keeper.tell(false).is_err());
    }
}

/// A VM whose vCPUs stand still because we stopped them.
#[derive(Debug)]
#[must_use = "the VM continues when this is dropped"]
pub struct Pause<'a> {
    domain: &'a Domain,
    since: Instant,
    resumed: bool,
    /// For raising interrupts; closed once the VM runs again.
    pub(super) stub: Option<Stub>,
}

impl Domain {
    /// Stops the VM's vCPUs.
    ///
    /// # Errors
    ///
    /// [`DomainError::NotRunning`] where they do not run: a VM that its
    /// operator has paused must stay so, and two pauses at a time do not nest.
    pub fn pause(&self) -> Result<Pause<'_>> {
        if self.pause.paused.swap(true, Ordering::AcqRel) {
            let (domain, state) = (self.name.clone(), "paused".into());
            return Err(DomainError::NotRunning { domain, state });
        }
        self.stop().inspect_err(|_| self.pause.paused.store(false, Ordering::Release))
    }

    fn stop(&self) -> Result<Pause<'_>> {
        self.require_running()?;
        self.pause.arm(self.qmp().as_fd())?;
        let pause = Pause { domain: self, since: Instant::now(), resumed: false, stub: None };
        // From here on the guard continues the VM, also where `stop` has
        // failed half-way.
        self.qmp().execute("stop", json!({}))?;
        Ok(pause)
    }
}

impl<'a> Pause<'a> {
    /// The VM.
    pub fn domain(&self) -> &'a Domain {
        self.domain
    }

    /// Continues the VM and returns how long it stood still at most: from
    /// before `stop` was sent until `cont` was answered.
    ///
    /// # Errors
    ///
    /// What QEMU says; the VM may then still be paused.
    pub fn resume(mut self) -> Result<Duration> {
        self.cont()
    }

    fn cont(&mut self) -> Result<Duration> {
        self.domain.qmp().execute("cont", json!({}))?;
        let paused = self.since.elapsed();
        self.resumed = true;
        let state = &self.domain.pause;
        state.disarm();
        state.paused.store(false, Ordering::Release);
        if let Some(stub) = self.stub.take() {
            stub.close(&mut self.domain.qmp())?;
        }
        Ok(paused)
    }
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        if !self.resumed
            && let Err(e) = self.cont()
        {
            tracing::error!("VM {} may still be paused: {e}", self.domain.name);
        }
    }
}

/// What the keeper sends to QEMU, and what it looks for in the answers to know
/// that QEMU has read it: closing a socket with unread answers would make QEMU
/// hang up first.
const CONTINUE: &[u8] = b"\n{\"execute\":\"cont\",\"id\":\"ovmigrate-keeper\"}\n";
const ANSWERED: &[u8] = b"ovmigrate-keeper";

/// How long the keeper waits for each part of the answer.
const ANSWER_LIMIT_MS: i32 = 10_000;

/// The child that continues the VM after our death.
#[derive(Debug)]
struct Keeper {
    /// Dropped first: its end ends the child.
    pipe: Option<OwnedFd>,
    child: Pid,
}

impl Keeper {
    /// Forks the child. It inherits `qmp` and uses it only once we are dead.
    fn start(qmp: BorrowedFd<'_>) -> Result<Self> {
        let failed = |e| DomainError::io("cannot start the child that continues the VM", e);
        let (reader, writer) = unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(failed)?;
        // SAFETY: the child runs nothing but `keep`, which makes only
        // async-signal-safe calls and never returns.
        match unsafe { unistd::fork() }.map_err(failed)? {
            ForkResult::Child => keep(reader.as_raw_fd(), qmp.as_raw_fd()),
            ForkResult::Parent { child } => Ok(Self { pipe: Some(writer), child }),
        }
    }

    /// Tells whether the VM is paused by us from now on.
    fn tell(&self, paused: bool) -> io::Result<()> {
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

/// The child's life. Only async-signal-safe calls: the parent may have had
/// threads that held any lock at the fork.
fn keep(pipe: RawFd, qmp: RawFd) -> ! {
    // SAFETY: plain system calls on descriptors that this child owns; the
    // pointers are to constants and local arrays of the lengths given.
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
        // Nothing else stays open: not the writing end of the pipe, whose last
        // copy must go with the parent, nor the user's terminal or pipes.
        libc::dup2(pipe, 0);
        libc::dup2(qmp, 1);
        if libc::syscall(libc::SYS_close_range, 2, libc::c_uint::MAX, 0) != 0 {
            (2..libc::sysconf(libc::_SC_OPEN_MAX) as RawFd).for_each(|fd| {
                libc::close(fd);
            });
        }
        let mut paused = 0_u8;
        loop {
            match libc::read(0, (&raw mut paused).cast(), 1) {
                1 => {}
                -1 if *libc::__errno_location() == libc::EINTR => {}
                _ => break,
            }
        }
        if paused != 0 {
            libc::send(1, CONTINUE.as_ptr().cast(), CONTINUE.len(), libc::MSG_NOSIGNAL);
            await_answer(1);
        }
        libc::_exit(0)
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
        (Keeper::start(qmp.as_fd()).unwrap(), ours)
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
