//! `filelocks.img`: locks on files. `criu restore` reads it only when it is
//! told to (`--file-locks`).

use super::super::container::{ImageKind, ImageWriter};
use super::super::{EncodeError, Images, proto};
use crate::snapshot::{FileLock, LockKind, Snapshot};

/// Values of `file_lock_entry.flag` (`criu/include/file-lock.h`).
pub mod flag {
    /// `FL_POSIX`
    pub const POSIX: u32 = 1;
    /// `FL_FLOCK`
    pub const FLOCK: u32 = 2;
    /// `FL_OFD`
    pub const OFD: u32 = 4;
    /// `FL_LEASE`
    pub const LEASE: u32 = 8;
}

/// The locks, if there are any.
pub fn add(snapshot: &Snapshot, images: &mut Images) -> Result<(), EncodeError> {
    if snapshot.locks.is_empty() {
        return Ok(());
    }
    let mut image = ImageWriter::new(ImageKind::FileLocks);
    for lock in &snapshot.locks {
        image.record(&entry(lock))?;
    }
    images.add(ImageKind::FileLocks, 0, image.finish());
    Ok(())
}

fn entry(lock: &FileLock) -> proto::FileLockEntry {
    proto::FileLockEntry {
        flag: match lock.kind {
            LockKind::Posix => flag::POSIX,
            LockKind::Flock => flag::FLOCK,
            LockKind::Ofd => flag::OFD,
            LockKind::Lease => flag::LEASE,
        },
        // F_WRLCK, F_RDLCK
        r#type: u32::from(lock.exclusive),
        pid: lock.pid.cast_signed(),
        fd: lock.fd.cast_signed(),
        start: lock.start.cast_signed(),
        len: lock.len.unwrap_or(0).cast_signed(),
    }
}
