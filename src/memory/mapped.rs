//! The first rung of the access ladder: a shared memory backend of QEMU,
//! mapped into this process.

use std::io;
use std::ops::Range;
use std::ptr;

use memmap2::{MmapOptions, MmapRaw};

use super::guest::Backing;
use super::populated::{FilePiece, Pagemap, Populated};
use super::sigbus::Watched;

/// A piece of a file that QEMU maps shared as guest RAM.
#[derive(Debug)]
pub struct MappedFile {
    /// Declared, and so dropped, before the mapping: once that is gone its
    /// addresses may be anyone's.
    watched: Watched,
    map: MmapRaw,
    /// Bytes of the mapping before the piece: it begins at a page of the file.
    before: usize,
    len: u64,
    populated: Populated,
}

impl MappedFile {
    /// Maps `len` bytes of a file for reading and writing. With `pagemap`,
    /// pages that QEMU has not touched are told from others also where the
    /// file cannot tell them (hugetlbfs).
    ///
    /// # Errors
    ///
    /// What the host says: no permission, a file that ends before the piece,
    /// no address space.
    pub fn new(piece: FilePiece, len: u64, pagemap: Option<Pagemap>) -> io::Result<Self> {
        let page_size = piece.page_size()?;
        let (file_len, offset) = (piece.file.metadata()?.len(), piece.offset);
        if offset.checked_add(len).is_none_or(|end| end > file_len) {
            return Err(io::Error::other(format!(
                "the memory backend has {file_len} bytes, {len} are expected at {offset}"
            )));
        }
        // Whole pages of the file, as mmap() asks for with huge ones.
        let before = offset % page_size;
        let whole = (before + len).checked_next_multiple_of(page_size);
        let whole = whole.and_then(|whole| usize::try_from(whole).ok());
        let whole = whole.ok_or(io::ErrorKind::OutOfMemory)?;
        let map = MmapOptions::new().offset(offset - before).len(whole).map_raw(&piece.file)?;
        let start = map.as_ptr() as usize;
        let watched = Watched::new(start..start + whole, page_size as usize)?;
        let populated = Populated::of_file(piece, pagemap, len);
        Ok(Self { watched, map, before: before as usize, len, populated })
    }

    /// A pointer to `offset`, checked to have `len` bytes behind it.
    fn pointer(&self, offset: u64, len: usize) -> io::Result<*mut u8> {
        let end = offset.checked_add(len as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(io::Error::other("access past the end of the memory backend"));
        }
        Ok(self.map.as_mut_ptr().wrapping_add(self.before + offset as usize))
    }
}

impl Backing for MappedFile {
    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let from = self.pointer(offset, buf.len())?;
        let to = buf.as_mut_ptr();
        // SAFETY: both sides have `buf.len()` bytes; the arms with a width read
        // aligned words. Volatile, because the guest writes at the same time.
        unsafe {
            match buf.len() {
                2 if from.addr() % 2 == 0 => {
                    to.cast::<u16>().write_unaligned(from.cast::<u16>().read_volatile())
                }
                4 if from.addr() % 4 == 0 => {
                    to.cast::<u32>().write_unaligned(from.cast::<u32>().read_volatile())
                }
                8 if from.addr() % 8 == 0 => {
                    to.cast::<u64>().write_unaligned(from.cast::<u64>().read_volatile())
                }
                len => ptr::copy_nonoverlapping(from, to, len),
            }
        }
        self.watched.check()
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let to = self.pointer(offset, bytes.len())?;
        let from = bytes.as_ptr();
        // SAFETY: as in `read`, with the sides exchanged.
        unsafe {
            match bytes.len() {
                2 if to.addr() % 2 == 0 => {
                    to.cast::<u16>().write_volatile(from.cast::<u16>().read_unaligned())
                }
                4 if to.addr() % 4 == 0 => {
                    to.cast::<u32>().write_volatile(from.cast::<u32>().read_unaligned())
                }
                8 if to.addr() % 8 == 0 => {
                    to.cast::<u64>().write_volatile(from.cast::<u64>().read_unaligned())
                }
                len => ptr::copy_nonoverlapping(from, to, len),
            }
        }
        self.watched.check()
    }

    fn borrow(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let from = self.pointer(offset, len).ok()?;
        // SAFETY: the bytes are mapped for as long as `self` lives. They belong
        // to a frozen process; callers hand them to system calls or look at
        // them, and do not rely on two reads of a byte giving the same value.
        Some(unsafe { std::slice::from_raw_parts(from, len) })
    }

    fn check(&self) -> io::Result<()> {
        self.watched.check()
    }

    fn next_data(&self, offset: u64) -> Option<Range<u64>> {
        self.populated.next_data(offset)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Seek, SeekFrom, Write};

    use super::*;

    fn whole(file: File, len: u64) -> io::Result<MappedFile> {
        MappedFile::new(FilePiece { file, offset: 0 }, len, None)
    }

    fn backing(len: u64) -> (File, MappedFile) {
        let file = tempfile::tempfile().unwrap();
        file.set_len(len).unwrap();
        let map = whole(file.try_clone().unwrap(), len).unwrap();
        (file, map)
    }

    #[test]
    fn what_is_written_is_read_at_every_width_and_alignment() {
        let (_, map) = backing(8192);
        for len in 1..=16usize {
            for offset in 0..8 {
                let bytes: Vec<u8> = (0..len as u8).map(|byte| byte ^ offset).collect();
                map.write(u64::from(offset), &bytes).unwrap();
                let mut back = vec![0; len];
                map.read(u64::from(offset), &mut back).unwrap();
                assert_eq!(back, bytes);
            }
        }
    }

    #[test]
    fn holes_are_skipped() {
        let (mut file, map) = backing(1 << 20);
        assert_eq!(map.next_data(0), None);
        file.seek(SeekFrom::Start(1 << 19)).unwrap();
        file.write_all(&[1]).unwrap();
        let data = map.next_data(0).unwrap();
        assert!(data.contains(&(1 << 19)) && data.start > 0);
        assert_eq!(map.next_data(data.end), None);
    }

    #[test]
    fn a_file_that_shrinks_is_an_error_and_not_a_death() {
        let (file, map) = backing(8192);
        file.set_len(0).unwrap();
        let mut byte = [0];
        let error = map.read(4096, &mut byte).unwrap_err();
        assert!(error.to_string().contains("bus error"), "{error}");
    }

    #[test]
    fn a_file_shorter_than_the_ram_is_refused() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        assert!(whole(file, 8192).is_err());
    }
}
