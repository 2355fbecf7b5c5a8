//! Pages of shared memory, from the page cache.

use crate::linux::{CachedPages, CachedPlace, Inode, Page, Struct, settled};
use crate::memory::PAGE_SIZE;

use super::super::error::CaptureError;
use super::plan::{PagePlan, PageRun};

/// Shared memory in the guest, and so where its pages are.
#[derive(Clone, Copy, Debug)]
pub struct MemoryPages<'k> {
    inode: Inode<'k>,
    /// Of huge pages, their size as a power of two.
    huge_page_bits: Option<u8>,
}

impl<'k> MemoryPages<'k> {
    pub(in super::super) fn new(inode: Inode<'k>, huge_page_bits: Option<u8>) -> Self {
        Self { inode, huge_page_bits }
    }

    /// Finds the pages; the processes that share the memory are frozen. All
    /// that have ever been written to go out, the others are holes.
    ///
    /// # Errors
    ///
    /// [`CaptureError::SwappedMemory`]; [`CaptureError::MovingMemory`] while the
    /// kernel moves pages; [`CaptureError::TooMuchContent`] for a page cache that
    /// was made up.
    pub fn plan(&self) -> Result<PagePlan, CaptureError> {
        let kernel = self.inode.kernel();
        let size = self.inode.size()?;
        let ram = kernel.space().memory().len();
        let entries = usize::try_from(ram / PAGE_SIZE).unwrap_or(usize::MAX);
        let mut plan = PagePlan::default();
        let mut room = ram;
        let Some(cache) = self.inode.mapping()? else { return Ok(plan) };
        let listed = settled(|| cache.cached(entries))?;
        for found in &listed {
            let CachedPages { first, count, place } = self.in_base_pages(*found);
            let end = first.saturating_add(count).min(size.div_ceil(PAGE_SIZE));
            let pages = end.saturating_sub(first);
            let CachedPlace::Memory(phys) = place else {
                return Err(CaptureError::SwappedMemory { ino: self.inode.ino()? });
            };
            let page = Page::of_frame(kernel, phys)?;
            if pages != 0 && !page.is_uptodate()? && page.is_locked()? {
                return Err(self.is_moving()?);
            }
            // Given to the file by `fallocate()` and never written to.
            if pages == 0 || !page.is_uptodate()? {
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
        // What was said of a page may have been said of what its frame became.
        if settled(|| cache.cached(entries))? != listed {
            return Err(self.is_moving()?);
        }
        Ok(plan)
    }

    fn is_moving(&self) -> Result<CaptureError, CaptureError> {
        Ok(CaptureError::MovingMemory { ino: self.inode.ino()? })
    }

    /// Up to 6.6 the page cache counts huge pages, each with one slot; later
    /// what they consist of (`filemap_add_folio()`, `mm/filemap.c`).
    fn in_base_pages(&self, found: CachedPages) -> CachedPages {
        match self.huge_page_bits {
            Some(bits) if found.count == 1 => {
                let pages = 1_u64.checked_shl(bits.into()).map_or(1, |size| size / PAGE_SIZE);
                let first = found.first.saturating_mul(pages);
                CachedPages { first, count: pages, ..found }
            }
            _ => found,
        }
    }
}
