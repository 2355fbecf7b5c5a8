//! Memory areas and what the kernel keeps about them.

use std::collections::BTreeSet;

use crate::control::Target;
use crate::kernel::KernelError;
use crate::linux::{File, MmSettings, RequestCount, Struct, VmFlags, Vma as LinuxVma};
use crate::memory::PAGE_SIZE;
use crate::snapshot::{Advice, Id, MappedFile, Mm, Protection, Vma, VmaFlags, VmaKind};

use super::error::CaptureError;
use super::files::Files;
use super::obstacle::Obstacles;

/// Areas that no image can hold, and what they are.
const UNSUPPORTED: &[(VmFlags, &str)] = &[
    (VmFlags::PFNMAP, "maps device memory"),
    (VmFlags::MIXEDMAP, "maps device memory"),
    (VmFlags::IO, "maps device memory"),
    (VmFlags::SYNC, "is mapped with MAP_SYNC"),
    (VmFlags::PKEY, "has a protection key"),
    (VmFlags::LOCKONFAULT, "is locked on fault"),
    (VmFlags::SHADOW_STACK, "is a shadow stack"),
    (VmFlags::SEALED, "is sealed (mseal)"),
];
/// Settings of a memory as a whole that no image holds.
const UNSUPPORTED_SETTINGS: &[(MmSettings, &str)] = &[
    (
        MmSettings::THP_IF_ADVISED,
        "it has huge pages only where it asked for them (PR_THP_DISABLE_EXCEPT_ADVISED)",
    ),
    (
        MmSettings::DENIES_WRITE_EXEC,
        "it may not make memory executable that was writable (PR_SET_MDWE)",
    ),
    (MmSettings::MERGES_PAGES, "it has all its equal pages merged (PR_SET_MEMORY_MERGE)"),
];
/// Advice that stays with an area.
const ADVICE: &[(VmFlags, Advice)] = &[
    (VmFlags::RAND_READ, Advice::RANDOM),
    (VmFlags::SEQ_READ, Advice::SEQUENTIAL),
    (VmFlags::DONTCOPY, Advice::DONT_FORK),
    (VmFlags::DONTDUMP, Advice::DONT_DUMP),
    (VmFlags::MERGEABLE, Advice::MERGEABLE),
    (VmFlags::HUGEPAGE, Advice::HUGE_PAGE),
    (VmFlags::NOHUGEPAGE, Advice::NO_HUGE_PAGE),
    (VmFlags::WIPEONFORK, Advice::WIPE_ON_FORK),
];

/// Reads the address space of a process, without its pages.
pub(super) fn read<'k>(
    target: &Target<'k>,
    files: &mut Files<'k>,
    obstacles: &mut Obstacles,
) -> Result<Mm, CaptureError> {
    let missing = |what| CaptureError::Missing { pid: target.pid(), what };
    let mm = target.leader().mm()?.ok_or_else(|| missing("memory"))?;
    obstacles.add_if(!mm.ldt()?.is_null(), "it has a local descriptor table (modify_ldt)");
    let keys = mm.pkey_allocation_map()?.unwrap_or(0) & !1;
    obstacles.add_if(keys != 0, "it has protection keys (pkey_alloc)");
    obstacles.add_if(mm.def_flags()? & VmFlags::LOCKED.bits() != 0, "it has called mlockall()");
    let settings = mm.settings()?;
    for (setting, what) in UNSUPPORTED_SETTINGS {
        obstacles.add_if(settings.contains(*setting), *what);
    }
    obstacles.add_if(mm.lam_mask()?.unwrap_or(0) != 0, "it has tagged addresses (LAM)");
    let swapped = mm.swapped_pages()?;
    obstacles.add_if(swapped != 0, format!("{swapped} pages of its memory are swapped out"));
    let exe = mm.exe_file()?.ok_or_else(|| missing("executable"))?;
    let exe = files.mapped_path(&exe, "its executable", obstacles)?;
    let layout = Layout { brk: (mm.start_brk()?, mm.brk()?), stack: mm.start_stack()? };
    let rings = mm.aio_contexts()?;
    files.take_for::<(u64, u64)>(rings.len())?;
    let rings = rings.into_iter().map(|context| Ok((context.user_id()?, context.mmap_size()?)));
    let rings = rings.collect::<Result<BTreeSet<_>, KernelError>>()?;
    let mut vmas = Vec::new();
    for vma in mm.vmas()? {
        files.take_for::<Vma>(1)?;
        if let Some(vma) = layout.vma(&vma, files, obstacles)? {
            push_or_join(&mut vmas, vma);
        }
    }
    check_rings(&rings, &vmas, obstacles);
    Ok(Mm {
        start_code: mm.start_code()?,
        end_code: mm.end_code()?,
        start_data: mm.start_data()?,
        end_data: mm.end_data()?,
        start_brk: layout.brk.0,
        brk: layout.brk.1,
        start_stack: layout.stack,
        arg_start: mm.arg_start()?,
        arg_end: mm.arg_end()?,
        env_start: mm.env_start()?,
        env_end: mm.env_end()?,
        saved_auxv: mm.saved_auxv()?,
        exe: exe.unwrap_or(Id::new(0)),
        dumpable: target.leader().dumpable()?.ok_or_else(|| missing("memory"))?,
        thp_disabled: settings.contains(MmSettings::THP_DISABLED),
        membarrier_state: mm.membarrier_state()?,
        vmas,
        pages: Vec::new(),
        guards: Vec::new(),
    })
}

/// Notes rings of asynchronous I/O without a context, and contexts without a ring:
/// what is mapped can be unmapped.
fn check_rings(contexts: &BTreeSet<(u64, u64)>, vmas: &[Vma], obstacles: &mut Obstacles) {
    let rings = vmas.iter().filter(|vma| vma.kind == VmaKind::AioRing);
    let rings: BTreeSet<(u64, u64)> = rings.map(|vma| (vma.start, vma.len())).collect();
    for ring in rings.difference(contexts) {
        let what = format!("the memory at {:#x} is a ring of an AIO context that is gone", ring.0);
        obstacles.add(what);
    }
    for context in contexts.difference(&rings) {
        let what = format!("its AIO context {:#x} (io_setup) has no ring in memory", context.0);
        obstacles.add(what);
    }
}

/// Whether requests of asynchronous I/O of a process are being worked on.
///
/// # Errors
///
/// Where guest memory cannot be read.
pub(super) fn does_io<'k>(
    target: &Target<'k>,
    requests: &mut RequestCount<'k>,
) -> Result<bool, CaptureError> {
    let Some(mm) = target.leader().mm()? else { return Ok(false) };
    for context in mm.aio_contexts()? {
        if requests.in_flight(&context)? != 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Adds an area; the second one of `[vvar]` belongs to the first.
fn push_or_join(vmas: &mut Vec<Vma>, vma: Vma) {
    if let (VmaKind::Vvar, Some(last)) = (vma.kind, vmas.last_mut())
        && last.kind == VmaKind::Vvar
        && last.end == vma.start
    {
        last.end = vma.end;
    } else {
        vmas.push(vma);
    }
}

/// What tells heap and stack from other anonymous areas.
struct Layout {
    brk: (u64, u64),
    stack: u64,
}

impl Layout {
    fn vma<'k>(
        &self,
        vma: &LinuxVma<'k>,
        files: &mut Files<'k>,
        obstacles: &mut Obstacles,
    ) -> Result<Option<Vma>, CaptureError> {
        let (start, end, flags) = (vma.start()?, vma.end()?, vma.flags()?);
        let special = vma.special_name()?;
        let holder = format!("the memory at {start:#x}-{end:#x}");
        if special.is_none() {
            for (unsupported, what) in UNSUPPORTED {
                let present = flags.intersects(*unsupported);
                obstacles.add_if(present, format!("{holder} {what}"));
            }
        }
        let watched = vma.userfaultfd()?.is_some_and(|context| !context.is_null());
        obstacles.add_if(watched, format!("{holder} is watched by userfaultfd"));

        let (file, shared) = (vma.file()?, flags.contains(VmFlags::MAYSHARE));
        let huge_page_bits = match &file {
            Some(file) if flags.contains(VmFlags::HUGETLB) => file.huge_page_bits()?,
            _ => None,
        };
        let kind = match (special.as_deref(), file) {
            (Some("[vdso]"), _) => VmaKind::Vdso,
            (Some("[vvar]" | "[vvar_vclock]"), _) => VmaKind::Vvar,
            (Some(name), _) => {
                obstacles.add(format!("{holder} is {name}"));
                return Ok(None);
            }
            // Huge pages always have a file, which here nobody else has.
            (None, Some(file)) if !shared && files.is_anonymous_huge(&file)? => VmaKind::Anonymous,
            (None, Some(file)) if is_aio_ring(&file)? => VmaKind::AioRing,
            (None, Some(file)) => {
                let writable = shared && flags.contains(VmFlags::MAYWRITE);
                let shown = format!("the file mapped at {start:#x}");
                let Some(file) = files.mapped(&file, writable, &shown, obstacles)? else {
                    return Ok(None);
                };
                let mapped = MappedFile { file, writable };
                if shared { VmaKind::FileShared(mapped) } else { VmaKind::FilePrivate(mapped) }
            }
            (None, None) => self.anonymous(start, end),
        };
        let offset = match kind {
            VmaKind::FilePrivate(_) | VmaKind::FileShared(_) => {
                vma.pgoff()?.checked_mul(PAGE_SIZE).unwrap_or(0)
            }
            _ => 0,
        };
        Ok(Some(Vma {
            start,
            end,
            offset,
            prot: protection(flags),
            kind,
            flags: asked_for(flags),
            advice: ADVICE
                .iter()
                .filter(|(flag, _)| flags.contains(*flag))
                .fold(Advice::empty(), |all, (_, advice)| all | *advice),
            huge_page_bits,
        }))
    }

    /// As `/proc/PID/maps` names them (`get_vma_name()`, `fs/proc/task_mmu.c`).
    fn anonymous(&self, start: u64, end: u64) -> VmaKind {
        if start < self.brk.1 && end > self.brk.0 {
            VmaKind::Heap
        } else if start <= self.stack && self.stack <= end {
            VmaKind::Stack
        } else {
            VmaKind::Anonymous
        }
    }
}

fn is_aio_ring(file: &File<'_>) -> Result<bool, KernelError> {
    Ok(file.kernel().symbol("aio_ring_fops") == Some(file.op()?))
}

fn protection(flags: VmFlags) -> Protection {
    let mut prot = Protection::empty();
    prot.set(Protection::READ, flags.contains(VmFlags::READ));
    prot.set(Protection::WRITE, flags.contains(VmFlags::WRITE));
    prot.set(Protection::EXEC, flags.contains(VmFlags::EXEC));
    prot
}

fn asked_for(flags: VmFlags) -> VmaFlags {
    let mut asked = VmaFlags::empty();
    asked.set(VmaFlags::GROWS_DOWN, flags.contains(VmFlags::GROWSDOWN));
    asked.set(VmaFlags::LOCKED, flags.contains(VmFlags::LOCKED));
    asked.set(VmaFlags::NO_RESERVE, flags.contains(VmFlags::NORESERVE));
    asked.set(VmaFlags::DROPPABLE, flags.contains(VmFlags::DROPPABLE));
    asked
}
