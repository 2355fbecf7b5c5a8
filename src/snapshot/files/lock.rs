//! Locks on files.

use serde::{Deserialize, Serialize};

/// A lock that a process holds on a file: `struct file_lock`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileLock {
    /// How it was made.
    pub kind: LockKind,
    /// Whether it is exclusive: `F_WRLCK`, else `F_RDLCK`.
    pub exclusive: bool,
    /// The process that has it, or one of them.
    pub pid: u32,
    /// A descriptor of it that refers to the locked file.
    pub fd: u32,
    /// First byte.
    pub start: u64,
    /// How many bytes; `None` for all that follow.
    pub len: Option<u64>,
}

/// Kinds of lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockKind {
    /// `fcntl(F_SETLK)`: the process's own.
    Posix,
    /// `flock()`: that of the open file.
    Flock,
    /// `fcntl(F_OFD_SETLK)`: that of the open file.
    Ofd,
    /// `fcntl(F_SETLEASE)`.
    Lease,
}
