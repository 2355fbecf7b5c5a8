//! One `ovmigrate` at a time changes a VM.
//!
//! The claim is a `flock()` on a pidfd of the QEMU process. Since Linux 6.9 a
//! pidfd is an inode of its own for each process (`fs/pidfs.c`), the same one
//! for whoever opens it, so the lock is tied to that very process: no file
//! lies around, no PID that is used again inherits it, and it holds between
//! users, mount, network and PID namespaces. The kernel drops it with its last
//! holder, also after SIGKILL. On an older host the directory `/proc/PID`
//! takes its place, which is one inode for each mount of `/proc` only.
//!
//! Every pause of the VM is made under the claim, and nothing is written but in
//! a pause. Reading needs none. The child that continues a VM after our death
//! ([`super::pause`]) keeps the claim until it has done so.
//!
//! Any user who sees the QEMU process can take the lock and so keep others
//! from changing the VM; it does not let them change it.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{fstat, major, minor};
use nix::sys::statfs::{FsType, fstatfs};

use super::error::{DomainError, Result};
use super::process::QemuProcess;

/// `PID_FS_MAGIC` (`include/uapi/linux/magic.h`).
const PID_FS: FsType = FsType(0x5049_4446);
/// How long another's claim is waited for: what is not a save ends in less.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether the other is done.
const INTERVAL: Duration = Duration::from_millis(20);

/// The sole right to change a VM, until dropped.
#[derive(Debug)]
pub(super) struct Claim(Flock<OwnedFd>);

impl Claim {
    /// Takes the claim, once another that holds it is done.
    ///
    /// # Errors
    ///
    /// [`DomainError::InUse`] where that takes longer than [`PATIENCE`].
    pub(super) fn take(domain: &str, process: &QemuProcess) -> Result<Self> {
        let mut lock = lockable(process)?;
        let deadline = Instant::now() + PATIENCE;
        let mut told = false;
        loop {
            lock = match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
                Ok(taken) => return Ok(Self(taken)),
                Err((lock, Errno::EAGAIN | Errno::EINTR)) => lock,
                Err((_, errno)) => {
                    return Err(DomainError::io(format!("cannot lock VM {domain}"), errno));
                }
            };
            if Instant::now() >= deadline {
                let holder = holder(lock.as_fd());
                return Err(DomainError::InUse { domain: domain.to_owned(), holder });
            }
            if !told {
                let (holder, limit) = (holder(lock.as_fd()), humantime::format_duration(PATIENCE));
                tracing::warn!("VM {domain} is in use by {holder}, waiting up to {limit}");
                told = true;
            }
            thread::sleep(INTERVAL);
        }
    }
}

/// Whether a process is seen to hold the claim on a VM.
pub(super) fn is_held(process: &QemuProcess) -> bool {
    let holder = lockable(process).map(|file| lock_holder(file.as_fd()));
    matches!(holder, Ok(Ok(Some(_))))
}

impl AsFd for Claim {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What stands for the QEMU process and can be locked.
fn lockable(process: &QemuProcess) -> Result<OwnedFd> {
    let held = process.hold()?;
    if fstatfs(&held).is_ok_and(|stat| stat.filesystem_type() == PID_FS) {
        return Ok(held.into());
    }
    let path = format!("/proc/{}", process.pid());
    let opened = File::open(&path);
    if held.has_ended() {
        return Err(DomainError::NotQemu(process.pid()));
    }
    Ok(opened.map_err(|error| DomainError::io(format!("cannot open {path}"), error))?.into())
}

/// Says who holds the lock on `file`.
fn holder(file: BorrowedFd<'_>) -> String {
    let pid = lock_holder(file).ok().flatten();
    let comm = pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).ok());
    match (pid, comm) {
        (Some(pid), Some(comm)) => format!("process {pid} ({})", comm.trim_end()),
        (Some(pid), None) => format!("process {pid}"),
        (None, _) => "another ovmigrate".to_owned(),
    }
}

/// The process in `/proc/locks` that holds the `flock()` on a file.
fn lock_holder(file: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    let stat = fstat(file)?;
    let inode = format!("{:02x}:{:02x}:{}", major(stat.st_dev), minor(stat.st_dev), stat.st_ino);
    let locks = fs::read_to_string("/proc/locks")?;
    Ok(locks.lines().find_map(|line| parse_lock(line, &inode)))
}

/// Parses `1: FLOCK  ADVISORY  WRITE 4711 00:05:84416 0 EOF`; who waits for a
/// lock has a line with `->`.
fn parse_lock(line: &str, inode: &str) -> Option<i32> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, "FLOCK", _, _, pid, place, ..] = words[..] else { return None };
    (place == inode).then(|| pid.parse().ok()).flatten().filter(|pid| *pid > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_found_among_the_locks() {
        let line = "1: FLOCK  ADVISORY  WRITE 4711 00:05:84416 0 EOF";
        assert_eq!(parse_lock(line, "00:05:84416"), Some(4711));
        assert_eq!(parse_lock(line, "00:05:84417"), None);
        for other in [
            "1: -> FLOCK  ADVISORY  WRITE 4711 00:05:84416 0 EOF",
            "1: OFDLCK ADVISORY  READ -1 00:05:84416 203 203",
            "1: FLOCK  ADVISORY  WRITE 0 00:05:84416 0 EOF",
            "1: FLOCK",
        ] {
            assert_eq!(parse_lock(other, "00:05:84416"), None, "{other}");
        }
    }

    #[test]
    fn the_lock_names_this_process() {
        let file = File::from(OwnedFd::from(tempfile::tempfile().unwrap()));
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap();
        let ours = std::process::id().cast_signed();
        assert_eq!(lock_holder(lock.as_fd()).unwrap(), Some(ours));
        assert!(holder(lock.as_fd()).starts_with(&format!("process {ours} (")));
    }
}
