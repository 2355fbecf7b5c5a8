//! A process of the host, held so that no other with its PID is taken for it.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::error::{DomainError, Result};

/// A process held by a pidfd (`pidfd_open(2)`, Linux 5.3).
#[derive(Debug)]
pub struct ProcessHandle {
    pid: i32,
    pidfd: OwnedFd,
}

impl ProcessHandle {
    /// Takes hold of the process `pid` that started at `start_time`.
    ///
    /// # Errors
    ///
    /// [`DomainError::NotQemu`] where that process is gone.
    pub(super) fn open(pid: i32, start_time: u64) -> Result<Self> {
        let pidfd = pidfd_open(pid).map_err(|error| match error.raw_os_error() {
            Some(libc::ESRCH) => DomainError::NotQemu(pid),
            _ => DomainError::io(format!("cannot take hold of process {pid}"), error),
        })?;
        // Asked now that the PID can go to no other process unseen.
        match start_time_of(pid) {
            Ok(now) if now == start_time => Ok(Self { pid, pidfd }),
            _ => Err(DomainError::NotQemu(pid)),
        }
    }

    /// Takes hold of this process itself.
    #[cfg(test)]
    pub(crate) fn current() -> Self {
        let pid = std::process::id().cast_signed();
        Self::open(pid, start_time_of(pid).unwrap()).unwrap()
    }

    /// Its PID, which may be another's once it [has ended](Self::has_ended).
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether it has ended. While it has not, its PID is its own, and was
    /// before.
    pub fn has_ended(&self) -> bool {
        // A pidfd becomes readable when its process ends.
        let mut fds = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        loop {
            match poll(&mut fds, PollTimeout::ZERO) {
                Err(Errno::EINTR) => {}
                polled => return polled != Ok(0),
            }
        }
    }

    /// Opens `/proc/PID/mem`: the address space that the process has now, and
    /// never another. Once the process has ended, reads and writes move 0
    /// bytes (`mem_rw()` in `fs/proc/base.c`).
    ///
    /// # Errors
    ///
    /// [`DomainError::Permission`] where this user may not trace the process.
    pub fn open_memory(&self) -> Result<File> {
        self.open_proc("mem", File::options().read(true).write(true))
    }

    /// Opens `/proc/PID/pagemap`, which tells the pages that are there
    /// (Documentation/admin-guide/mm/pagemap.rst).
    ///
    /// # Errors
    ///
    /// As [`open_memory`](Self::open_memory).
    pub fn open_pagemap(&self) -> Result<File> {
        self.open_proc("pagemap", File::options().read(true))
    }

    fn open_proc(&self, name: &str, options: &fs::OpenOptions) -> Result<File> {
        let path = format!("/proc/{}/{name}", self.pid);
        let opened = options.open(&path);
        if self.has_ended() {
            return Err(DomainError::NotQemu(self.pid));
        }
        opened.map_err(|error| DomainError::io(format!("cannot open {path}{}", yama()), error))
    }
}

impl AsFd for ProcessHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl From<ProcessHandle> for OwnedFd {
    fn from(handle: ProcessHandle) -> Self {
        handle.pidfd
    }
}

fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: a system call on plain numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the descriptor is new and nobody else's. It is closed on exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// When the process that has `pid` now started, in clock ticks after the
/// host's boot (`proc_pid_stat(5)`, field 22).
pub(super) fn start_time_of(pid: i32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may itself hold blanks and parentheses.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let start = after_name.split_ascii_whitespace().nth(19).and_then(|text| text.parse().ok());
    start.ok_or_else(|| io::Error::other("no start time in /proc/PID/stat"))
}

/// What the Yama module adds to a refusal: it lets users trace their own
/// children only, or nobody but root.
fn yama() -> String {
    match fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").as_deref().map(str::trim) {
        Ok("0") | Err(_) => String::new(),
        Ok(scope) => format!(" (kernel.yama.ptrace_scope is {scope})"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;
    use std::process::{Child, Command};

    use super::*;

    fn sleeper() -> (Child, ProcessHandle) {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id() as i32;
        let handle = ProcessHandle::open(pid, start_time_of(pid).unwrap()).unwrap();
        (child, handle)
    }

    #[test]
    fn a_process_is_held_until_it_ends() {
        let (mut child, handle) = sleeper();
        let memory = handle.open_memory().unwrap();
        assert!(!handle.has_ended());
        let maps = fs::read_to_string(format!("/proc/{}/maps", handle.pid())).unwrap();
        let start = u64::from_str_radix(maps.split_once('-').unwrap().0, 16).unwrap();
        let mut byte = [0];
        assert_eq!(memory.read_at(&mut byte, start).unwrap(), 1);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(handle.has_ended());
        assert_eq!(memory.read_at(&mut byte, start).unwrap(), 0);
        assert!(matches!(handle.open_memory(), Err(DomainError::NotQemu(_))));
    }

    #[test]
    fn another_process_with_the_pid_is_not_taken_for_it() {
        let (mut child, handle) = sleeper();
        let start_time = start_time_of(handle.pid()).unwrap();
        let earlier = ProcessHandle::open(handle.pid(), start_time - 1);
        assert!(matches!(earlier, Err(DomainError::NotQemu(_))));
        child.kill().unwrap();
        child.wait().unwrap();
        let gone = ProcessHandle::open(handle.pid(), start_time);
        assert!(matches!(gone, Err(DomainError::NotQemu(_))));
    }
}
