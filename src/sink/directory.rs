//! Images as files in a directory, as `criu dump` leaves them.
//!
//! `inventory.img` comes into being last and by a rename: `criu restore` takes
//! no set without it, so what an interrupted save leaves is never taken for a
//! complete one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, OFlag, fallocate, fcntl};
use nix::sys::uio::pwritev;

use super::{BufferedBecause, PagesIo, PagesWriter, Sink, SinkError, SinkReport};
use crate::criu::{ImageDirectory, ImageKind, ImageStore};

/// The inventory before it is complete.
const PENDING_INVENTORY: &str = ".inventory.img.pending";

/// Slices that one system call takes (`UIO_MAXIOV`).
const MAX_SLICES: usize = 1024;

/// Files that are synced at the same time.
const MAX_SYNCS: usize = 16;

/// Images hold the memory of a process: they are the owner's alone.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// A directory of images. Dropped before [`Sink::complete`], it removes what
/// it wrote.
#[derive(Debug)]
pub struct DirectorySink {
    path: PathBuf,
    is_ours: bool,
    images: ImageDirectory,
    written: Vec<PathBuf>,
    unsynced: Vec<File>,
    has_inventory: bool,
    is_complete: bool,
    report: SinkReport,
}

impl DirectorySink {
    /// Makes `path`, or takes it when it is an empty directory.
    ///
    /// # Errors
    /// When it is neither absent nor an empty directory.
    pub fn create(path: &Path) -> Result<Self, SinkError> {
        let is_ours = match DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                require_empty(path)?;
                false
            }
            Err(error) => return Err(io_error("create", path, error)),
        };
        Ok(Self {
            path: path.to_owned(),
            is_ours,
            images: ImageDirectory::new(path),
            written: Vec::new(),
            unsynced: Vec::new(),
            has_inventory: false,
            is_complete: false,
            report: SinkReport::default(),
        })
    }

    /// Makes a file that must not exist yet.
    fn create_file(&mut self, name: &str, flags: OFlag) -> Result<(File, PathBuf), SinkError> {
        let path = self.path.join(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .custom_flags(flags.bits())
            .open(&path)
            .map_err(|error| io_error("create", &path, error))?;
        self.written.push(path.clone());
        Ok((file, path))
    }

    /// Makes a pages file for direct I/O where the file system has it.
    fn create_pages_file(&mut self, name: &str) -> Result<(File, PathBuf, PagesIo), SinkError> {
        match self.create_file(name, OFlag::O_DIRECT) {
            Ok((file, path)) => Ok((file, path, PagesIo::Direct)),
            Err(SinkError::Io { error, path, .. })
                if error.raw_os_error() == Some(Errno::EINVAL as i32) =>
            {
                // Some file systems refuse the flag only after the file is made.
                let _ = fs::remove_file(&path);
                let (file, path) = self.create_file(name, OFlag::empty())?;
                Ok((file, path, PagesIo::Buffered(BufferedBecause::FileSystem)))
            }
            Err(error) => Err(error),
        }
    }
}

impl Sink for DirectorySink {
    fn image(&mut self, name: &str, bytes: &[u8]) -> Result<(), SinkError> {
        let is_inventory = name == ImageKind::Inventory.file_name(0);
        let file_name = if is_inventory { PENDING_INVENTORY } else { name };
        let (mut file, path) = self.create_file(file_name, OFlag::empty())?;
        let size = bytes.len() as u64;
        file.write_all(bytes).map_err(|error| write_error(&path, size, error))?;
        self.unsynced.push(file);
        self.has_inventory |= is_inventory;
        self.report.files += 1;
        self.report.bytes += size;
        Ok(())
    }

    fn pages(&mut self, name: &str, size: u64) -> Result<Box<dyn PagesWriter + '_>, SinkError> {
        let (file, path, io) = self.create_pages_file(name)?;
        reserve(&file, &path, size)?;
        Ok(Box::new(PagesFileWriter { sink: self, file, path, io, size, written: 0 }))
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        if self.unsynced.is_empty() {
            return Ok(());
        }
        sync_files(&std::mem::take(&mut self.unsynced))
            .map_err(|error| io_error("sync files of", &self.path, error))?;
        sync_directory(&self.path)?;
        match self.path.parent() {
            Some(parent) if self.is_ours && !parent.as_os_str().is_empty() => {
                sync_directory(parent)
            }
            _ => Ok(()),
        }
    }

    fn images(&self) -> &dyn ImageStore {
        self
    }

    fn complete(mut self: Box<Self>) -> Result<SinkReport, SinkError> {
        self.sync()?;
        if self.has_inventory {
            let inventory = self.path.join(ImageKind::Inventory.file_name(0));
            fs::rename(self.path.join(PENDING_INVENTORY), &inventory)
                .map_err(|error| io_error("complete", &inventory, error))?;
            self.written.push(inventory);
            sync_directory(&self.path)?;
        }
        self.is_complete = true;
        Ok(std::mem::take(&mut self.report))
    }
}

/// What was written so far, with the inventory under its final name.
impl ImageStore for DirectorySink {
    fn size(&self, name: &str) -> io::Result<Option<u64>> {
        self.images.size(file_name(name))
    }

    fn open(&self, name: &str) -> io::Result<Option<Box<dyn Read + '_>>> {
        self.images.open(file_name(name))
    }

    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.images.read_at(file_name(name), offset, buffer)
    }
}

fn file_name(name: &str) -> &str {
    if name == "inventory.img" { PENDING_INVENTORY } else { name }
}

impl Drop for DirectorySink {
    fn drop(&mut self) {
        if self.is_complete {
            return;
        }
        // Nothing can be done about failures here, and what stays behind has
        // no inventory.
        for path in &self.written {
            let _ = fs::remove_file(path);
        }
        if self.is_ours {
            let _ = fs::remove_dir(&self.path);
        }
    }
}

fn require_empty(path: &Path) -> Result<(), SinkError> {
    let mut entries = fs::read_dir(path).map_err(|error| io_error("read", path, error))?;
    let is_empty = entries.next().is_none();
    let is_unfinished = !is_empty
        && !path.join(ImageKind::Inventory.file_name(0)).exists()
        && path.join(ImageKind::Pstree.file_name(0)).exists();
    match (is_empty, is_unfinished) {
        (true, _) => Ok(()),
        (false, true) => Err(SinkError::Unfinished(path.to_owned())),
        (false, false) => Err(SinkError::NotEmpty(path.to_owned())),
    }
}

/// Claims the room for a file, so that a full disk is found out before the
/// pages are written. The file's size stays what is written, so that a short
/// file is seen to be short.
fn reserve(file: &File, path: &Path, size: u64) -> Result<(), SinkError> {
    let len = i64::try_from(size).unwrap_or(i64::MAX);
    if len == 0 {
        return Ok(());
    }
    loop {
        return match fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, len) {
            Ok(()) | Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(()),
            Err(Errno::EINTR) => continue,
            Err(errno) => Err(write_error(path, size, errno.into())),
        };
    }
}

/// Syncs files at the same time: file systems let those that wait together
/// share a commit of the journal and a flush of the disk, which makes it some
/// ten times faster than one after the other.
fn sync_files(files: &[File]) -> io::Result<()> {
    let share = files.len().div_ceil(MAX_SYNCS);
    thread::scope(|scope| {
        let syncs: Vec<_> = files
            .chunks(share)
            .map(|files| scope.spawn(|| files.iter().try_for_each(File::sync_all)))
            .collect();
        syncs.into_iter().try_for_each(|sync| {
            sync.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
        })
    })
}

fn sync_directory(path: &Path) -> Result<(), SinkError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| io_error("sync", path, error))
}

fn io_error(action: &'static str, path: &Path, error: io::Error) -> SinkError {
    SinkError::Io { action, path: path.to_owned(), error }
}

fn write_error(path: &Path, needed: u64, error: io::Error) -> SinkError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            SinkError::Full { path: path.to_owned(), needed }
        }
        _ => io_error("write", path, error),
    }
}

struct PagesFileWriter<'a> {
    sink: &'a mut DirectorySink,
    file: File,
    path: PathBuf,
    io: PagesIo,
    size: u64,
    written: u64,
}

impl PagesWriter for PagesFileWriter<'_> {
    fn append(&mut self, pages: &[IoSlice<'_>]) -> Result<(), SinkError> {
        let added: u64 = pages.iter().map(|slice| slice.len() as u64).sum();
        if added > self.size - self.written {
            return Err(self.wrong_size(self.written.saturating_add(added)));
        }
        self.write_at(self.written, pages)?;
        self.written += added;
        Ok(())
    }

    fn overwrite(&mut self, offset: u64, pages: &[IoSlice<'_>]) -> Result<(), SinkError> {
        let len: u64 = pages.iter().map(|slice| slice.len() as u64).sum();
        let end = offset.saturating_add(len);
        if end > self.written {
            return Err(self.wrong_size(end));
        }
        self.write_at(offset, pages)
    }

    fn finish(self: Box<Self>) -> Result<(), SinkError> {
        if self.written != self.size {
            return Err(self.wrong_size(self.written));
        }
        let Self { sink, file, io, size, .. } = *self;
        sink.unsynced.push(file);
        sink.report.files += 1;
        sink.report.bytes += size;
        // One buffered file among direct ones is what there is to tell.
        if !matches!(sink.report.pages_io, Some(PagesIo::Buffered(_))) {
            sink.report.pages_io = Some(io);
        }
        Ok(())
    }
}

impl PagesFileWriter<'_> {
    fn wrong_size(&self, written: u64) -> SinkError {
        SinkError::WrongSize { path: self.path.clone(), announced: self.size, written }
    }

    fn write_at(&mut self, offset: u64, pages: &[IoSlice<'_>]) -> Result<(), SinkError> {
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
        Ok(())
    }

    /// Writes at least one byte and tells how many.
    fn write_some(&mut self, position: u64, pages: &[IoSlice<'_>]) -> Result<usize, SinkError> {
        let at = i64::try_from(position)
            .map_err(|_| io_error("write", &self.path, io::ErrorKind::FileTooLarge.into()))?;
        loop {
            match pwritev(&self.file, pages, at) {
                Ok(0) => {
                    return Err(io_error("write", &self.path, io::ErrorKind::WriteZero.into()));
                }
                Ok(count) => return Ok(count),
                Err(Errno::EINTR) => {}
                Err(Errno::EINVAL) if self.io == PagesIo::Direct => self.leave_direct()?,
                Err(errno) => return Err(write_error(&self.path, self.size, errno.into())),
            }
        }
    }

    /// Goes on through the page cache.
    fn leave_direct(&mut self) -> Result<(), SinkError> {
        fcntl(&self.file, FcntlArg::F_SETFL(OFlag::empty()))
            .map_err(|errno| io_error("write", &self.path, errno.into()))?;
        self.io = PagesIo::Buffered(BufferedBecause::Alignment);
        Ok(())
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

    fn file_names(path: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn pages_go_out_in_order_and_are_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images");
        let mut sink = Box::new(DirectorySink::create(&path).unwrap());
        let memory = pages();
        let page = |number: usize| IoSlice::new(&memory.0[number * PAGE..][..PAGE]);
        let mut writer = sink.pages("pages-1.img", 4 * PAGE as u64).unwrap();
        writer.append(&[page(3), page(0)]).unwrap();
        writer.append(&[IoSlice::new(&memory.0[5 * PAGE..7 * PAGE])]).unwrap();
        writer.overwrite(PAGE as u64, &[page(1)]).unwrap();
        writer.finish().unwrap();
        sink.image("inventory.img", b"last").unwrap();
        let report = sink.complete().unwrap();
        assert_eq!((report.files, report.bytes), (2, 4 * PAGE as u64 + 4));
        let written = fs::read(path.join("pages-1.img")).unwrap();
        let firsts: Vec<u8> = written.chunks(PAGE).map(|page| page[0]).collect();
        assert_eq!(firsts, [4, 2, 6, 7]);
        assert_eq!(file_names(&path), ["inventory.img", "pages-1.img"]);
    }

    #[test]
    fn pages_at_any_address_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = DirectorySink::create(folder.path()).unwrap();
        let memory = pages();
        let mut writer = sink.pages("pages-1.img", PAGE as u64).unwrap();
        writer.append(&[IoSlice::new(&memory.0[100..][..PAGE])]).unwrap();
        writer.finish().unwrap();
        sink.sync().unwrap();
        let mut written = vec![0; PAGE];
        sink.images().read_at("pages-1.img", 0, &mut written).unwrap();
        assert_eq!(written, memory.0[100..][..PAGE]);
    }

    #[test]
    fn more_slices_than_one_call_takes_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = DirectorySink::create(folder.path()).unwrap();
        let memory = pages();
        let slices: Vec<IoSlice<'_>> =
            (0..3000).map(|number| IoSlice::new(&memory.0[number % 8 * PAGE..][..PAGE])).collect();
        let mut writer = sink.pages("pages-1.img", 3000 * PAGE as u64).unwrap();
        writer.append(&slices).unwrap();
        writer.finish().unwrap();
        let written = fs::read(folder.path().join("pages-1.img")).unwrap();
        assert!((0..3000).all(|number| written[number * PAGE] == (number % 8) as u8 + 1));
    }

    #[test]
    fn a_pages_file_has_the_size_that_was_announced() {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = DirectorySink::create(folder.path()).unwrap();
        let memory = pages();
        let page = [IoSlice::new(&memory.0[..PAGE])];
        let mut writer = sink.pages("pages-1.img", PAGE as u64).unwrap();
        writer.append(&page).unwrap();
        assert!(matches!(writer.append(&page), Err(SinkError::WrongSize { .. })));
        drop(writer);
        let writer = sink.pages("pages-2.img", PAGE as u64).unwrap();
        assert!(matches!(writer.finish(), Err(SinkError::WrongSize { written: 0, .. })));
    }

    #[test]
    fn the_inventory_appears_last() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images");
        let mut sink = Box::new(DirectorySink::create(&path).unwrap());
        sink.image("inventory.img", b"i").unwrap();
        sink.image("pstree.img", b"p").unwrap();
        sink.sync().unwrap();
        assert!(!path.join("inventory.img").exists());
        assert_eq!(sink.images().size("inventory.img").unwrap(), Some(1));
        let same = DirectorySink::create(&path);
        assert!(matches!(same, Err(SinkError::Unfinished(_))));
        sink.complete().unwrap();
        assert!(path.join("inventory.img").exists());
        let same = DirectorySink::create(&path);
        assert!(matches!(same, Err(SinkError::NotEmpty(_))));
    }

    #[test]
    fn a_dropped_sink_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images");
        let mut sink = DirectorySink::create(&path).unwrap();
        sink.image("pstree.img", b"p").unwrap();
        drop(sink.pages("pages-1.img", PAGE as u64).unwrap());
        drop(sink);
        assert!(!path.exists());

        let mut sink = DirectorySink::create(folder.path()).unwrap();
        sink.image("pstree.img", b"p").unwrap();
        drop(sink);
        assert!(file_names(folder.path()).is_empty());
    }

    #[test]
    fn a_full_disk_is_told_by_file_and_size() {
        let path = Path::new("pages-1.img");
        let error = write_error(path, 8192, Errno::ENOSPC.into());
        assert!(error.to_string().starts_with("no space left for the 8192 bytes of pages-1.img"));
    }

    #[test]
    fn memory_that_cannot_be_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let backing = tempfile::tempfile().unwrap();
        backing.set_len(PAGE as u64).unwrap();
        // SAFETY: the file is this test's own and shrinks only below, after
        // which the mapping is not read by the program itself.
        let mapping = unsafe { memmap2::Mmap::map(&backing).unwrap() };
        backing.set_len(0).unwrap();
        let mut sink = DirectorySink::create(folder.path()).unwrap();
        let mut writer = sink.pages("pages-1.img", PAGE as u64).unwrap();
        let error = writer.append(&[IoSlice::new(&mapping)]).unwrap_err();
        assert!(matches!(error, SinkError::Io { action: "write", .. }));
    }
}
