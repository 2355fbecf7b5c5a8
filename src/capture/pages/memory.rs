//! Pages of shared memory, from the page cache.

use crate::linux::{CachedPages, CachedPlace, Inode, Page, Struct, settled};
use crate::memory::PAGE_SIZE;

use super::super::error::CaptureError;
use super::plan::{PagePlan, PageRun};

/// Shared memory in the guest, and so where its pages are.
#[derive(Clone, Copy, Debug)]
pub struct MemoryPages<'k> {
    inode: Inode<'k>,
}

impl<'k> MemoryPages<'k> {
    pub(in super::super) fn of(inode: Inode<'k>) -> Self {
        Self { inode }
    }

    /// Finds the pages; the processes that share the memory are frozen. All
    /// that have ever been written to go out, the others are holes.
    ///
    /// # Errors
    ///
    /// [`CaptureError::SwappedMemory`]; [`CaptureError::TooMuchContent`] for a
    /// page cache that was made up.
    pub fn plan(&self) -> Result<PagePlan, CaptureError> {
        let kernel = self.inode.kernel();
        let size = self.inode.size()?;
        let ram = kernel.space().memory().len();
        let entries = usize::try_from(ram / PAGE_SIZE).unwrap_or(usize::MAX);
        let mut plan = PagePlan::default();
        let mut room = ram;
        let Some(cache) = self.inode.mapping()? else { return Ok(plan) };
        for CachedPages { first, count, place } in settled(|| cache.cached(entries))? {
            let end = first.saturating_add(count).min(size.div_ceil(PAGE_SIZE));
            let pages = end.saturating_sub(first);
            let CachedPlace::Memory(phys) = place else {
                return Err(CaptureError::SwappedMemory { ino: self.inode.ino()? });
            };
            // Given to the file by `fallocate()` and never written to.
            if pages == 0 || !Page::of_frame(kernel, phys)?.is_uptodate()? {
                continue;
            }
            let run = pages.checked_mul(PAGE_SIZE).zip(first.checked_mul(PAGE_SIZE));
            let left = run.and_then(|(len, _)| room.checked_sub(len));
            let (Some((len, virt)), Some(left)) = (run, left) else {
                return Err(CaptureError::TooMuchContent { ram });
            };
            room = left;
            plan.push(PageRun { virt, phys, len });
        }
        Ok(plan)
    }
}
