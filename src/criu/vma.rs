//! VMAs, within the mm image.

use super::EncodeError;
use super::ids::FileIds;
use super::proto;
use crate::snapshot::{Advice, Mapped, MappedFile, PageRange, Vma, VmaFlags, VmaKind};

/// Bits of `vma_entry.status` (`criu/include/image.h`).
pub mod status {
    /// An area that is dumped.
    pub const REGULAR: u32 = 1 << 0;
    /// The vsyscall page.
    pub const VSYSCALL: u32 = 1 << 2;
    /// The vdso.
    pub const VDSO: u32 = 1 << 3;
    /// The heap.
    pub const HEAP: u32 = 1 << 5;
    /// A file, mapped privately.
    pub const FILE_PRIVATE: u32 = 1 << 6;
    /// A file, shared.
    pub const FILE_SHARED: u32 = 1 << 7;
    /// Anonymous shared memory.
    pub const ANON_SHARED: u32 = 1 << 8;
    /// Private anonymous memory.
    pub const ANON_PRIVATE: u32 = 1 << 9;
    /// The vvar pages.
    pub const VVAR: u32 = 1 << 12;
    /// A ring of `io_setup()`.
    pub const AIO_RING: u32 = 1 << 13;
    /// The file is memory without a path: its record is of type MEMFD.
    pub const MEMFD: u32 = 1 << 14;
    /// A user shadow stack.
    pub const SHADOW_STACK: u32 = 1 << 15;
    /// Not an area: guard pages in one. Versions before 4.2 do not know it.
    pub const GUARD: u32 = 1 << 16;
    /// What is behind an area: of these it has at most one.
    pub const BACKINGS: u32 = FILE_PRIVATE | FILE_SHARED | ANON_SHARED | ANON_PRIVATE;
}

/// Values of `mmap()`'s flags.
pub mod map {
    /// `MAP_SHARED`
    pub const SHARED: u32 = 0x01;
    /// `MAP_PRIVATE`
    pub const PRIVATE: u32 = 0x02;
    /// `MAP_DROPPABLE`, in the place of `MAP_PRIVATE`
    pub const DROPPABLE: u32 = 0x08;
    /// `MAP_ANONYMOUS`
    pub const ANONYMOUS: u32 = 0x20;
    /// `MAP_GROWSDOWN`
    pub const GROWS_DOWN: u32 = 0x100;
    /// `MAP_LOCKED`
    pub const LOCKED: u32 = 0x2000;
    /// `MAP_NORESERVE`
    pub const NO_RESERVE: u32 = 0x4000;
    /// `MAP_HUGETLB`
    pub const HUGETLB: u32 = 0x40000;
    /// Where the size of huge pages is, as a power of two: `MAP_HUGE_SHIFT`.
    pub const HUGE_SHIFT: u32 = 26;
}

/// The first address that is not user memory (`TASK_SIZE_MAX`) with four levels
/// of page tables. Those with five map nothing above it unless asked to, and
/// CRIU before 4.2 restores nothing there.
pub const TASK_SIZE: u64 = (1 << 47) - 4096;

const O_RDONLY: u32 = 0;
const O_RDWR: u32 = 2;

/// One area.
pub fn entry(vma: &Vma, files: &FileIds) -> Result<proto::VmaEntry, EncodeError> {
    let file = vma.file();
    let shmid = file.map_or(Ok(0), |file| files.get(file.file.into()))?;
    let madv = advice(vma.advice);
    Ok(proto::VmaEntry {
        start: vma.start,
        end: vma.end,
        pgoff: file.map_or(0, |_| vma.offset),
        shmid: shmid.into(),
        prot: vma.prot.bits(),
        flags: flags(vma),
        status: status(vma.kind) | memfd(file),
        fd: -1,
        madv: (madv != 0).then_some(madv),
        fdflags: file.map(|file| if file.writable { O_RDWR } else { O_RDONLY }),
    })
}

/// Guard pages, which stand behind all areas (`collect_madv_guards()` in
/// `criu/mem.c`).
pub fn guard(range: PageRange) -> proto::VmaEntry {
    proto::VmaEntry {
        start: range.start,
        end: range.end(),
        status: status::GUARD,
        fd: -1,
        ..proto::VmaEntry::default()
    }
}

/// The areas of an image, and the guard pages behind them.
pub fn areas_and_guards(mm: &proto::MmEntry) -> (&[proto::VmaEntry], &[proto::VmaEntry]) {
    let is_guard = |entry: &proto::VmaEntry| entry.status & status::GUARD != 0;
    mm.vmas.split_at(mm.vmas.iter().position(is_guard).unwrap_or(mm.vmas.len()))
}

fn status(kind: VmaKind) -> u32 {
    use status::{
        AIO_RING, ANON_PRIVATE, FILE_PRIVATE, FILE_SHARED, HEAP, REGULAR, VDSO, VSYSCALL, VVAR,
    };
    match kind {
        // The stack is known by its MAP_GROWSDOWN.
        VmaKind::Anonymous | VmaKind::Stack => REGULAR | ANON_PRIVATE,
        VmaKind::Heap => REGULAR | ANON_PRIVATE | HEAP,
        VmaKind::FilePrivate(_) => REGULAR | FILE_PRIVATE,
        VmaKind::FileShared(_) => REGULAR | FILE_SHARED,
        VmaKind::AioRing => AIO_RING,
        VmaKind::Vdso => REGULAR | ANON_PRIVATE | VDSO,
        VmaKind::Vvar => REGULAR | ANON_PRIVATE | VVAR,
        VmaKind::Vsyscall => ANON_PRIVATE | VSYSCALL,
    }
}

fn memfd(file: Option<MappedFile>) -> u32 {
    match file.map(|file| file.file) {
        Some(Mapped::Memory(_)) => status::MEMFD,
        Some(Mapped::Path(_)) | None => 0,
    }
}

fn flags(vma: &Vma) -> u32 {
    let kind = match vma.kind {
        VmaKind::FilePrivate(_) => map::PRIVATE,
        VmaKind::FileShared(_) | VmaKind::AioRing => map::SHARED,
        // As CRIU writes it since 4.2.
        _ if vma.flags.contains(VmaFlags::DROPPABLE) => map::DROPPABLE | map::ANONYMOUS,
        _ => map::PRIVATE | map::ANONYMOUS,
    };
    [
        (VmaFlags::GROWS_DOWN, map::GROWS_DOWN),
        (VmaFlags::LOCKED, map::LOCKED),
        (VmaFlags::NO_RESERVE, map::NO_RESERVE),
    ]
    .iter()
    .filter(|(flag, _)| vma.flags.contains(*flag))
    .fold(kind | vma.huge_page_bits.map_or(0, huge_pages), |bits, (_, bit)| bits | bit)
}

fn huge_pages(bits: u8) -> u32 {
    map::HUGETLB | huge_page_size(bits)
}

/// The size of huge pages in flags of `mmap()` and of `memfd_create()`.
pub fn huge_page_size(bits: u8) -> u32 {
    u32::from(bits & 0x3f) << map::HUGE_SHIFT
}

/// Bit `n` for `MADV_*` of value `n`.
fn advice(advice: Advice) -> u64 {
    [
        (Advice::RANDOM, 1),
        (Advice::SEQUENTIAL, 2),
        (Advice::DONT_FORK, 10),
        (Advice::MERGEABLE, 12),
        (Advice::HUGE_PAGE, 14),
        (Advice::NO_HUGE_PAGE, 15),
        (Advice::DONT_DUMP, 16),
        (Advice::WIPE_ON_FORK, 18),
    ]
    .iter()
    .filter(|(flag, _)| advice.contains(*flag))
    .fold(0, |bits, (_, value)| bits | 1 << value)
}

/// Whether pages of an area may be filled in after the process runs again, as
/// `vma_entry_can_be_lazy()` in `criu/include/vma.h` decides it.
pub fn can_be_lazy(entry: &proto::VmaEntry) -> bool {
    let private_anonymous = map::PRIVATE | map::ANONYMOUS;
    entry.flags & private_anonymous == private_anonymous
        && entry.flags & (map::LOCKED | map::HUGETLB) == 0
        && entry.status & (status::VDSO | status::VVAR | status::VSYSCALL) == 0
}
