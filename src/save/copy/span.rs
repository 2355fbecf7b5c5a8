//! Pages and their bytes.

use std::io::IoSlice;
use std::ops::Range;
use std::slice;

use crate::capture::PageRun;
use crate::memory::{GuestMemory, MemoryError, PAGE_SIZE};

use super::super::error::SaveError;
use super::super::zeros;

/// Runs whose bytes lie one after the other.
pub(super) struct Span<'s> {
    pub(super) runs: &'s [PageRun],
    pub(super) bytes: &'s [u8],
}

impl<'s> Span<'s> {
    /// A run and the guest's own bytes of it.
    pub(super) fn borrowed(memory: &'s GuestMemory, run: &'s PageRun) -> Result<Self, SaveError> {
        debug_assert!(run.len.is_multiple_of(PAGE_SIZE));
        let bytes = memory.borrow(run.phys, run.len as usize)?;
        // There is no other memory: all of it is mapped.
        let bytes = bytes.ok_or(MemoryError::NotRam(run.phys))?;
        Ok(Self { runs: slice::from_ref(run), bytes })
    }

    /// Adds what goes out: runs, and their bytes.
    pub(super) fn without_zeros(
        &self,
        may_stay: impl Fn(u64) -> bool,
        kept: &mut Vec<PageRun>,
        slices: &mut Vec<IoSlice<'s>>,
    ) {
        let mut start = 0;
        let mut places = self.runs.iter().map(|run| {
            let place = start..start + run.len;
            start = place.end;
            (run, place)
        });
        let mut current = places.next();
        let goes_out = |offset: usize| {
            let offset = offset as u64;
            while current.as_ref().is_some_and(|(_, place)| place.end <= offset) {
                current = places.next();
            }
            let Some((run, place)) = &current else { return true };
            !may_stay(run.virt + (offset - place.start))
        };
        let ranges = zeros::kept(self.bytes, goes_out);
        slices.extend(ranges.iter().map(|range| IoSlice::new(&self.bytes[range.clone()])));
        cut(self.runs, &ranges, kept);
    }
}

/// Adds the parts of runs that lie in `ranges` of their bytes, both ascending.
fn cut(runs: &[PageRun], ranges: &[Range<usize>], kept: &mut Vec<PageRun>) {
    let mut start = 0;
    let mut ranges = ranges.iter().map(|range| range.start as u64..range.end as u64).peekable();
    for run in runs {
        let place = start..start + run.len;
        while let Some(range) = ranges.peek() {
            let part = range.start.max(place.start)..range.end.min(place.end);
            if part.start < part.end {
                kept.extend(run.part(part.start - place.start..part.end - place.start));
            }
            if range.end > place.end {
                break;
            }
            ranges.next();
        }
        start = place.end;
    }
}
