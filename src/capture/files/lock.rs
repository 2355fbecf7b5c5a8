//! Locks on files.

use crate::kernel::KernelError;
use crate::linux::{File, FileLock as LinuxLock, LockFlags, Struct, settled};
use crate::memory::GuestVirt;
use crate::snapshot::{FileLock, LockKind};

use super::super::error::CaptureError;
use super::super::obstacle::Obstacles;
use super::Files;

/// `F_RDLCK` and `F_WRLCK` (`include/uapi/asm-generic/fcntl.h`).
const F_RDLCK: u32 = 0;
const F_WRLCK: u32 = 1;
/// `OFFSET_MAX`: the end of a lock on all that follows.
const OFFSET_MAX: u64 = i64::MAX as u64;

/// What made the locks of an open file, and for whom they are.
pub(super) struct Locker {
    /// The descriptor table, which owns POSIX locks.
    pub table: GuestVirt,
    pub pid: u32,
    pub fd: u32,
    /// Whether locks of the open file itself were not read yet.
    pub first: bool,
}

impl<'k> Files<'k> {
    /// The locks that were made through an open file; whether one of them
    /// belongs to the open file and not to a process.
    pub(super) fn locks(
        &mut self,
        file: &File<'k>,
        locker: &Locker,
        obstacles: &mut Obstacles,
    ) -> Result<bool, CaptureError> {
        let found = settled(|| found(file, locker))?;
        for lock in &found {
            if let Err(why) = lock {
                obstacles.add(format!("fd {} {why}", locker.fd));
            }
        }
        let locks = || found.iter().filter_map(|lock| lock.as_ref().ok());
        self.tables.locks.extend(locks());
        Ok(locks().any(|lock| lock.kind != LockKind::Posix))
    }
}

/// Whether a lock was made through an open file.
pub(super) fn is_locked(file: &File<'_>) -> Result<bool, KernelError> {
    let own = |lock: Result<LinuxLock<'_>, KernelError>| Ok(lock?.file()? == file.addr());
    settled(|| {
        let Some(context) = file.inode()?.map_or(Ok(None), |inode| inode.flctx())? else {
            return Ok(false);
        };
        for list in [context.flock()?, context.posix()?, context.lease()?] {
            let locks = list.entries::<LinuxLock<'_>>("list").map(own);
            if locks.collect::<Result<Vec<bool>, KernelError>>()?.contains(&true) {
                return Ok(true);
            }
        }
        Ok(false)
    })
}

type Found = Result<FileLock, &'static str>;

/// In the order in which `/proc/PID/fdinfo` lists them.
fn found(file: &File<'_>, locker: &Locker) -> Result<Vec<Found>, KernelError> {
    let Some(context) = file.inode()?.map_or(Ok(None), |inode| inode.flctx())? else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for list in [context.flock()?, context.posix()?, context.lease()?] {
        for lock in list.entries::<LinuxLock<'_>>("list") {
            let lock = lock?;
            if lock.file()? == file.addr() {
                found.extend(read(&lock, locker)?);
            }
        }
    }
    Ok(found)
}

/// A lock that is to be read at this descriptor.
fn read(lock: &LinuxLock<'_>, locker: &Locker) -> Result<Option<Found>, KernelError> {
    let flags = LockFlags::from_bits_retain(lock.flags()?);
    let kind = if flags.contains(LockFlags::LEASE) {
        LockKind::Lease
    } else if flags.contains(LockFlags::FLOCK) {
        LockKind::Flock
    } else if flags.contains(LockFlags::OFDLCK) {
        LockKind::Ofd
    } else if flags.contains(LockFlags::POSIX) {
        LockKind::Posix
    } else {
        return Ok(Some(Err("holds a lock of an unknown kind")));
    };
    let is_ours = match kind {
        LockKind::Posix => lock.owner()? == locker.table,
        _ => locker.first,
    };
    if !is_ours {
        return Ok(None);
    }
    if flags.intersects(LockFlags::UNLOCK_PENDING | LockFlags::DOWNGRADE_PENDING) {
        return Ok(Some(Err("holds a lease that is being broken")));
    }
    let exclusive = match lock.kind()? {
        F_RDLCK => false,
        F_WRLCK => true,
        _ => return Ok(Some(Err("holds a lock that is neither shared nor exclusive"))),
    };
    // Leases are on the whole file and have no range since 6.9.
    let (start, end) = match kind {
        LockKind::Lease => (0, OFFSET_MAX),
        _ => (lock.start()?, lock.end()?),
    };
    if start > end || end > OFFSET_MAX {
        let why = format!("it reaches from {start} to {end}");
        return Err(KernelError::Corrupt { what: "file_lock".into(), addr: lock.addr(), why });
    }
    let len = (end != OFFSET_MAX).then_some(end - start + 1);
    let Locker { pid, fd, .. } = *locker;
    Ok(Some(Ok(FileLock { kind, exclusive, pid, fd, start, len })))
}
