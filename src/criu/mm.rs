//! `mm-PID.img`: an address space.

use super::EncodeError;
use super::container::{ImageKind, ImageWriter};
use super::ids::{FileIds, FileUse};
use super::{proto, vma};
use crate::snapshot::Mm;

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
        aios: Vec::new(),
        thp_disabled: Some(mm.thp_disabled),
    })
}

fn vmas(mm: &Mm, files: &FileIds) -> Result<Vec<proto::VmaEntry>, EncodeError> {
    let areas = mm.vmas.iter().map(|area| vma::entry(area, files));
    let guards = mm.guards.iter().map(|range| Ok(vma::guard(*range)));
    areas.chain(guards).collect()
}
