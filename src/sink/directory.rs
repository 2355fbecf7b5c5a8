//! Images as files in a directory, as `criu dump` leaves them.
//!
//! `inventory.img` comes into being last and by a rename: `criu restore` takes
//! no set without it, so what an interrupted save leaves is never taken for a
//! complete one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::{self, ScopedJoinHandle};

use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};

use super::pages_file::PagesFile;
use super::{Direct, PagesIo, PagesWriter, Sink, SinkError, SinkReport};
use crate::criu::{ImageDirectory, ImageKind, ImageStore};

/// The inventory before it is complete.
const PENDING_INVENTORY: &str = ".inventory.img.pending";

/// Files that are synced at the same time.
const MAX_SYNCS: usize = 16;

/// Images hold the memory of a process: they are the owner's alone.
pub(super) const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// How a directory is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirectoryOptions {
    /// Whether pages go past the host's page cache.
    pub direct: Direct,
    /// Whether images are durable before they count as complete.
    pub sync: bool,
}

impl Default for DirectoryOptions {
    fn default() -> Self {
        Self { direct: Direct::Auto, sync: true }
    }
}

/// A directory of images. Dropped before [`Sink::complete`], it removes what
/// it wrote.
#[derive(Debug)]
pub struct DirectorySink {
    path: PathBuf,
    options: DirectoryOptions,
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
    pub fn create(path: &Path, options: DirectoryOptions) -> Result<Self, SinkError> {
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
            options,
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
    fn create_file(&mut self, name: &str) -> Result<(File, PathBuf), SinkError> {
        let path = self.path.join(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(&path)
            .map_err(|error| io_error("create", &path, error))?;
        self.written.push(path.clone());
        Ok((file, path))
    }

    fn sync_directory(&self, path: &Path) -> Result<(), SinkError> {
        if !self.options.sync {
            return Ok(());
        }
        File::open(path)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| io_error("sync", path, error))
    }
}

impl Sink for DirectorySink {
    fn image(&mut self, name: &str, bytes: &[u8]) -> Result<(), SinkError> {
        let is_inventory = name == ImageKind::Inventory.file_name(0);
        let file_name = if is_inventory { PENDING_INVENTORY } else { name };
        let (mut file, path) = self.create_file(file_name)?;
        let size = bytes.len() as u64;
        file.write_all(bytes).map_err(|error| write_error(&path, size, error))?;
        self.unsynced.push(file);
        self.has_inventory |= is_inventory;
        self.report.files += 1;
        self.report.bytes += size;
        Ok(())
    }

    fn pages(&mut self, name: &str, size: u64) -> Result<Box<dyn PagesWriter + '_>, SinkError> {
        let path = self.path.join(name);
        let file = PagesFile::create(&path, size, self.options.direct)?;
        self.written.push(path);
        Ok(Box::new(PagesFileWriter { sink: self, file }))
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        let unsynced = std::mem::take(&mut self.unsynced);
        if unsynced.is_empty() || !self.options.sync {
            return Ok(());
        }
        sync_files(&unsynced).map_err(|error| io_error("sync files of", &self.path, error))?;
        self.sync_directory(&self.path)?;
        match self.path.parent() {
            Some(parent) if self.is_ours && !parent.as_os_str().is_empty() => {
                self.sync_directory(parent)
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
            self.sync_directory(&self.path)?;
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

/// Syncs files at the same time: file systems let those that wait together
/// share a commit of the journal and a flush of the disk, which makes it some
/// ten times faster than one after the other. Where they lie in memory nothing
/// waits.
fn sync_files(files: &[File]) -> io::Result<()> {
    let sync = |files: &[File]| files.iter().try_for_each(File::sync_all);
    if files.first().is_some_and(is_memory) {
        return sync(files);
    }
    let share = files.len().div_ceil(MAX_SYNCS);
    thread::scope(|scope| {
        let syncs: Vec<_> =
            files.chunks(share).map(|files| scope.spawn(move || sync(files))).collect();
        // All of them: a panic that nobody has seen would become ours.
        let ended: Vec<_> = syncs.into_iter().map(ScopedJoinHandle::join).collect();
        let panicked = || io::Error::other("a thread panicked");
        ended.into_iter().try_for_each(|end| end.unwrap_or_else(|_| Err(panicked())))
    })
}

/// Whether a file lies in memory anyway.
pub(super) fn is_memory(file: &File) -> bool {
    fstatfs(file).is_ok_and(|fs| fs.filesystem_type() == TMPFS_MAGIC)
}

pub(super) fn io_error(action: &'static str, path: &Path, error: io::Error) -> SinkError {
    SinkError::Io { action, path: path.to_owned(), error }
}

pub(super) fn write_error(path: &Path, needed: u64, error: io::Error) -> SinkError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            SinkError::Full { path: path.to_owned(), needed }
        }
        _ => io_error("write", path, error),
    }
}

struct PagesFileWriter<'a> {
    sink: &'a mut DirectorySink,
    file: PagesFile,
}

impl PagesWriter for PagesFileWriter<'_> {
    fn is_direct(&self) -> bool {
        self.file.is_direct()
    }

    fn write_at(&self, offset: u64, pages: &[IoSlice<'_>]) -> Result<(), SinkError> {
        self.file.write_at(offset, pages)
    }

    fn finish(self: Box<Self>, size: u64) -> Result<(), SinkError> {
        let Self { sink, file } = *self;
        let (file, io) = file.finish(size)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 4096;

    fn file_names(path: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn create(path: &Path) -> Result<Box<DirectorySink>, SinkError> {
        DirectorySink::create(path, DirectoryOptions::default()).map(Box::new)
    }

    #[test]
    fn a_report_counts_all_that_was_written() {
        for sync in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("images");
            let options = DirectoryOptions { sync, ..DirectoryOptions::default() };
            let mut sink = Box::new(DirectorySink::create(&path, options).unwrap());
            let writer = sink.pages("pages-1.img", 4 * PAGE as u64).unwrap();
            writer.write_at(0, &[IoSlice::new(&[1; 3 * PAGE])]).unwrap();
            writer.finish(3 * PAGE as u64).unwrap();
            sink.image("inventory.img", b"last").unwrap();
            let report = sink.complete().unwrap();
            assert_eq!((report.files, report.bytes), (2, 3 * PAGE as u64 + 4));
            assert_eq!(fs::metadata(path.join("pages-1.img")).unwrap().len(), 3 * PAGE as u64);
            assert_eq!(file_names(&path), ["inventory.img", "pages-1.img"]);
        }
    }

    #[test]
    fn the_inventory_appears_last() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images");
        let mut sink = create(&path).unwrap();
        sink.image("inventory.img", b"i").unwrap();
        sink.image("pstree.img", b"p").unwrap();
        sink.sync().unwrap();
        assert!(!path.join("inventory.img").exists());
        assert_eq!(sink.images().size("inventory.img").unwrap(), Some(1));
        let same = create(&path);
        assert!(matches!(same, Err(SinkError::Unfinished(_))));
        sink.complete().unwrap();
        assert!(path.join("inventory.img").exists());
        let same = create(&path);
        assert!(matches!(same, Err(SinkError::NotEmpty(_))));
    }

    #[test]
    fn a_dropped_sink_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images");
        let mut sink = create(&path).unwrap();
        sink.image("pstree.img", b"p").unwrap();
        drop(sink.pages("pages-1.img", PAGE as u64).unwrap());
        drop(sink);
        assert!(!path.exists());

        let mut sink = create(folder.path()).unwrap();
        sink.image("pstree.img", b"p").unwrap();
        drop(sink);
        assert!(file_names(folder.path()).is_empty());
    }

    #[test]
    fn a_full_disk_is_told_by_file_and_size() {
        let path = Path::new("pages-1.img");
        let error = write_error(path, 8192, io::ErrorKind::StorageFull.into());
        assert!(error.to_string().starts_with("no space left for the 8192 bytes of pages-1.img"));
    }
}
