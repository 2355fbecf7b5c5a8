//! Address spaces.

use serde::{Deserialize, Serialize};

use super::{FilePath, Id, Vma};

/// Bytes in a page; larger pages of the guest count as several.
pub const PAGE_SIZE: u64 = 4096;

/// An address space: `struct mm_struct`. Field names are the kernel's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs)] // `struct mm_struct`'s own names
pub struct Mm {
    pub start_code: u64,
    pub end_code: u64,
    pub start_data: u64,
    pub end_data: u64,
    pub start_brk: u64,
    pub brk: u64,
    pub start_stack: u64,
    pub arg_start: u64,
    pub arg_end: u64,
    pub env_start: u64,
    pub env_end: u64,
    /// The auxiliary vector as `execve()` left it: pairs of type and value, up
    /// to and with `AT_NULL`.
    pub saved_auxv: Vec<u64>,
    /// The executable.
    pub exe: Id<FilePath>,
    /// `PR_SET_DUMPABLE`: 0, 1 or 2.
    pub dumpable: u32,
    /// `PR_SET_THP_DISABLE`.
    pub thp_disabled: bool,
    /// `MEMBARRIER_STATE_*`: what `membarrier()` was asked to be ready for.
    pub membarrier_state: u32,
    /// Areas, ascending.
    pub vmas: Vec<Vma>,
    /// Pages that belong to this address space alone and so go out with it,
    /// ascending and apart. Any other page of an area is zero, or the file's.
    pub pages: Vec<PageRange>,
    /// Pages of areas that must not be touched (`MADV_GUARD_INSTALL`),
    /// ascending and apart.
    pub guards: Vec<PageRange>,
}

/// Pages at consecutive addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PageRange {
    /// Address of the first page.
    pub start: u64,
    /// How many pages of [`PAGE_SIZE`].
    pub count: u64,
}

impl PageRange {
    /// First address behind the range, or `u64::MAX` where that overflows.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.bytes())
    }

    /// Size in bytes, or `u64::MAX` where that overflows.
    pub fn bytes(&self) -> u64 {
        self.count.saturating_mul(PAGE_SIZE)
    }
}

impl Mm {
    /// How many pages go out.
    pub fn page_count(&self) -> u64 {
        self.pages.iter().fold(0, |sum, range| sum.saturating_add(range.count))
    }
}
