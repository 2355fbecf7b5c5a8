//! The first rung of the access ladder: a shared memory backend of QEMU,
//! mapped into this process.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::ptr;

use memmap2::{MmapOptions, MmapRaw};
use nix::errno::Errno;
use nix::sys::statfs::{HUGETLBFS_MAGIC, fstatfs};
use nix::unistd::{Whence, lseek64};

use super::address::PAGE_SIZE;
use super::guest::Backing;
use super::sigbus::Watched;

/// A piece of a file that QEMU maps shared as guest RAM.
#[derive(Debug)]
pub struct MappedFile {
    /// Declared, and so dropped, before the mapping: once that is gone its
    /// addresses may be anyone's.
    watched: Watched,
    map: MmapRaw,
    file: File,
    file_offset: u64,
}

impl MappedFile {
    /// Maps `len` bytes of `file` from `file_offset` on, for reading and
    /// writing.
    ///
    /// # Errors
    ///
    /// What the host says: no permission, a file that ends before
    /// `file_offset + len`, no address space.
    pub fn new(file: File, file_offset: u64, len: u64) -> io::Result<Self> {
        let stat = fstatfs(&file).map_err(io::Error::from)?;
        let page_size = match stat.filesystem_type() {
            HUGETLBFS_MAGIC => stat.block_size() as u64,
            _ => PAGE_SIZE,
        };
        let file_len = file.metadata()?.len();
        if file_offset.checked_add(len).is_none_or(|end| end > file_len) {
            return Err(io::Error::other(format!(
                "the memory backend has {file_len} bytes, {len} are expected at {file_offset}"
            )));
        }
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let map = MmapOptions::new().offset(file_offset).len(len).map_raw(&file)?;
        let start = map.as_ptr() as usize;
        let watched = Watched::new(start..start + len, page_size as usize)?;
        Ok(Self { watched, map, file, file_offset })
    }

    /// A pointer to `offset`, checked to have `len` bytes behind it.
    fn pointer(&self, offset: u64, len: usize) -> io::Result<*mut u8> {
        let end = offset.checked_add(len as u64);
        if end.is_none_or(|end| end > self.map.len() as u64) {
            return Err(io::Error::other("access past the end of the memory backend"));
        }
        Ok(self.map.as_mut_ptr().wrapping_add(offset as usize))
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
        // to a frozen process; callers hand them to system calls and do not
        // rely on two reads of a byte giving the same value.
        Some(unsafe { std::slice::from_raw_parts(from, len) })
    }

    fn next_data(&self, offset: u64) -> Option<Range<u64>> {
        let end = self.map.len() as u64;
        let from = i64::try_from(self.file_offset.checked_add(offset)?).ok()?;
        let data = match seek(&self.file, from, Whence::SeekData) {
            Ok(data) => data.checked_sub(self.file_offset)?,
            Err(Errno::ENXIO) => return None,
            // A file system without SEEK_DATA: everything may be data.
            Err(_) => return (offset < end).then_some(offset..end),
        };
        let hole = seek(&self.file, i64::try_from(self.file_offset + data).ok()?, Whence::SeekHole)
            .map_or(end, |hole| hole.saturating_sub(self.file_offset).min(end));
        (data < end).then_some(data..hole)
    }
}

fn seek(file: &File, offset: i64, whence: Whence) -> nix::Result<u64> {
    lseek64(file, offset, whence).map(|position| position as u64)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn backing(len: u64) -> (File, MappedFile) {
        let file = tempfile::tempfile().unwrap();
        file.set_len(len).unwrap();
        let map = MappedFile::new(file.try_clone().unwrap(), 0, len).unwrap();
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
        nix::unistd::lseek64(&file, 1 << 19, Whence::SeekSet).unwrap();
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
        assert!(MappedFile::new(file, 0, 8192).is_err());
    }
}
