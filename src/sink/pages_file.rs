//! One pages file of a directory of images.
//!
//! Direct I/O takes guest frames to the disk without a copy and past the host's
//! page cache, and several writes at a time keep the disk busy. For that the
//! file has its whole size from the beginning: file systems let writes that make
//! a file longer go one by one (`ext4_dio_write_checks()`, `fs/ext4/file.c`).
//! Through the page cache there is nothing to gain by that: writes to one file
//! wait for each other there.

use std::fs::{self, File};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, OFlag, fallocate, fcntl};
use nix::sys::statvfs::fstatvfs;
use nix::sys::uio::pwritev;

use super::file::{create, is_memory};
use super::{BufferedBecause, Direct, PagesIo, Room, SinkError};

/// Slices that one system call takes (`UIO_MAXIOV`).
const MAX_SLICES: usize = 1024;

/// A pages file that is being written.
#[derive(Debug)]
pub(super) struct PagesFile {
    file: File,
    path: PathBuf,
    /// Bytes that there is room for.
    size: u64,
    /// Up to where it was written.
    end: AtomicU64,
    /// Whether writes go past the page cache.
    is_direct: AtomicBool,
    /// Why they do not, where they did not from the beginning.
    buffered: Option<BufferedBecause>,
    /// Held for a write through the page cache.
    turn: Mutex<()>,
}

impl PagesFile {
    /// Makes a file that must not exist yet. A full disk is found out before pages
    /// are written where room is to be reserved.
    pub(super) fn create(path: &Path, room: Room, direct: Direct) -> Result<Self, SinkError> {
        let (file, buffered) = open(path, direct)?;
        let file = Self {
            file,
            path: path.to_owned(),
            size: room.most(),
            end: AtomicU64::new(0),
            is_direct: AtomicBool::new(buffered.is_none()),
            buffered,
            turn: Mutex::new(()),
        };
        let made = match room {
            // There pages are allocated one by one, which writes do as well, and
            // several at a time look for zeros meanwhile.
            Room::Reserved(_) if buffered == Some(BufferedBecause::Memory) => file.require_room(),
            Room::Reserved(_) => file.reserve(),
            Room::UpTo(bytes) => file.resize(bytes),
        };
        if let Err(error) = made {
            let _ = fs::remove_file(path);
            return Err(error);
        }
        Ok(file)
    }

    /// Whether writes go past the page cache.
    pub(super) fn is_direct(&self) -> bool {
        self.is_direct.load(Ordering::Relaxed)
    }

    /// Writes slices one after the other from `offset` on.
    pub(super) fn write_at(&self, offset: u64, pages: &[IoSlice<'_>]) -> Result<(), SinkError> {
        let len: u64 = pages.iter().map(|slice| slice.len() as u64).sum();
        let end = offset.saturating_add(len);
        if end > self.size {
            return Err(self.wrong_size(self.size, end));
        }
        let mut position = offset;
        for batch in pages.chunks(MAX_SLICES) {
            let mut batch = batch.to_vec();
            let mut rest = batch.as_mut_slice();
            IoSlice::advance_slices(&mut rest, 0);
            while !rest.is_empty() {
                let count = self.write_some(position, rest)?;
                position += count as u64;
                IoSlice::advance_slices(&mut rest, count);
            }
        }
        self.end.fetch_max(end, Ordering::Relaxed);
        Ok(())
    }

    /// Cuts the file to `size` and gives it back, to be synced, with how it was
    /// written.
    pub(super) fn finish(self, size: u64) -> Result<(File, PagesIo), SinkError> {
        let written = self.end.load(Ordering::Relaxed);
        if written < size {
            return Err(self.wrong_size(size, written));
        }
        self.resize(size)?;
        let io = match self.buffered {
            Some(why) => PagesIo::Buffered(why),
            None if self.is_direct() => PagesIo::Direct,
            None => PagesIo::Buffered(BufferedBecause::Alignment),
        };
        Ok((self.file, io))
    }

    fn reserve(&self) -> Result<(), SinkError> {
        let len = i64::try_from(self.size)
            .map_err(|_| SinkError::io("write", &self.path, io::ErrorKind::FileTooLarge.into()))?;
        if len == 0 {
            return Ok(());
        }
        // Through the page cache the size grows by the writes: what lies behind
        // would be zeroed first.
        let flags = if self.is_direct() {
            FallocateFlags::empty()
        } else {
            FallocateFlags::FALLOC_FL_KEEP_SIZE
        };
        loop {
            return match fallocate(&self.file, flags, 0, len) {
                Ok(()) => Ok(()),
                Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => self.resize(self.size),
                Err(Errno::EINTR) => continue,
                Err(errno) => Err(SinkError::write(&self.path, self.size, errno.into())),
            };
        }
    }

    /// Looks whether a file system in memory has room. One that has no limit says
    /// that it has no blocks.
    fn require_room(&self) -> Result<(), SinkError> {
        let refused = |errno: Errno| SinkError::write(&self.path, self.size, errno.into());
        let space = fstatvfs(&self.file).map_err(refused)?;
        let free = space.blocks_available().saturating_mul(space.fragment_size());
        let has_room = space.blocks() == 0 || free >= self.size;
        if has_room { Ok(()) } else { Err(refused(Errno::ENOSPC)) }
    }

    fn resize(&self, size: u64) -> Result<(), SinkError> {
        self.file.set_len(size).map_err(|error| SinkError::write(&self.path, size, error))
    }

    /// Writes at least one byte and tells how many.
    fn write_some(&self, position: u64, pages: &[IoSlice<'_>]) -> Result<usize, SinkError> {
        let at = i64::try_from(position)
            .map_err(|_| SinkError::io("write", &self.path, io::ErrorKind::FileTooLarge.into()))?;
        loop {
            let is_direct = self.is_direct();
            let turn =
                (!is_direct).then(|| self.turn.lock().unwrap_or_else(PoisonError::into_inner));
            let written = pwritev(&self.file, pages, at);
            drop(turn);
            match written {
                Ok(0) => {
                    return Err(SinkError::io(
                        "write",
                        &self.path,
                        io::ErrorKind::WriteZero.into(),
                    ));
                }
                Ok(count) => return Ok(count),
                Err(Errno::EINTR) => {}
                Err(Errno::EINVAL) if is_direct => self.leave_direct()?,
                Err(errno) => return Err(SinkError::write(&self.path, self.size, errno.into())),
            }
        }
    }

    /// Goes on through the page cache.
    fn leave_direct(&self) -> Result<(), SinkError> {
        fcntl(&self.file, FcntlArg::F_SETFL(OFlag::empty()))
            .map_err(|errno| SinkError::io("write", &self.path, errno.into()))?;
        self.is_direct.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn wrong_size(&self, announced: u64, written: u64) -> SinkError {
        SinkError::WrongSize { path: self.path.clone(), announced, written }
    }
}

/// Makes the file for direct I/O as far as that is wanted and to be had.
fn open(path: &Path, direct: Direct) -> Result<(File, Option<BufferedBecause>), SinkError> {
    if direct == Direct::Off {
        return Ok((create(path, OFlag::empty())?, Some(BufferedBecause::Asked)));
    }
    let why = match create(path, OFlag::O_DIRECT) {
        // It takes the flag since Linux 6.6, and copies all the same.
        Ok(file) if is_memory(&file) => BufferedBecause::Memory,
        Ok(file) => return Ok((file, None)),
        Err(SinkError::Io { error, .. }) if error.raw_os_error() == Some(Errno::EINVAL as i32) => {
            BufferedBecause::FileSystem
        }
        Err(error) => return Err(error),
    };
    // Some file systems refuse the flag only after the file is made.
    let _ = fs::remove_file(path);
    match direct {
        Direct::On => Err(SinkError::NoDirect(path.to_owned())),
        Direct::Auto | Direct::Off => Ok((create(path, OFlag::empty())?, Some(why))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 4096;

    #[repr(C, align(4096))]
    struct Pages([u8; 8 * PAGE]);

    fn pages() -> Box<Pages> {
        let mut pages = Box::new(Pages([0; 8 * PAGE]));
        for (number, page) in (1..).zip(pages.0.chunks_mut(PAGE)) {
            page.fill(number);
        }
        pages
    }

    fn slice(pages: &Pages, number: usize) -> IoSlice<'_> {
        IoSlice::new(&pages.0[number * PAGE..][..PAGE])
    }

    fn in_new_folder(pages: u64, direct: Direct) -> (tempfile::TempDir, PathBuf, PagesFile) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pages-1.img");
        let file = PagesFile::create(&path, Room::Reserved(pages * PAGE as u64), direct).unwrap();
        (folder, path, file)
    }

    fn firsts(path: &Path) -> Vec<u8> {
        fs::read(path).unwrap().chunks(PAGE).map(|page| page[0]).collect()
    }

    #[test]
    fn what_is_written_in_any_order_lies_in_its_place() {
        for direct in [Direct::Auto, Direct::Off] {
            let (_folder, path, file) = in_new_folder(6, direct);
            let memory = pages();
            file.write_at(2 * PAGE as u64, &[slice(&memory, 2), slice(&memory, 3)]).unwrap();
            file.write_at(0, &[slice(&memory, 5), slice(&memory, 6)]).unwrap();
            file.write_at(PAGE as u64, &[slice(&memory, 1)]).unwrap();
            file.finish(4 * PAGE as u64).unwrap();
            assert_eq!(firsts(&path), [6, 2, 3, 4]);
        }
    }

    #[test]
    fn several_write_at_a_time() {
        for direct in [Direct::Auto, Direct::Off] {
            let (_folder, path, file) = in_new_folder(8, direct);
            let memory = pages();
            std::thread::scope(|scope| {
                for number in 0..8 {
                    let (file, memory) = (&file, &memory);
                    scope.spawn(move || {
                        file.write_at((number * PAGE) as u64, &[slice(memory, number)]).unwrap();
                    });
                }
            });
            file.finish(8 * PAGE as u64).unwrap();
            assert_eq!(firsts(&path), [1, 2, 3, 4, 5, 6, 7, 8]);
        }
    }

    #[test]
    fn pages_at_any_address_are_written() {
        let (_folder, path, file) = in_new_folder(1, Direct::Auto);
        let memory = pages();
        file.write_at(0, &[IoSlice::new(&memory.0[100..][..PAGE])]).unwrap();
        file.finish(PAGE as u64).unwrap();
        assert_eq!(fs::read(path).unwrap(), memory.0[100..][..PAGE]);
    }

    #[test]
    fn more_slices_than_one_call_takes_are_written() {
        let (_folder, path, file) = in_new_folder(3000, Direct::Auto);
        let memory = pages();
        let slices: Vec<_> = (0..3000).map(|number| slice(&memory, number % 8)).collect();
        file.write_at(0, &slices).unwrap();
        file.finish(3000 * PAGE as u64).unwrap();
        let expected: Vec<u8> = (0..3000).map(|number| (number % 8) as u8 + 1).collect();
        assert_eq!(firsts(&path), expected);
    }

    #[test]
    fn a_file_has_the_size_that_was_announced_or_less() {
        let (_folder, _, file) = in_new_folder(1, Direct::Auto);
        let memory = pages();
        file.write_at(0, &[slice(&memory, 0)]).unwrap();
        let beyond = file.write_at(PAGE as u64, &[slice(&memory, 0)]);
        assert!(matches!(beyond, Err(SinkError::WrongSize { .. })), "{beyond:?}");
        let (_folder, path, file) = in_new_folder(3, Direct::Auto);
        file.write_at(0, &[slice(&memory, 0)]).unwrap();
        file.finish(PAGE as u64).unwrap();
        assert_eq!(fs::metadata(path).unwrap().len(), PAGE as u64);
        let (_folder, _, file) = in_new_folder(1, Direct::Auto);
        let short = file.finish(PAGE as u64);
        assert!(matches!(short, Err(SinkError::WrongSize { written: 0, .. })), "{short:?}");
    }

    #[test]
    fn what_lies_in_memory_anyway_is_written_through_the_page_cache() {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = folder.path().join("pages-1.img");
        let refused = PagesFile::create(&path, Room::UpTo(PAGE as u64), Direct::On).unwrap_err();
        assert!(matches!(refused, SinkError::NoDirect(_)), "{refused}");
        let file = PagesFile::create(&path, Room::Reserved(PAGE as u64), Direct::Auto).unwrap();
        file.write_at(0, &[slice(&pages(), 0)]).unwrap();
        let (_, io) = file.finish(PAGE as u64).unwrap();
        assert_eq!(io, PagesIo::Buffered(BufferedBecause::Memory));
    }

    #[test]
    fn a_full_file_system_in_memory_is_found_out_before_it_is_written_to() {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = folder.path().join("pages-1.img");
        let full = PagesFile::create(&path, Room::Reserved(1 << 60), Direct::Auto).unwrap_err();
        assert!(full.to_string().contains("no space left"), "{full}");
        assert!(!path.exists());
    }

    #[test]
    fn memory_that_cannot_be_read_is_an_error() {
        let (_folder, _, file) = in_new_folder(1, Direct::Auto);
        let backing = tempfile::tempfile().unwrap();
        backing.set_len(PAGE as u64).unwrap();
        // SAFETY: the file is this test's own and shrinks only below, after
        // which the mapping is not read by the program itself.
        let mapping = unsafe { memmap2::Mmap::map(&backing).unwrap() };
        backing.set_len(0).unwrap();
        let error = file.write_at(0, &[IoSlice::new(&mapping)]).unwrap_err();
        assert!(matches!(error, SinkError::Io { action: "write", .. }));
    }
}
