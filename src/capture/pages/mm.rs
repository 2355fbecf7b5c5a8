//! Pages of a process.
//!
//! A page goes out when it belongs to the process alone: anonymous memory, and
//! copies that it made of private file pages by writing to them. Everything
//! else is zero or in a file. Rings of asynchronous I/O go out whole, and so does
//! the vDSO, mapped or not: CRIU compares it with the destination's and patches it
//! where they differ.
//!
//! The kernel moves pages of processes that stand still, too: it takes an entry
//! out of a page table, tells all CPUs, and puts another in; to make one huge
//! page of many small ones it takes a whole table out for as long as it copies
//! (`collapse_huge_page()`, `mm/khugepaged.c`). What is not there then looks like
//! memory that was never touched. So the pages found are held against the count
//! that the kernel keeps of them.

use std::collections::HashMap;
use std::ops::Range;

use crate::control::Target;
use crate::kernel::{Kernel, KernelError};
use crate::linux::{Kioctx, Mm as LinuxMm, Page, PteMarker, Struct, VdsoImage, symbol};
use crate::memory::{Entry, GuestPhys, GuestVirt, Leaf, PAGE_SIZE};
use crate::snapshot::{Mm, Vma, VmaFlags, VmaKind};

use super::super::error::CaptureError;
use super::plan::{PagePlan, PageRun};

/// Finds the pages of a frozen process that go out; `mm` is its address space
/// as captured.
///
/// # Errors
///
/// [`CaptureError::Page`] for a page that was swapped out;
/// [`CaptureError::MovingPage`] and [`CaptureError::UncountedPages`] while the
/// kernel moves pages; [`CaptureError::TooManyPages`] for page tables that were
/// made up.
pub fn plan_pages(target: &Target<'_>, mm: &Mm) -> Result<PagePlan, CaptureError> {
    let pid = target.pid();
    let linux_mm = target.leader().mm()?.ok_or(CaptureError::Missing { pid, what: "memory" })?;
    let ram = linux_mm.kernel().space().memory().len();
    let mut walk = Walk {
        pid,
        mm: linux_mm,
        zero: ZeroPages::new(linux_mm.kernel())?,
        plan: PagePlan::default(),
        anonymous: 0,
        ram,
        room: ram.saturating_mul(OVERCOMMIT),
    };
    let kernel = linux_mm.kernel();
    let rings = linux_mm.aio_contexts()?.into_iter().map(|ring| Ok((ring.user_id()?, ring)));
    let rings = rings.collect::<Result<HashMap<_, _>, KernelError>>()?;
    let is_anonymous = |phys| Page::of_frame(kernel, phys)?.is_anonymous();
    for vma in &mm.vmas {
        match vma.kind {
            VmaKind::Vdso => {
                walk.vdso(vma)?;
                // A debugger's copies, which are not kept.
                walk.area(vma, Going::Nowhere, is_anonymous)?;
            }
            // The kernel swaps none of it to a disk, so it is not written to
            // one here: libc has the state of its random numbers there. The
            // process expects it to be lost at any time.
            VmaKind::Anonymous if vma.flags.contains(VmaFlags::DROPPABLE) => {
                walk.area(vma, Going::Nowhere, |_| Ok(true))?;
            }
            VmaKind::Anonymous | VmaKind::Heap | VmaKind::Stack => {
                walk.area(vma, Going::Out, |_| Ok(true))?;
            }
            VmaKind::FilePrivate(_) => walk.area(vma, Going::Out, is_anonymous)?,
            // Its pages are the file's, its guard pages its own.
            VmaKind::FileShared(_) => walk.area(vma, Going::Out, |_| Ok(false))?,
            VmaKind::AioRing => {
                let gone = CaptureError::Missing { pid, what: "AIO context" };
                walk.ring(vma, rings.get(&vma.start).ok_or(gone)?)?;
            }
            VmaKind::Vvar | VmaKind::Vsyscall => {}
        }
    }
    let mut counted = linux_mm.anonymous_pages()?;
    for thread in target.threads()? {
        counted = counted.saturating_add(thread.anonymous_pages()?);
    }
    if i64::try_from(walk.anonymous) != Ok(counted) {
        return Err(CaptureError::UncountedPages { pid, found: walk.anonymous, counted });
    }
    Ok(walk.plan)
}

/// Whether the pages of an area are saved.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Going {
    Out,
    Nowhere,
}

/// How many times its RAM a guest's process may hold: the kernel merges equal
/// pages into one (`mm/ksm.c`).
const OVERCOMMIT: u64 = 2;

struct Walk<'k> {
    pid: i32,
    mm: LinuxMm<'k>,
    zero: ZeroPages,
    plan: PagePlan,
    /// Pages found that the kernel counts as anonymous.
    anonymous: u64,
    /// RAM of the guest in bytes.
    ram: u64,
    /// Bytes that the plan may grow by.
    room: u64,
}

impl Walk<'_> {
    /// Counts the pages of one area that are there and that `is_private` says
    /// belong to the process, and adds them where they go out.
    fn area(
        &mut self,
        vma: &Vma,
        going: Going,
        is_private: impl Fn(GuestPhys) -> Result<bool, KernelError>,
    ) -> Result<(), CaptureError> {
        let range = GuestVirt::new(vma.start)..GuestVirt::new(vma.end);
        self.mm.space()?.walk(range, |leaf| {
            let Some(phys) = self.frame(&leaf)? else {
                return self.guard(&leaf);
            };
            if self.zero.contains(phys) || !is_private(phys)? {
                return Ok(());
            }
            // hugetlbfs keeps accounts of its own.
            if vma.huge_page_bits.is_none() {
                self.anonymous += leaf.size / PAGE_SIZE;
            }
            if going == Going::Nowhere {
                return Ok(());
            }
            self.push(PageRun { virt: leaf.virt.get(), phys, len: leaf.size })
        })
    }

    fn guard(&mut self, leaf: &Leaf) -> Result<(), CaptureError> {
        self.charge(leaf.size)?;
        self.plan.push_guards(leaf.virt.get(), leaf.size);
        Ok(())
    }

    fn push(&mut self, run: PageRun) -> Result<(), CaptureError> {
        self.charge(run.len)?;
        self.plan.push(run);
        Ok(())
    }

    fn charge(&mut self, len: u64) -> Result<(), CaptureError> {
        let too_many = CaptureError::TooManyPages { pid: self.pid, ram: self.ram };
        self.room = self.room.checked_sub(len).ok_or(too_many)?;
        Ok(())
    }

    /// The frame of a page; `None` for a guard page.
    fn frame(&self, leaf: &Leaf) -> Result<Option<GuestPhys>, CaptureError> {
        let (pid, addr) = (self.pid, leaf.virt.get());
        let what = match leaf.entry {
            Entry::Page { phys, .. } => return Ok(Some(phys)),
            Entry::Swap(raw) => match PteMarker::of_entry(raw) {
                Some(PteMarker::GUARD) => return Ok(None),
                Some(PteMarker::POISONED) => "lost to a memory error",
                Some(_) => "marked in an unknown way",
                None if self.mm.swapped_pages()? != 0 => "swapped out",
                None => return Err(CaptureError::MovingPage { pid, addr }),
            },
        };
        Err(CaptureError::Page { pid, addr, what })
    }

    /// The pages of a ring of asynchronous I/O, which the kernel writes to, mapped or
    /// not.
    fn ring(&mut self, vma: &Vma, context: &Kioctx<'_>) -> Result<(), CaptureError> {
        let offsets = (0..vma.len()).step_by(PAGE_SIZE as usize);
        for (offset, phys) in offsets.zip(context.frames()?) {
            self.push(PageRun { virt: vma.start + offset, phys, len: PAGE_SIZE })?;
        }
        Ok(())
    }

    /// The pages of the vDSO from the kernel's own image of it: the process
    /// maps only those that it has touched.
    fn vdso(&mut self, vma: &Vma) -> Result<(), CaptureError> {
        let missing = CaptureError::Missing { pid: self.pid, what: "vDSO image" };
        let image: VdsoImage<'_> = self.mm.vdso_image()?.ok_or(missing)?;
        let len = vma.len().min(image.size()?);
        for offset in (0..len).step_by(PAGE_SIZE as usize) {
            let phys = self.mm.kernel().translate(image.data()?.wrapping_add(offset))?;
            self.push(PageRun { virt: vma.start + offset, phys, len: PAGE_SIZE })?;
        }
        Ok(())
    }
}

/// Frames that stand for memory nobody has written to.
struct ZeroPages {
    small: Range<u64>,
    huge: Range<u64>,
}

impl ZeroPages {
    fn new(kernel: &Kernel) -> Result<Self, KernelError> {
        /// Base pages of a huge page of 2 MiB.
        const HUGE: u64 = 512;
        let pfn = |name| -> Result<u64, KernelError> {
            let mut word = [0; 8];
            kernel.read(symbol(kernel, name)?, &mut word)?;
            Ok(u64::from_le_bytes(word))
        };
        let range = |pfn: u64, len| pfn..pfn.saturating_add(len);
        Ok(Self {
            small: range(pfn("zero_pfn")?, 1),
            // All ones while there is none (`mm/huge_memory.c`).
            huge: range(pfn("huge_zero_pfn")?, HUGE),
        })
    }

    fn contains(&self, phys: GuestPhys) -> bool {
        let pfn = phys.pfn().get();
        self.small.contains(&pfn) || self.huge.contains(&pfn)
    }
}
