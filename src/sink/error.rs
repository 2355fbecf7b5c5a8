//! Why images could not be written.

use std::io;
use std::path::{Path, PathBuf};

/// Why images could not be written.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The directory is in use.
    #[error("{} is not empty: choose a new or empty directory for images", .0.display())]
    NotEmpty(PathBuf),
    /// An earlier save did not end.
    #[error("{} holds an unfinished save: remove it, then save again", .0.display())]
    Unfinished(PathBuf),
    /// No room.
    #[error("no space left for the {needed} bytes of {}: free some or choose another directory", .path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        needed: u64,
    },
    /// The file system has no direct I/O, which was asked for.
    #[error(
        "{} cannot be written past the page cache: choose a directory on a disk, or leave out \
         --direct on",
        .0.display()
    )]
    NoDirect(PathBuf),
    /// A pages file got more or fewer bytes than were announced.
    #[error("{} got {written} bytes of pages where {announced} were announced", .path.display())]
    WrongSize {
        /// The file.
        path: PathBuf,
        /// Bytes it should have.
        announced: u64,
        /// Bytes it got.
        written: u64,
    },
    /// The host's file system failed.
    #[error("cannot {action} {}: {error}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What went wrong.
        error: io::Error,
    },
}

impl SinkError {
    pub(super) fn io(action: &'static str, path: &Path, error: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), error }
    }

    /// A write to a file that is to have `needed` bytes.
    pub(super) fn write(path: &Path, needed: u64, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full { path: path.to_owned(), needed }
            }
            _ => Self::io("write", path, error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_by_file_and_size() {
        let path = Path::new("pages-1.img");
        let error = SinkError::write(path, 8192, io::ErrorKind::StorageFull.into());
        assert!(error.to_string().starts_with("no space left for the 8192 bytes of pages-1.img"));
    }
}
