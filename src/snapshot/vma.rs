//! Virtual memory areas.

use bitflags::bitflags;
use serde::{Deserialize, Serialize};

use super::{FilePath, Id, SharedMemory};

/// A virtual memory area: `struct vm_area_struct`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Vma {
    /// First address (`vm_start`), page-aligned. For an area that grows down
    /// the guard gap is not part of it.
    pub start: u64,
    /// First address behind it (`vm_end`), page-aligned.
    pub end: u64,
    /// Offset in the file in bytes; 0 when there is none.
    pub offset: u64,
    /// Access rights.
    pub prot: Protection,
    /// What is mapped.
    pub kind: VmaKind,
    /// What `mmap()` or `mlock()` asked for.
    pub flags: VmaFlags,
    /// What `madvise()` asked for.
    pub advice: Advice,
    /// Of huge pages (`MAP_HUGETLB`), their size as a power of two.
    pub huge_page_bits: Option<u8>,
}

impl Vma {
    /// The file that it maps.
    pub fn file(&self) -> Option<MappedFile> {
        match self.kind {
            VmaKind::FilePrivate(file) | VmaKind::FileShared(file) => Some(file),
            _ => None,
        }
    }

    /// Size in bytes.
    pub fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether it has no bytes, which the kernel never makes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What an area maps. `[heap]` and `[stack]` are told apart as
/// `/proc/PID/maps` does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VmaKind {
    /// Private anonymous memory.
    Anonymous,
    /// Private anonymous memory around `start_brk` to `brk`.
    Heap,
    /// Private anonymous memory that holds `start_stack`.
    Stack,
    /// A file, privately: modified pages belong to the process.
    FilePrivate(MappedFile),
    /// A file, shared: pages belong to the file.
    FileShared(MappedFile),
    /// The ring of a context of asynchronous I/O (`io_setup()`).
    AioRing,
    /// The kernel's `[vdso]`.
    Vdso,
    /// The kernel's `[vvar]`; `[vvar_vclock]`, a mapping of its own since
    /// Linux 6.13, is joined with it.
    Vvar,
    /// The `[vsyscall]` page, the same in each process.
    Vsyscall,
}

/// A file in an area.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MappedFile {
    /// The file.
    pub file: Mapped,
    /// Whether it was opened for writing (`FMODE_WRITE`), so that `mprotect()`
    /// can make a shared area writable.
    pub writable: bool,
}

/// What kind of file is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mapped {
    /// One that is found by its path.
    Path(Id<FilePath>),
    /// Memory that is shared, also where it is mapped privately.
    Memory(Id<SharedMemory>),
}

bitflags! {
    /// Access rights of an area, with the values of `PROT_*`.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
    pub struct Protection: u32 {
        /// `PROT_READ`
        const READ = 1;
        /// `PROT_WRITE`
        const WRITE = 2;
        /// `PROT_EXEC`
        const EXEC = 4;
    }

    /// Properties of an area that were asked for when it was made.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
    pub struct VmaFlags: u32 {
        /// `VM_GROWSDOWN`: grows on a fault below it.
        const GROWS_DOWN = 1;
        /// `VM_LOCKED`: never swapped out.
        const LOCKED = 2;
        /// `VM_NORESERVE`: not counted as committed memory.
        const NO_RESERVE = 4;
        /// `VM_DROPPABLE`: the kernel may throw its pages away at any time;
        /// they are then zero.
        const DROPPABLE = 8;
    }

    /// Advice of `madvise()` that stays with an area.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
    pub struct Advice: u32 {
        /// `MADV_RANDOM` (`VM_RAND_READ`)
        const RANDOM = 1;
        /// `MADV_SEQUENTIAL` (`VM_SEQ_READ`)
        const SEQUENTIAL = 2;
        /// `MADV_DONTFORK` (`VM_DONTCOPY`)
        const DONT_FORK = 4;
        /// `MADV_DONTDUMP` (`VM_DONTDUMP`)
        const DONT_DUMP = 8;
        /// `MADV_MERGEABLE` (`VM_MERGEABLE`)
        const MERGEABLE = 16;
        /// `MADV_HUGEPAGE` (`VM_HUGEPAGE`)
        const HUGE_PAGE = 32;
        /// `MADV_NOHUGEPAGE` (`VM_NOHUGEPAGE`)
        const NO_HUGE_PAGE = 64;
        /// `MADV_WIPEONFORK` (`VM_WIPEONFORK`)
        const WIPE_ON_FORK = 128;
    }
}
