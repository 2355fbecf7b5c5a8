//! Images as files in a directory, as `criu dump` leaves them.
//!
//! `inventory.img` comes into being last and by a rename: `criu restore` takes
//! no set without it, so what an interrupted save leaves is never taken for a
//! complete one.

use std::fs::{self, DirBuilder, File};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread;

use nix::fcntl::OFlag;

use super::file::{create, is_memory};
use super::pages_file::PagesFile;
use super::{Direct, PagesIo, PagesWriter, Room, Sink, SinkError, SinkReport};
use crate::criu::{ImageContent, ImageDirectory, ImageKind, ImageStore};

/// The inventory before it is complete.
const PENDING_INVENTORY: &str = ".inventory.img.pending";

/// Files that are synced at the same time.
const MAX_SYNCS: usize = 16;

/// Images hold the memory of a process: they are the owner's alone.
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
            Err(error) => return Err(SinkError::io("create", path, error)),
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

    fn sync_directory(&self, path: &Path) -> Result<(), SinkError> {
        if !self.options.sync {
            return Ok(());
        }
        File::open(path)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| SinkError::io("sync", path, error))
    }
}

impl Sink for DirectorySink {
    fn image(&mut self, name: &str, bytes: &[u8]) -> Result<(), SinkError> {
        let is_inventory = name == ImageKind::Inventory.file_name(0);
        let file_name = if is_inventory { PENDING_INVENTORY } else { name };
        let path = self.path.join(file_name);
        let mut file = create(&path, OFlag::empty())?;
        self.written.push(path.clone());
        let size = bytes.len() as u64;
        file.write_all(bytes).map_err(|error| SinkError::write(&path, size, error))?;
        self.unsynced.push(file);
        self.has_inventory |= is_inventory;
        self.report.files += 1;
        self.report.bytes += size;
        Ok(())
    }

    fn pages(&mut self, name: &str, room: Room) -> Result<Box<dyn PagesWriter + '_>, SinkError> {
        let path = self.path.join(name);
        let file = PagesFile::create(&path, room, self.options.direct)?;
        self.written.push(path);
        Ok(Box::new(PagesFileWriter { sink: self, file }))
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        let unsynced = std::mem::take(&mut self.unsynced);
        if unsynced.is_empty() || !self.options.sync {
            return Ok(());
        }
        sync_files(&unsynced).map_err(|error| SinkError::io("sync files of", &self.path, error))?;
        self.sync_directory(&self.path)?;
        // Its entry in the directory above.
        if self.is_ours { self.sync_directory(&self.path.join("..")) } else { Ok(()) }
    }

    fn images(&self) -> &dyn ImageStore {
        self
    }

    fn complete(mut self: Box<Self>) -> Result<SinkReport, SinkError> {
        self.sync()?;
        if self.has_inventory {
            let inventory = self.path.join(ImageKind::Inventory.file_name(0));
            fs::rename(self.path.join(PENDING_INVENTORY), &inventory)
                .map_err(|error| SinkError::io("complete", &inventory, error))?;
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

    fn open(&self, name: &str) -> io::Result<Option<Box<dyn ImageContent + '_>>> {
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
    let mut entries = fs::read_dir(path).map_err(|error| SinkError::io("read", path, error))?;
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
        let start = |files| thread::Builder::new().spawn_scoped(scope, move || sync(files));
        let started: Vec<_> = files.chunks(share).map(|files| (files, start(files))).collect();
        // All of them: a panic that nobody has seen would become ours.
        let ended: Vec<_> = started
            .into_iter()
            .map(|(files, syncing)| match syncing {
                Ok(syncing) => {
                    syncing.join().unwrap_or_else(|_| Err(io::Error::other("it panicked")))
                }
                // The host lets no more threads start.
                Err(_) => sync(files),
            })
            .collect();
        ended.into_iter().collect()
    })
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

    fn new(path: &Path) -> Result<Box<DirectorySink>, SinkError> {
        DirectorySink::create(path, DirectoryOptions::default()).map(Box::new)
    }

    #[test]
    fn a_report_counts_all_that_was_written() {
        for sync in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("images");
            let options = DirectoryOptions { sync, ..DirectoryOptions::default() };
            let mut sink = Box::new(DirectorySink::create(&path, options).unwrap());
            let writer = sink.pages("pages-1.img", Room::Reserved(4 * PAGE as u64)).unwrap();
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
        let mut sink = new(&path).unwrap();
        sink.image("inventory.img", b"i").unwrap();
        sink.image("pstree.img", b"p").unwrap();
        sink.sync().unwrap();
        assert!(!path.join("inventory.img").exists());
        assert_eq!(sink.images().size("inventory.img").unwrap(), Some(1));
        let same = new(&path);
        assert!(matches!(same, Err(SinkError::Unfinished(_))));
        sink.complete().unwrap();
        assert!(path.join("inventory.img").exists());
        let same = new(&path);
        assert!(matches!(same, Err(SinkError::NotEmpty(_))));
    }

    #[test]
    fn a_dropped_sink_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images");
        let mut sink = new(&path).unwrap();
        sink.image("pstree.img", b"p").unwrap();
        drop(sink.pages("pages-1.img", Room::Reserved(PAGE as u64)).unwrap());
        drop(sink);
        assert!(!path.exists());

        let mut sink = new(folder.path()).unwrap();
        sink.image("pstree.img", b"p").unwrap();
        drop(sink);
        assert!(file_names(folder.path()).is_empty());
    }
}
