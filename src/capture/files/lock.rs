//! Locks on files.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use crate::kernel::KernelError;
use crate::linux::{File, FileLock as LinuxLock, FileLockContext, LockFlags, Struct, settled};
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

/// The locks on a file, each with its place in the order in which
/// `/proc/PID/fdinfo` lists them.
#[derive(Default)]
pub(super) struct Locks {
    by_maker: HashMap<Maker, Vec<(usize, Found)>>,
    /// The open files that they were made through.
    files: HashSet<GuestVirt>,
}

/// The open file that a lock was made through, and of a POSIX lock the descriptor
/// table that owns it.
type Maker = (GuestVirt, Option<GuestVirt>);

/// A lock, or why it cannot be saved.
type Found = Result<Range, &'static str>;

/// What is locked, and how.
#[derive(Clone, Copy)]
struct Range {
    kind: LockKind,
    exclusive: bool,
    start: u64,
    len: Option<u64>,
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
        let Some(locks) = self.locks_on(file)? else { return Ok(false) };
        let found = locks.of(file.addr(), locker);
        let mut has_own = false;
        for lock in found {
            match lock {
                Ok(Range { kind, exclusive, start, len }) => {
                    has_own |= kind != LockKind::Posix;
                    let Locker { pid, fd, .. } = *locker;
                    self.tables.locks.push(FileLock { kind, exclusive, pid, fd, start, len });
                }
                Err(why) => obstacles.add(format!("fd {} {why}", locker.fd)),
            }
        }
        Ok(has_own)
    }

    /// Whether a lock was made through an open file.
    pub(super) fn is_locked(&mut self, file: &File<'k>) -> Result<bool, CaptureError> {
        let locks = self.locks_on(file)?;
        Ok(locks.is_some_and(|locks| locks.files.contains(&file.addr())))
    }

    /// The locks on a file, which are read once: there can be as many as there are
    /// open files of it.
    fn locks_on(&mut self, file: &File<'k>) -> Result<Option<&Locks>, CaptureError> {
        let context = settled(|| file.inode()?.map_or(Ok(None), |inode| inode.flctx()))?;
        let Some(context) = context else { return Ok(None) };
        Ok(Some(match self.locks_on.entry(context.addr()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => {
                let found = settled(|| all_on(&context))?;
                self.budget.take_for::<(Maker, Found, FileLock)>(found.len())?;
                free.insert(found.into_iter().collect())
            }
        }))
    }
}

impl Locks {
    /// Those that are to be read at a descriptor.
    fn of(&self, file: GuestVirt, locker: &Locker) -> Vec<Found> {
        let of_process = self.by_maker.get(&(file, Some(locker.table)));
        let of_file = self.by_maker.get(&(file, None)).filter(|_| locker.first);
        let both = of_process.into_iter().chain(of_file).flatten();
        let mut found: Vec<&(usize, Found)> = both.collect();
        found.sort_by_key(|(place, _)| *place);
        found.into_iter().map(|(_, lock)| *lock).collect()
    }
}

impl FromIterator<(Maker, Found)> for Locks {
    fn from_iter<T: IntoIterator<Item = (Maker, Found)>>(all: T) -> Self {
        let mut locks = Self::default();
        for (place, (maker, lock)) in all.into_iter().enumerate() {
            locks.files.insert(maker.0);
            locks.by_maker.entry(maker).or_default().push((place, lock));
        }
        locks
    }
}

fn all_on(context: &FileLockContext<'_>) -> Result<Vec<(Maker, Found)>, KernelError> {
    let mut found = Vec::new();
    for list in [context.flock()?, context.posix()?, context.lease()?] {
        for lock in list.entries::<LinuxLock<'_>>("list") {
            let lock = lock?;
            let flags = LockFlags::from_bits_retain(lock.flags()?);
            let owner = match kind(flags) {
                Some(LockKind::Posix) => Some(lock.owner()?),
                _ => None,
            };
            found.push(((lock.file()?, owner), read(&lock, flags)?));
        }
    }
    Ok(found)
}

fn kind(flags: LockFlags) -> Option<LockKind> {
    if flags.contains(LockFlags::LEASE) {
        Some(LockKind::Lease)
    } else if flags.contains(LockFlags::FLOCK) {
        Some(LockKind::Flock)
    } else if flags.contains(LockFlags::OFDLCK) {
        Some(LockKind::Ofd)
    } else if flags.contains(LockFlags::POSIX) {
        Some(LockKind::Posix)
    } else {
        None
    }
}

fn read(lock: &LinuxLock<'_>, flags: LockFlags) -> Result<Found, KernelError> {
    let Some(kind) = kind(flags) else {
        return Ok(Err("holds a lock of an unknown kind"));
    };
    if flags.intersects(LockFlags::UNLOCK_PENDING | LockFlags::DOWNGRADE_PENDING) {
        return Ok(Err("holds a lease that is being broken"));
    }
    let exclusive = match lock.kind()? {
        F_RDLCK => false,
        F_WRLCK => true,
        _ => return Ok(Err("holds a lock that is neither shared nor exclusive")),
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
    Ok(Ok(Range { kind, exclusive, start, len }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_read_where_it_was_made() {
        let [file, other, table, elsewhere] = [0x10, 0x20, 0x30, 0x40].map(GuestVirt::new);
        let range = |kind, start| Ok(Range { kind, exclusive: false, start, len: None });
        let locks: Locks = [
            ((file, None), range(LockKind::Flock, 0)),
            ((file, Some(table)), range(LockKind::Posix, 1)),
            ((other, Some(table)), range(LockKind::Posix, 2)),
            ((file, Some(elsewhere)), range(LockKind::Posix, 3)),
            ((file, None), range(LockKind::Ofd, 4)),
            ((file, Some(table)), range(LockKind::Posix, 5)),
        ]
        .into_iter()
        .collect();
        let at = |file, table, first| -> Vec<u64> {
            let found = locks.of(file, &Locker { table, pid: 1, fd: 3, first });
            found.into_iter().filter_map(Result::ok).map(|range| range.start).collect()
        };
        // In the order of the list, those of the open file at its first descriptor.
        assert_eq!(at(file, table, true), [0, 1, 4, 5]);
        assert_eq!(at(file, table, false), [1, 5]);
        assert_eq!(at(file, elsewhere, false), [3]);
        assert_eq!(at(other, table, true), [2]);
        assert_eq!(locks.files, [file, other].into());
    }
}
