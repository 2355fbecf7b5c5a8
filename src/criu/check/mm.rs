//! Address spaces and their VMAs.

use crate::criu::container::ImageKind;
use crate::criu::findings::{Findings, ImageFindings};
use crate::criu::mm::MAX_AUXV;
use crate::criu::mm::aio_requests;
use crate::criu::proto::{FdTypes, MmEntry, VmaEntry};
use crate::criu::set::{ImageSet, ProcessImages};
use crate::criu::vma::{TASK_SIZE, areas_and_guards, map, status};
use crate::snapshot::{PAGE_SIZE, Protection};

/// Where the vsyscall page lies in each process.
const VSYSCALL: u64 = 0xffff_ffff_ff60_0000;

pub fn check(set: &ImageSet, process: &ProcessImages, findings: &mut Findings) {
    let pid = process.pstree.pid;
    let mut found = findings.of(ImageKind::Mm, pid, Some(pid));
    let mm = &process.mm;
    check_addresses(mm, &mut found);
    found.require(mm.mm_saved_auxv.len() <= MAX_AUXV, "mm_saved_auxv", || {
        format!("has {} words, more than {MAX_AUXV}", mm.mm_saved_auxv.len())
    });
    found.require(is_regular(set, u64::from(mm.exe_file_id)), "exe_file_id", || {
        format!("{} is no file opened by path in files.img", mm.exe_file_id)
    });
    check_vmas(set, mm, &mut found);
}

fn is_regular(set: &ImageSet, id: u64) -> bool {
    is_of_type(set, id, FdTypes::Reg)
}

fn is_of_type(set: &ImageSet, id: u64, kind: FdTypes) -> bool {
    let file = u32::try_from(id).ok().and_then(|id| set.files.get(&id));
    file.is_some_and(|file| file.r#type == kind as i32)
}

/// What `validate_prctl_map_addr()` demands (`kernel/sys.c`).
fn check_addresses(mm: &MmEntry, found: &mut ImageFindings<'_>) {
    for (field, address) in [
        ("mm_start_code", mm.mm_start_code),
        ("mm_end_code", mm.mm_end_code),
        ("mm_start_data", mm.mm_start_data),
        ("mm_end_data", mm.mm_end_data),
        ("mm_start_stack", mm.mm_start_stack),
        ("mm_start_brk", mm.mm_start_brk),
        ("mm_brk", mm.mm_brk),
        ("mm_arg_start", mm.mm_arg_start),
        ("mm_arg_end", mm.mm_arg_end),
        ("mm_env_start", mm.mm_env_start),
        ("mm_env_end", mm.mm_env_end),
    ] {
        found.require((PAGE_SIZE..TASK_SIZE).contains(&address), field, || {
            format!("{address:#x} is no address of user memory")
        });
    }
    for (field, start, end) in [
        ("mm_end_code", mm.mm_start_code, mm.mm_end_code),
        ("mm_end_data", mm.mm_start_data, mm.mm_end_data),
        ("mm_brk", mm.mm_start_brk, mm.mm_brk),
        ("mm_arg_end", mm.mm_arg_start, mm.mm_arg_end),
        ("mm_env_end", mm.mm_env_start, mm.mm_env_end),
    ] {
        found.require(start <= end, field, || format!("{end:#x} is before its start {start:#x}"));
    }
}

fn check_vmas(set: &ImageSet, mm: &MmEntry, found: &mut ImageFindings<'_>) {
    let (areas, guards) = areas_and_guards(mm);
    let mut end_before = 0;
    for vma in areas {
        found.require(vma.start >= end_before, "vmas", || {
            format!("{} is not behind the one before it, which ends at {end_before:#x}", name(vma))
        });
        end_before = vma.end;
        check_vma(set, vma, found);
    }
    for guard in guards {
        check_guard(areas, guard, found);
    }
    check_rings(mm, found);
    // Without vvar `criu restore` crashes; several are not told apart.
    for (kind, bit) in [("vvar", status::VVAR), ("vdso", status::VDSO)] {
        let count = mm.vmas.iter().filter(|vma| vma.status & bit != 0).count();
        found.require(count == 1, "vmas", || format!("hold {count} {kind} areas instead of one"));
    }
}

/// Of another size than its area a ring is not moved there; of no area it is moved
/// over what is there.
fn check_rings(mm: &MmEntry, found: &mut ImageFindings<'_>) {
    let is_ring = |vma: &&VmaEntry| vma.status & status::AIO_RING != 0;
    let areas = mm.vmas.iter().filter(is_ring);
    let areas: Vec<_> = areas.map(|vma| (vma.start, vma.end.saturating_sub(vma.start))).collect();
    let rings = mm.aios.iter().map(|ring| (ring.id, u64::from(ring.ring_len)));
    found.require(rings.eq(areas.iter().copied()), "aios", || {
        "are not those of the areas that are rings".into()
    });
    for ring in &mm.aios {
        let requests = aio_requests(ring.ring_len.into());
        found.require(ring.nr_req == requests && requests > 0, "aios.nr_req", || {
            format!("{} makes no ring of {} bytes", ring.nr_req, ring.ring_len)
        });
    }
}

/// Restore makes them by `madvise()` once all areas are there.
fn check_guard(areas: &[VmaEntry], guard: &VmaEntry, found: &mut ImageFindings<'_>) {
    let mut require = |holds: bool, problem: &str| {
        found.require(holds, "vmas", || format!("{} {problem}", name(guard)));
    };
    require(guard.status == status::GUARD, "is both an area and guard pages, or behind these");
    require(guard.start < guard.end, "has no bytes");
    require((guard.start | guard.end).is_multiple_of(PAGE_SIZE), "is not page-aligned");
    let area = areas.partition_point(|area| area.end <= guard.start);
    let within =
        areas.get(area).is_some_and(|area| area.start <= guard.start && guard.end <= area.end);
    require(within, "is to be guard pages, but in no area");
}

fn check_vma(set: &ImageSet, vma: &VmaEntry, found: &mut ImageFindings<'_>) {
    let mut require = |holds: bool, problem: &str| {
        found.require(holds, "vmas", || format!("{} {problem}", name(vma)));
    };
    let is_vsyscall = vma.status & status::VSYSCALL != 0;
    let within = if is_vsyscall {
        (vma.start, vma.end) == (VSYSCALL, VSYSCALL + PAGE_SIZE)
    } else {
        vma.end <= TASK_SIZE
    };
    require(within, "lies outside of what can be restored");
    require(vma.start < vma.end, "has no bytes");
    require((vma.start | vma.end | vma.pgoff).is_multiple_of(PAGE_SIZE), "is not page-aligned");
    require(Protection::from_bits(vma.prot).is_some(), "has access rights that are not known");
    let has = |bits: u32| vma.flags & bits == bits;
    if has(map::HUGETLB) {
        let page = 1_u64 << (vma.flags >> map::HUGE_SHIFT);
        require(page > PAGE_SIZE, "is of huge pages of no size");
        require((vma.start | vma.end).is_multiple_of(page), "is not aligned to its huge pages");
    }
    match vma.status & status::BACKINGS {
        status::ANON_PRIVATE => {
            let private = has(map::PRIVATE) != has(map::DROPPABLE);
            require(private && has(map::ANONYMOUS), "is not mapped as private and anonymous");
        }
        status::FILE_PRIVATE => require(has(map::PRIVATE), "is not mapped privately"),
        status::FILE_SHARED => require(has(map::SHARED), "is not mapped as shared"),
        status::ANON_SHARED => {
            require(has(map::SHARED | map::ANONYMOUS), "is not mapped as shared and anonymous");
        }
        0 => {}
        _ => require(false, "is of two kinds at once"),
    }
    let is_memory = vma.status & status::MEMFD != 0;
    let is_file = vma.status & (status::FILE_PRIVATE | status::FILE_SHARED) != 0;
    require(is_file || !is_memory, "is memory without a path, but maps no file");
    if is_file {
        let kind = if is_memory { FdTypes::Memfd } else { FdTypes::Reg };
        require(is_of_type(set, vma.shmid, kind), "maps a file that is not in files.img");
    }
}

fn name(vma: &VmaEntry) -> String {
    format!("{:#x}-{:#x}", vma.start, vma.end)
}
