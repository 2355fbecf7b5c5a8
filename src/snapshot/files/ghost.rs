//! Files that have no name any more.

use serde::{Deserialize, Serialize};
use serde_with::{hex::Hex, serde_as};

/// A regular file that was deleted while it was open: nothing but the snapshot
/// holds it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GhostFile {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Type and permissions.
    pub mode: u32,
    /// Device, as `stat()` gives it.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Last access.
    pub atime: FileTime,
    /// Last change of the content.
    pub mtime: FileTime,
    /// Size in bytes.
    pub size: u64,
    /// What is in it, by ascending offset; all else are holes.
    pub chunks: Vec<Chunk>,
}

/// A time that a file keeps, since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FileTime {
    /// Seconds.
    pub seconds: i64,
    /// Nanoseconds beyond.
    pub nanoseconds: u32,
}

/// A part of a file.
#[serde_as]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Chunk {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// What is there.
    #[serde_as(as = "Hex")]
    pub data: Vec<u8>,
}
