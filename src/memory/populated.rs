//! Which pages of a guest's RAM its host has memory for: the others read as
//! zeros, and reading them would make the host give them memory.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::sys::statfs::{HUGETLBFS_MAGIC, fstatfs};
use nix::unistd::{Whence, lseek64};

use super::address::PAGE_SIZE;

/// Bits of an entry of `/proc/PID/pagemap`: present, and swapped
/// (Documentation/admin-guide/mm/pagemap.rst).
const THERE: u64 = 1 << 63 | 1 << 62;
/// Entries that are looked at as one: a piece of 2 MiB with a page in it is
/// data. Memory comes and goes in about that size, and the ranges stay few.
const GRANULE: u64 = 512;
/// Granules that are read at once.
const GRANULES: u64 = 16;

/// A file that holds a piece of RAM, or what it held at first.
#[derive(Debug)]
pub struct FilePiece {
    /// The file.
    pub file: File,
    /// Where the piece begins in it, in bytes.
    pub offset: u64,
}

impl FilePiece {
    /// Size of its pages, in bytes.
    pub(super) fn page_size(&self) -> std::io::Result<u64> {
        let stat = fstatfs(&self.file)?;
        Ok(match stat.filesystem_type() {
            HUGETLBFS_MAGIC => stat.block_size() as u64,
            _ => PAGE_SIZE,
        })
    }

    /// Whether it tells its holes: hugetlbfs calls all of a file data
    /// (`default_llseek()`).
    fn tells_holes(&self) -> bool {
        fstatfs(&self.file).is_ok_and(|stat| stat.filesystem_type() != HUGETLBFS_MAGIC)
    }

    /// The next data at or after `offset` in the piece of `len` bytes.
    fn next_data(&self, offset: u64, len: u64) -> Option<Range<u64>> {
        let at = |position: u64| i64::try_from(self.offset.checked_add(position)?).ok();
        let data = match seek(&self.file, at(offset)?, Whence::SeekData) {
            Ok(data) => data.checked_sub(self.offset)?,
            Err(Errno::ENXIO) => return None,
            // A file system without SEEK_DATA: everything may be data.
            Err(_) => return (offset < len).then_some(offset..len),
        };
        let hole = seek(&self.file, at(data)?, Whence::SeekHole)
            .map_or(len, |hole| hole.saturating_sub(self.offset).min(len));
        (data < len).then_some(data..hole)
    }
}

/// The part of `/proc/PID/pagemap` that is of a piece of RAM.
#[derive(Debug)]
pub struct Pagemap {
    /// QEMU's `/proc/PID/pagemap`.
    pub file: File,
    /// Where the piece begins in QEMU, in bytes.
    pub host_virt: u64,
}

impl Pagemap {
    fn next_data(&self, offset: u64, len: u64) -> Option<Range<u64>> {
        let mut from = offset;
        while from < len {
            let found = match self.granules(from, len) {
                Some(granules) => granules,
                // What cannot be asked for may be data.
                None => return Some(from..len),
            };
            match found {
                Found::Data(data) => return Some(data),
                Found::HoleUpTo(end) => from = end,
            }
        }
        None
    }

    /// Looks at some granules from the one that holds `from` on.
    fn granules(&self, from: u64, len: u64) -> Option<Found> {
        let first_page = self.host_virt.checked_add(from)? / PAGE_SIZE;
        let pages = ((len - from).div_ceil(PAGE_SIZE)).min(GRANULE * GRANULES);
        let mut entries = vec![0; pages as usize * 8];
        self.file.read_exact_at(&mut entries, first_page.checked_mul(8)?).ok()?;
        let has_pages = |granule: &[u8]| {
            let mut words = granule.chunks_exact(8).filter_map(|word| word.first_chunk());
            words.any(|word| u64::from_le_bytes(*word) & THERE != 0)
        };
        let granules: Vec<bool> = entries.chunks(GRANULE as usize * 8).map(has_pages).collect();
        let place = |index: usize| (from + index as u64 * GRANULE * PAGE_SIZE).min(len);
        let Some(first) = granules.iter().position(|there| *there) else {
            return Some(Found::HoleUpTo(place(granules.len())));
        };
        let count = granules[first..].iter().take_while(|there| **there).count();
        Some(Found::Data(place(first)..place(first + count)))
    }
}

enum Found {
    Data(Range<u64>),
    HoleUpTo(u64),
}

/// What tells where a piece of RAM has pages.
#[derive(Debug)]
pub(super) struct Populated {
    file: Option<FilePiece>,
    pagemap: Option<Pagemap>,
    len: u64,
}

impl Populated {
    /// For RAM that is a file. The pagemap is for one that does not tell its
    /// holes.
    pub(super) fn of_file(file: FilePiece, pagemap: Option<Pagemap>, len: u64) -> Self {
        if file.tells_holes() {
            Self { file: Some(file), pagemap: None, len }
        } else {
            Self { file: None, pagemap, len }
        }
    }

    /// For RAM that is QEMU's own, on top of `file` where that held something
    /// at first.
    pub(super) fn of_process(pagemap: Pagemap, file: Option<FilePiece>, len: u64) -> Self {
        Self { file: file.filter(FilePiece::tells_holes), pagemap: Some(pagemap), len }
    }

    /// The next range at or after `offset` that may hold anything but zeros.
    pub(super) fn next_data(&self, offset: u64) -> Option<Range<u64>> {
        if self.file.is_none() && self.pagemap.is_none() {
            return (offset < self.len).then_some(offset..self.len);
        }
        let in_file = self.file.as_ref().and_then(|file| file.next_data(offset, self.len));
        let in_pages = self.pagemap.as_ref().and_then(|map| map.next_data(offset, self.len));
        // Where they overlap, what is left of one is found next time.
        [in_file, in_pages].into_iter().flatten().min_by_key(|data| data.start)
    }
}

fn seek(file: &File, offset: i64, whence: Whence) -> nix::Result<u64> {
    lseek64(file, offset, whence).map(|position| position as u64)
}

#[cfg(test)]
mod tests {
    use memmap2::MmapMut;

    use super::*;

    fn pagemap_of(map: &MmapMut) -> Pagemap {
        let file = File::open("/proc/self/pagemap").unwrap();
        Pagemap { file, host_virt: map.as_ptr() as u64 }
    }

    fn all(populated: &Populated) -> Vec<Range<u64>> {
        let mut from = 0;
        std::iter::from_fn(|| {
            let data = populated.next_data(from)?;
            assert!(data.start < data.end && data.end > from, "{data:x?} from {from:#x}");
            from = data.end;
            Some(data)
        })
        .collect()
    }

    #[test]
    fn touched_pages_of_a_process_are_data_and_others_are_not() {
        const LEN: u64 = 64 << 20;
        let mut map = MmapMut::map_anon(LEN as usize).unwrap();
        let populated = Populated::of_process(pagemap_of(&map), None, LEN);
        assert_eq!(all(&populated), []);
        for page in [3 << 20, 40 << 20, LEN as usize - 1] {
            map[page] = 1;
        }
        let found = all(&populated);
        for page in [3 << 20, 40 << 20, LEN - 1] {
            assert!(found.iter().any(|data| data.contains(&page)), "{page:#x} in {found:x?}");
        }
        assert!(!found.iter().any(|data| data.contains(&(20 << 20))), "{found:x?}");
    }

    #[test]
    fn what_a_private_file_holds_is_data_beside_what_was_written() {
        const LEN: u64 = 16 << 20;
        let file = tempfile::tempfile().unwrap();
        file.set_len(LEN).unwrap();
        file.write_all_at(&[1], 2 << 20).unwrap();
        let mut map = MmapMut::map_anon(LEN as usize).unwrap();
        map[9 << 20] = 1;
        let file = Some(FilePiece { file, offset: 0 });
        let found = all(&Populated::of_process(pagemap_of(&map), file, LEN));
        for page in [2 << 20, 9 << 20] {
            assert!(found.iter().any(|data| data.contains(&page)), "{page:#x} in {found:x?}");
        }
        assert!(!found.iter().any(|data| data.contains(&(14 << 20))), "{found:x?}");
    }
}
