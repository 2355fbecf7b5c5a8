//! Pipes and FIFOs.

use serde::{Deserialize, Serialize};
use serde_with::{hex::Hex, serde_as};

/// What the ends of a pipe or FIFO share: `struct pipe_inode_info`.
#[serde_as]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pipe {
    /// Inode number.
    pub ino: u64,
    /// How much it can hold, in bytes (`F_GETPIPE_SZ`).
    pub capacity: u32,
    /// What was written and not read yet.
    #[serde_as(as = "Hex")]
    pub data: Vec<u8>,
}
