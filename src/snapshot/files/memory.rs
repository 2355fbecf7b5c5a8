//! Memory that processes share.

use serde::{Deserialize, Serialize};

use crate::snapshot::{KernelString, PageRange};

/// A file that has never had a place in a directory and that is nowhere but in
/// memory: of `memfd_create()`, or behind a mapping that is shared and
/// anonymous.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SharedMemory {
    /// What `memfd_create()` was given; `/dev/zero` for anonymous memory,
    /// `/anon_hugepage` for that of huge pages.
    pub name: KernelString,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Type and permissions.
    pub mode: u32,
    /// Size in bytes.
    pub size: u64,
    /// What may not be done to it any more: `F_SEAL_*`.
    pub seals: u32,
    /// Of huge pages (`MFD_HUGETLB`), their size as a power of two.
    pub huge_page_bits: Option<u8>,
    /// What is in it, by ascending offset; all else are holes.
    pub pages: Vec<PageRange>,
}

impl SharedMemory {
    /// Number of its pages that are saved.
    pub fn page_count(&self) -> u64 {
        self.pages.iter().fold(0, |sum, range| sum.saturating_add(range.count))
    }
}
