//! Pages that the guest's kernel moves while they are copied.
//!
//! Frozen or not, a process has its pages moved (compaction, merging), made one
//! with their neighbours (`mm/khugepaged.c`) or taken apart again, those that are
//! all zeros given back (`split_huge_page_to_list_to_order()`). What was copied
//! from a frame that was another's by then is copied again, until a look at where
//! the pages lie finds nothing new.

use std::io::IoSlice;
use std::time::{Duration, Instant};

use crate::capture::{PageChange, PagePlan, PageRun};
use crate::memory::{GuestMemory, PAGE_SIZE};
use crate::sink::PagesWriter;

use super::buffers::Buffer;
use super::error::SaveError;

/// Pages of a process or of shared memory, at which nobody writes.
pub(super) struct Moving<'a, L, Z> {
    pub(super) memory: &'a GuestMemory,
    /// The process that an error is told of.
    pub(super) pid: i32,
    /// How long they may be moved again and again.
    pub(super) patience: Duration,
    /// Looks where they lie now.
    pub(super) look: L,
    /// Whether memory without a page reads as zeros, at this address.
    pub(super) is_zero_if_absent: Z,
}

impl<L, Z> Moving<'_, L, Z>
where
    L: Fn() -> Result<PagePlan, SaveError>,
    Z: Fn(u64) -> bool,
{
    /// Writes what changed since `written` was.
    pub(super) fn settle(
        &self,
        written: &PagePlan,
        writer: &mut dyn PagesWriter,
    ) -> Result<(), SaveError> {
        let offsets = Offsets::of(written);
        let mut page = Buffer::new(PAGE_SIZE as usize)?;
        let mut seen = written.clone();
        let started = Instant::now();
        loop {
            let now = (self.look)()?;
            if now == seen {
                return Ok(());
            }
            if now.guards() != seen.guards() || started.elapsed() > self.patience {
                return Err(self.endless());
            }
            tracing::debug!("pages of process {} were moved, writing them again", self.pid);
            for change in now.changes_since(&seen) {
                self.read(change, &mut page)?;
                self.write(change, &offsets, page.bytes(), writer)?;
            }
            seen = now;
        }
    }

    /// What a page has now.
    fn read(&self, change: PageChange, page: &mut Buffer) -> Result<(), SaveError> {
        match change {
            PageChange::Moved(run) => page.fill(self.memory, &[run]),
            // Nobody writes to the process's memory: it is as it was, all zeros.
            PageChange::New(run) if (self.is_zero_if_absent)(run.virt) => {
                page.fill(self.memory, &[run])
            }
            PageChange::Gone(addr) if (self.is_zero_if_absent)(addr) => {
                page.fill_with_zeros();
                Ok(())
            }
            PageChange::New(_) | PageChange::Gone(_) => Err(self.endless()),
        }
    }

    fn write(
        &self,
        change: PageChange,
        offsets: &Offsets,
        bytes: &[u8],
        writer: &mut dyn PagesWriter,
    ) -> Result<(), SaveError> {
        match offsets.of_page(change.addr()) {
            Some(offset) => Ok(writer.overwrite(offset, &[IoSlice::new(bytes)])?),
            None if bytes.iter().all(|&byte| byte == 0) => Ok(()),
            None => Err(self.endless()),
        }
    }

    fn endless(&self) -> SaveError {
        SaveError::PagesMove { pid: self.pid }
    }
}

/// Where pages are in a pages file.
struct Offsets(Vec<(PageRun, u64)>);

impl Offsets {
    fn of(plan: &PagePlan) -> Self {
        let mut offset = 0;
        let place = |run: &PageRun| {
            let start = offset;
            offset += run.len;
            (*run, start)
        };
        Self(plan.runs().iter().map(place).collect())
    }

    fn of_page(&self, addr: u64) -> Option<u64> {
        let after = self.0.partition_point(|(run, _)| run.virt <= addr);
        let (run, offset) = self.0.get(after.checked_sub(1)?)?;
        let within = addr - run.virt;
        (within < run.len).then(|| offset + within)
    }
}
