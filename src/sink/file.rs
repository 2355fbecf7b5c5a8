//! Files of a directory of images.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};

use super::SinkError;

/// Images hold the memory of a process: they are the owner's alone.
const MODE: u32 = 0o600;

/// Makes a file that must not exist yet.
pub(super) fn create(path: &Path, flags: OFlag) -> Result<File, SinkError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .custom_flags(flags.bits())
        .open(path)
        .map_err(|error| SinkError::io("create", path, error))
}

/// Whether a file lies in memory anyway.
pub(super) fn is_memory(file: &File) -> bool {
    fstatfs(file).is_ok_and(|fs| fs.filesystem_type() == TMPFS_MAGIC)
}
