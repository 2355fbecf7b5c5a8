//! `pagemap-PID.img` and `pagemap-shmem-ID.img`: which pages lie in a pages
//! file, in its order.

use super::EncodeError;
use super::container::{ImageKind, ImageWriter};
use super::ids::FileIds;
use super::{proto, vma};
use crate::snapshot::{Mm, PAGE_SIZE, PageRange, SharedMemory};

/// Bits of `pagemap_entry.flags` (`criu/include/pagemap.h`).
pub mod flag {
    /// The pages lie in the parent set.
    pub const PARENT: u32 = 1;
    /// The pages may be filled in later.
    pub const LAZY: u32 = 2;
    /// The pages lie in the pages file.
    pub const PRESENT: u32 = 4;
}

/// `pagemap-PID.img`
pub fn of_mm(mm: &Mm, pages_id: u32, files: &FileIds) -> Result<Vec<u8>, EncodeError> {
    let areas =
        mm.vmas.iter().map(|area| vma::entry(area, files)).collect::<Result<Vec<_>, _>>()?;
    image(ImageKind::Pagemap, pages_id, &mm.pages, &areas)
}

/// `pagemap-shmem-ID.img`
pub fn of_memory(memory: &SharedMemory, pages_id: u32) -> Result<Vec<u8>, EncodeError> {
    image(ImageKind::PagemapShmem, pages_id, &memory.pages, &[])
}

fn image(
    kind: ImageKind,
    pages_id: u32,
    ranges: &[PageRange],
    areas: &[proto::VmaEntry],
) -> Result<Vec<u8>, EncodeError> {
    let mut image = ImageWriter::new(kind);
    image.record(&proto::PagemapHead { pages_id })?;
    for range in ranges {
        for entry in entries(*range, areas) {
            image.record(&entry)?;
        }
    }
    Ok(image.finish())
}

/// The entries of one range: it is cut where areas that may be lazy meet
/// others, and where a count would not fit.
fn entries(range: PageRange, areas: &[proto::VmaEntry]) -> Vec<proto::PagemapEntry> {
    let mut entries: Vec<proto::PagemapEntry> = Vec::new();
    let mut start = range.start;
    let mut next = areas.partition_point(|area| area.end <= start);
    while start < range.end() {
        let area = areas.get(next);
        let end = area
            .map_or(range.end(), |area| area.end.min(range.end()))
            .max(start.saturating_add(PAGE_SIZE));
        let lazy = if area.is_some_and(vma::can_be_lazy) { flag::LAZY } else { 0 };
        push(&mut entries, start, (end - start) / PAGE_SIZE, flag::PRESENT | lazy);
        start = end;
        next += 1;
    }
    entries
}

/// Adds pages behind those of the last entry, to it where it is of one kind.
fn push(entries: &mut Vec<proto::PagemapEntry>, mut vaddr: u64, mut pages: u64, flags: u32) {
    if let Some(last) = entries.last_mut().filter(|last| last.flags == Some(flags)) {
        let room = u64::from(u32::MAX - last.compat_nr_pages).min(pages);
        last.compat_nr_pages += room as u32;
        vaddr = vaddr.saturating_add(room * PAGE_SIZE);
        pages -= room;
    }
    while pages > 0 {
        let count = pages.min(u64::from(u32::MAX));
        entries.push(proto::PagemapEntry {
            vaddr,
            // The field that versions before 4.2 read; 4.2 reads it too where
            // `nr_pages` is absent.
            compat_nr_pages: count as u32,
            flags: Some(flags),
            ..proto::PagemapEntry::default()
        });
        vaddr = vaddr.saturating_add(count * PAGE_SIZE);
        pages -= count;
    }
}

/// Number of pages of an entry, in the field of either version.
pub fn page_count(entry: &proto::PagemapEntry) -> u64 {
    entry.nr_pages.unwrap_or(entry.compat_nr_pages.into())
}

/// Flags of an entry, also of one from before there were any.
pub fn flags(entry: &proto::PagemapEntry) -> u32 {
    match entry.flags {
        Some(flags) => flags,
        None if entry.in_parent == Some(true) => flag::PARENT,
        None => flag::PRESENT,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::criu::vma::{map, status};

    fn area(start: u64, end: u64, lazy: bool) -> proto::VmaEntry {
        proto::VmaEntry {
            start: start * PAGE_SIZE,
            end: end * PAGE_SIZE,
            flags: if lazy { map::PRIVATE | map::ANONYMOUS } else { map::PRIVATE },
            status: status::REGULAR,
            ..proto::VmaEntry::default()
        }
    }

    fn pages(entries: &[proto::PagemapEntry]) -> Vec<(u64, u32, u32)> {
        entries.iter().map(|e| (e.vaddr / PAGE_SIZE, e.compat_nr_pages, e.flags.unwrap())).collect()
    }

    #[test]
    fn a_range_is_cut_where_laziness_changes() {
        let areas = [area(1, 3, false), area(3, 4, false), area(4, 6, true), area(6, 9, true)];
        let range = PageRange { start: 2 * PAGE_SIZE, count: 6 };
        let expected = [(2, 2, flag::PRESENT), (4, 4, flag::PRESENT | flag::LAZY)];
        assert_eq!(pages(&entries(range, &areas)), expected);
    }

    #[test]
    fn a_count_that_does_not_fit_is_split() {
        let areas = [area(0, 1 << 34, false)];
        let range = PageRange { start: 0, count: (1 << 32) + 4 };
        let expected = [(0, u32::MAX, flag::PRESENT), (u64::from(u32::MAX), 5, flag::PRESENT)];
        assert_eq!(pages(&entries(range, &areas)), expected);
    }

    proptest! {
        /// Whatever the areas, entries hold exactly the range's pages in order.
        #[test]
        fn entries_cover_their_range(
            start in 0..1_u64 << 36,
            count in 1..1_u64 << 34,
            bounds in proptest::collection::btree_set(0..1_u64 << 36, 0..12),
            lazy: [bool; 12],
        ) {
            let bounds: Vec<u64> = bounds.into_iter().collect();
            let areas: Vec<_> = bounds
                .windows(2)
                .zip(lazy)
                .map(|(pair, lazy)| area(pair[0], pair[1], lazy))
                .collect();
            let range = PageRange { start: start * PAGE_SIZE, count };
            let mut expected = range.start;
            for entry in entries(range, &areas) {
                prop_assert_eq!(entry.vaddr, expected);
                prop_assert!(entry.compat_nr_pages > 0);
                expected += page_count(&entry) * PAGE_SIZE;
            }
            prop_assert_eq!(expected, range.end());
        }
    }
}
