//! `mm-PID.img`: an address space.

use super::EncodeError;
use super::container::{ImageKind, ImageWriter};
use super::ids::{FileIds, FileUse};
use super::{proto, vma};
use crate::snapshot::{Mm, PAGE_SIZE, Vma, VmaKind};

/// `AT_VECTOR_SIZE` of CRIU on x86-64 (`criu/arch/x86/include/asm/types.h`):
/// words of an auxiliary vector that it reads when it dumps, and takes when it
/// restores. The kernel fills up what `PR_SET_MM_MAP` is not given with
/// `AT_NULL`. Up to 6.1 a vector ends within; that of 6.12 is longer by its end
/// mark.
pub const MAX_AUXV: usize = 44;

/// `mm-PID.img`
pub fn image(mm: &Mm, files: &FileIds) -> Result<Vec<u8>, EncodeError> {
    let mut image = ImageWriter::new(ImageKind::Mm);
    image.record(&entry(mm, files)?)?;
    Ok(image.finish())
}

fn entry(mm: &Mm, files: &FileIds) -> Result<proto::MmEntry, EncodeError> {
    Ok(proto::MmEntry {
        mm_start_code: mm.start_code,
        mm_end_code: mm.end_code,
        mm_start_data: mm.start_data,
        mm_end_data: mm.end_data,
        mm_start_stack: mm.start_stack,
        mm_start_brk: mm.start_brk,
        mm_brk: mm.brk,
        mm_arg_start: mm.arg_start,
        mm_arg_end: mm.arg_end,
        mm_env_start: mm.env_start,
        mm_env_end: mm.env_end,
        exe_file_id: files.get(FileUse::Mapped(mm.exe))?,
        mm_saved_auxv: mm.saved_auxv.iter().copied().take(MAX_AUXV).collect(),
        vmas: vmas(mm, files)?,
        dumpable: Some(mm.dumpable as i32),
        aios: mm.vmas.iter().filter(|vma| vma.kind == VmaKind::AioRing).map(ring).collect(),
        thp_disabled: Some(mm.thp_disabled),
    })
}

/// A ring of asynchronous I/O. Restore makes one by `io_setup()`, moves it to its
/// place, and has it end as many requests as there were (`restore_aio_ring()`,
/// `criu/pie/restorer.c`).
fn ring(vma: &Vma) -> proto::AioRingEntry {
    proto::AioRingEntry {
        id: vma.start,
        nr_req: aio_requests(vma.len()),
        ring_len: u32::try_from(vma.len()).unwrap_or(u32::MAX),
    }
}

/// For how many requests `io_setup()` makes a ring of so many bytes, as CRIU has it
/// (`aio_estimate_nr_reqs()`, `criu/aio.c`): the kernel makes room for twice as many
/// and two, and then fills the last page.
pub fn aio_requests(len: u64) -> u32 {
    /// `struct aio_ring` and `struct io_event`.
    const HEADER: u64 = 32;
    const EVENT: u64 = 32;
    let room = (len / PAGE_SIZE * PAGE_SIZE).saturating_sub(HEADER) / EVENT;
    u32::try_from(room.saturating_sub(2) / 2).unwrap_or(u32::MAX)
}

fn vmas(mm: &Mm, files: &FileIds) -> Result<Vec<proto::VmaEntry>, EncodeError> {
    let areas = mm.vmas.iter().map(|area| vma::entry(area, files));
    let guards = mm.guards.iter().map(|range| Ok(vma::guard(*range)));
    areas.chain(guards).collect()
}
