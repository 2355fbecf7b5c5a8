//! Which pages go out, and where they lie in the guest.
//!
//! A page goes out when it belongs to the process alone: anonymous memory, and
//! copies that it made of private file pages by writing to them. Everything
//! else is zero or in a file. The vDSO goes out whole, mapped or not: CRIU
//! compares it with the destination's and patches it where they differ.

use std::ops::Range;

use crate::control::Target;
use crate::kernel::{Kernel, KernelError};
use crate::linux::{Mm as LinuxMm, Page, PteMarker, Struct, VdsoImage, symbol};
use crate::memory::{Entry, GuestPhys, GuestVirt, Leaf, PAGE_SIZE};
use crate::snapshot::{Mm, PageRange, Vma, VmaFlags, VmaKind};

use super::error::CaptureError;

/// Frames at consecutive addresses of the guest's physical memory and of the
/// process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageRun {
    /// Address in the process.
    pub virt: u64,
    /// First frame.
    pub phys: GuestPhys,
    /// Length in bytes, whole pages.
    pub len: u64,
}

impl PageRun {
    /// The same run in pieces of at most `max` bytes, whole pages.
    pub fn split(self, max: u64) -> impl Iterator<Item = Self> {
        let max = max.max(PAGE_SIZE) / PAGE_SIZE * PAGE_SIZE;
        (0..self.len.div_ceil(max)).filter_map(move |piece| {
            let offset = piece * max;
            Some(Self {
                virt: self.virt.checked_add(offset)?,
                phys: self.phys.checked_add(offset)?,
                len: max.min(self.len - offset),
            })
        })
    }
}

/// All pages of a process that go out, ascending by address in the process.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PagePlan {
    runs: Vec<PageRun>,
    guards: Vec<PageRange>,
}

impl PagePlan {
    /// The runs, ascending and apart.
    pub fn runs(&self) -> &[PageRun] {
        &self.runs
    }

    /// Bytes of all pages.
    pub fn bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.len).sum()
    }

    /// The pages as a snapshot holds them, without their place in the guest.
    pub fn ranges(&self) -> Vec<PageRange> {
        let mut ranges = Vec::new();
        for run in &self.runs {
            join(&mut ranges, run.virt, run.len);
        }
        ranges
    }

    /// Pages that must not be touched.
    pub fn guards(&self) -> &[PageRange] {
        &self.guards
    }

    /// The pages that lie elsewhere than in `before`, which has the same
    /// [`ranges`](Self::ranges), each with its offset among all pages in bytes.
    pub fn moved_since(&self, before: &Self) -> Vec<(u64, PageRun)> {
        let pages = |plan: &Self| {
            let runs = plan.runs.clone().into_iter();
            runs.flat_map(|run| run.split(PAGE_SIZE))
        };
        (0..)
            .step_by(PAGE_SIZE as usize)
            .zip(pages(self).zip(pages(before)))
            .filter(|(_, (now, then))| now.phys != then.phys)
            .map(|(offset, (now, _))| (offset, now))
            .collect()
    }

    fn push(&mut self, run: PageRun) {
        if let Some(last) = self.runs.last_mut()
            && last.virt + last.len == run.virt
            && last.phys.checked_add(last.len) == Some(run.phys)
        {
            last.len += run.len;
        } else {
            self.runs.push(run);
        }
    }
}

/// Finds the pages of a frozen process that go out; `mm` is its address space
/// as captured.
///
/// # Errors
///
/// [`CaptureError::Page`] for a page that was swapped out;
/// [`CaptureError::TooManyPages`] for page tables that were made up.
pub fn plan_pages(target: &Target<'_>, mm: &Mm) -> Result<PagePlan, CaptureError> {
    let pid = target.pid();
    let linux_mm = target.leader().mm()?.ok_or(CaptureError::Missing { pid, what: "memory" })?;
    let ram = linux_mm.kernel().space().memory().len();
    let mut walk = Walk {
        pid,
        mm: linux_mm,
        zero: ZeroPages::new(linux_mm.kernel())?,
        plan: PagePlan::default(),
        ram,
        room: ram.saturating_mul(OVERCOMMIT),
    };
    for vma in &mm.vmas {
        match vma.kind {
            VmaKind::Vdso => walk.vdso(vma)?,
            // The kernel swaps none of it to a disk, so it is not written to
            // one here: libc has the state of its random numbers there. The
            // process expects it to be lost at any time.
            VmaKind::Anonymous if vma.flags.contains(VmaFlags::DROPPABLE) => {}
            VmaKind::Anonymous | VmaKind::Heap | VmaKind::Stack => {
                walk.area(vma, |_| Ok(true))?;
            }
            VmaKind::FilePrivate(_) => {
                let kernel = linux_mm.kernel();
                let anonymous = |phys| Page::of_frame(kernel, phys)?.is_anonymous();
                walk.area(vma, anonymous)?;
            }
            // Its pages are the file's, its guard pages its own.
            VmaKind::FileShared(_) => walk.area(vma, |_| Ok(false))?,
            VmaKind::Vvar | VmaKind::Vsyscall => {}
        }
    }
    Ok(walk.plan)
}

/// How many times its RAM a guest's process may hold: the kernel merges equal
/// pages into one (`mm/ksm.c`).
const OVERCOMMIT: u64 = 2;

struct Walk<'k> {
    pid: i32,
    mm: LinuxMm<'k>,
    zero: ZeroPages,
    plan: PagePlan,
    /// RAM of the guest in bytes.
    ram: u64,
    /// Bytes that the plan may grow by.
    room: u64,
}

impl Walk<'_> {
    /// Adds the pages of one area that are there and that `is_private` says
    /// belong to the process.
    fn area(
        &mut self,
        vma: &Vma,
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
            self.push(PageRun { virt: leaf.virt.get(), phys, len: leaf.size })
        })
    }

    fn guard(&mut self, leaf: &Leaf) -> Result<(), CaptureError> {
        self.charge(leaf.size)?;
        join(&mut self.plan.guards, leaf.virt.get(), leaf.size);
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
        let what = match leaf.entry {
            Entry::Page { phys, .. } => return Ok(Some(phys)),
            Entry::Swap(raw) => match PteMarker::of_entry(raw) {
                Some(PteMarker::GUARD) => return Ok(None),
                Some(PteMarker::POISONED) => "lost to a memory error",
                Some(_) => "marked in an unknown way",
                None => "swapped out or being moved",
            },
        };
        Err(CaptureError::Page { pid: self.pid, addr: leaf.virt.get(), what })
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

/// Adds pages to ranges that end before them.
fn join(ranges: &mut Vec<PageRange>, start: u64, len: u64) {
    let count = len / PAGE_SIZE;
    match ranges.last_mut() {
        Some(last) if last.end() == start => last.count += count,
        _ => ranges.push(PageRange { start, count }),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn run(virt: u64, phys: u64, pages: u64) -> PageRun {
        PageRun { virt, phys: GuestPhys::new(phys), len: pages * PAGE_SIZE }
    }

    #[test]
    fn runs_join_where_both_sides_go_on() {
        let mut plan = PagePlan::default();
        plan.push(run(0x1000, 0x8000, 1));
        plan.push(run(0x2000, 0x9000, 2));
        plan.push(run(0x4000, 0x1000, 1));
        plan.push(run(0x6000, 0x2000, 1));
        assert_eq!(
            plan.runs(),
            [run(0x1000, 0x8000, 3), run(0x4000, 0x1000, 1), run(0x6000, 0x2000, 1)]
        );
        assert_eq!(
            plan.ranges(),
            [PageRange { start: 0x1000, count: 4 }, PageRange { start: 0x6000, count: 1 }]
        );
        assert_eq!(plan.bytes(), 5 * PAGE_SIZE);
    }

    #[test]
    fn pages_that_moved_are_found_at_their_offset() {
        let plan = |runs: &[PageRun]| PagePlan { runs: runs.to_vec(), ..PagePlan::default() };
        let before = plan(&[run(0x1000, 0x8000, 3), run(0x9000, 0x1000, 1)]);
        let after = plan(&[
            run(0x1000, 0x8000, 1),
            run(0x2000, 0x5000, 1),
            run(0x3000, 0xa000, 1),
            run(0x9000, 0x1000, 1),
        ]);
        assert_eq!(after.moved_since(&before), [(0x1000, run(0x2000, 0x5000, 1))]);
    }

    #[test]
    fn a_run_splits_into_all_of_itself() {
        let pieces: Vec<PageRun> = run(0x1000, 0x8000, 5).split(2 * PAGE_SIZE + 1).collect();
        assert_eq!(
            pieces,
            [run(0x1000, 0x8000, 2), run(0x3000, 0xa000, 2), run(0x5000, 0xc000, 1)]
        );
    }
}
