//! Pages that the guest's kernel moves while they are copied.
//!
//! Frozen or not, a process has its pages moved (compaction, merging), made one
//! with their neighbours (`mm/khugepaged.c`) or taken apart again, those that are
//! all zeros given back (`split_huge_page_to_list_to_order()`). What was copied
//! from a frame that was another's by then is copied again, until a look at where
//! the pages lie finds nothing new.

use std::borrow::Cow;
use std::io::IoSlice;
use std::time::{Duration, Instant};

use crate::capture::{PageChange, PagePlan, PageRun};
use crate::memory::{GuestMemory, PAGE_SIZE};
use crate::sink::PagesWriter;

use super::buffer::Buffer;
use super::error::SaveError;
use super::zeros::is_zero;

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

/// How what was written is to what the process has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Settled {
    /// It is the same, after so many pages were written again.
    AsWritten {
        /// Their number.
        moved: u64,
    },
    /// Pages have come that have no place in what was written, or were moved where
    /// none can be written over.
    Otherwise,
}

impl<L, Z> Moving<'_, L, Z>
where
    L: Fn() -> Result<PagePlan, SaveError>,
    Z: Fn(u64) -> bool,
{
    /// Writes what changed since `found` was, of which `written` went out: by
    /// `writer`, where a page can be written over.
    pub(super) fn settle(
        &self,
        found: &PagePlan,
        written: &PagePlan,
        writer: Option<&dyn PagesWriter>,
    ) -> Result<Settled, SaveError> {
        let started = Instant::now();
        let (mut moved, mut offsets, mut page) = (0, None, Buffer::new(PAGE_SIZE as usize)?);
        let mut seen = Cow::Borrowed(found);
        loop {
            let now = (self.look)()?;
            if now == *seen {
                return Ok(Settled::AsWritten { moved });
            }
            if now.guards() != seen.guards() {
                return Ok(Settled::Otherwise);
            }
            if started.elapsed() > self.patience {
                return Err(SaveError::PagesMove { pid: self.pid });
            }
            tracing::debug!("pages of process {} were moved, writing them again", self.pid);
            let offsets = offsets.get_or_insert_with(|| Offsets::of(written));
            for change in now.changes_since(&seen) {
                if !self.read(change, &mut page)? || !write(change, offsets, page.bytes(), writer)?
                {
                    return Ok(Settled::Otherwise);
                }
                moved += 1;
            }
            seen = Cow::Owned(now);
        }
    }

    /// What a page has now; `false` where that cannot be said.
    fn read(&self, change: PageChange, page: &mut Buffer) -> Result<bool, SaveError> {
        match change {
            PageChange::Moved(run) => page.fill(self.memory, &[run])?,
            // Nobody writes to the process's memory: it is as it was, all zeros.
            PageChange::New(run) if (self.is_zero_if_absent)(run.virt) => {
                page.fill(self.memory, &[run])?;
            }
            PageChange::Gone(addr) if (self.is_zero_if_absent)(addr) => page.fill_with_zeros(),
            PageChange::New(_) | PageChange::Gone(_) => return Ok(false),
        }
        Ok(true)
    }
}

/// Writes a page again; `false` where there is no place for it. One that was left
/// out is still to be zeros.
fn write(
    change: PageChange,
    offsets: &Offsets,
    bytes: &[u8],
    writer: Option<&dyn PagesWriter>,
) -> Result<bool, SaveError> {
    match (offsets.of_page(change.addr()), writer) {
        (Some(offset), Some(writer)) => writer.write_at(offset, &[IoSlice::new(bytes)])?,
        (Some(_), None) => return Ok(false),
        (None, _) => return Ok(is_zero(bytes)),
    }
    Ok(true)
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
