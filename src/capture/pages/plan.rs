//! Pages by their place in the guest's physical memory.

use std::ops::Range;

use crate::memory::{GuestPhys, PAGE_SIZE};
use crate::snapshot::PageRange;

/// Frames at consecutive addresses of the guest's physical memory and of what
/// they are of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageRun {
    /// Address in the process; of shared memory, the offset in it.
    pub virt: u64,
    /// First frame.
    pub phys: GuestPhys,
    /// Length in bytes, whole pages.
    pub len: u64,
}

impl PageRun {
    /// The pages from one of its bytes to another; `None` for none.
    pub fn part(self, range: Range<u64>) -> Option<Self> {
        let range = range.start..range.end.min(self.len);
        Some(Self {
            virt: self.virt.checked_add(range.start)?,
            phys: self.phys.checked_add(range.start)?,
            len: range.end.checked_sub(range.start).filter(|len| *len != 0)?,
        })
    }

    /// The same run in pieces of at most `max` bytes, whole pages.
    pub fn split(self, max: u64) -> impl Iterator<Item = Self> {
        let max = max.max(PAGE_SIZE) / PAGE_SIZE * PAGE_SIZE;
        (0..self.len.div_ceil(max))
            .filter_map(move |piece| self.part(piece * max..(piece * max).saturating_add(max)))
    }
}

/// What became of a page from one look to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageChange {
    /// It lies elsewhere.
    Moved(PageRun),
    /// There was none at this address.
    New(PageRun),
    /// There is none at this address any more.
    Gone(u64),
}

impl PageChange {
    /// The page's address, or its offset in shared memory.
    pub fn addr(self) -> u64 {
        match self {
            Self::Moved(page) | Self::New(page) => page.virt,
            Self::Gone(addr) => addr,
        }
    }
}

/// All pages of a process, or of shared memory, that go out, ascending by
/// address or offset.
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

    /// A plan of these runs, ascending by address, and the same guards.
    pub fn with_runs(&self, runs: impl IntoIterator<Item = PageRun>) -> Self {
        let mut plan = Self { runs: Vec::new(), guards: self.guards.clone() };
        runs.into_iter().for_each(|run| plan.push(run));
        plan
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

    /// The pages of which something else is to be said than in `before`.
    pub fn changes_since(&self, before: &Self) -> impl Iterator<Item = PageChange> {
        let (mut now, mut then) = (self.pages().peekable(), before.pages().peekable());
        let next = move || match (now.peek().copied(), then.peek().copied()) {
            (None, None) => None,
            (Some(page), Some(other)) if page.virt == other.virt => {
                now.next();
                then.next();
                Some((page.phys != other.phys).then_some(PageChange::Moved(page)))
            }
            (Some(page), other) if other.is_none_or(|other| page.virt < other.virt) => {
                now.next();
                Some(Some(PageChange::New(page)))
            }
            (_, Some(page)) => {
                then.next();
                Some(Some(PageChange::Gone(page.virt)))
            }
            (Some(_), None) => None,
        };
        std::iter::from_fn(next).flatten()
    }

    fn pages(&self) -> impl Iterator<Item = PageRun> {
        self.runs.iter().flat_map(|run| run.split(PAGE_SIZE))
    }

    pub(super) fn push(&mut self, run: PageRun) {
        if let Some(last) = self.runs.last_mut()
            && last.virt + last.len == run.virt
            && last.phys.checked_add(last.len) == Some(run.phys)
        {
            last.len += run.len;
        } else {
            self.runs.push(run);
        }
    }

    pub(super) fn push_guards(&mut self, start: u64, len: u64) {
        join(&mut self.guards, start, len);
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
    fn what_became_of_pages_is_found() {
        let plan = |runs: &[PageRun]| PagePlan { runs: runs.to_vec(), ..PagePlan::default() };
        let before = plan(&[run(0x1000, 0x8000, 3), run(0x9000, 0x1000, 1)]);
        let after = plan(&[run(0x1000, 0x8000, 1), run(0x2000, 0x5000, 1), run(0x3000, 0xa000, 2)]);
        let changes: Vec<_> = after.changes_since(&before).collect();
        let (moved, new) = (run(0x2000, 0x5000, 1), run(0x4000, 0xb000, 1));
        assert_eq!(
            changes,
            [PageChange::Moved(moved), PageChange::New(new), PageChange::Gone(0x9000)]
        );
        assert_eq!(after.changes_since(&after).count(), 0);
        let all_gone: Vec<_> = plan(&[]).changes_since(&before).collect();
        assert_eq!(all_gone, [0x1000, 0x2000, 0x3000, 0x9000].map(PageChange::Gone));
        assert_eq!(before.changes_since(&plan(&[])).count(), 4);
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
