//! Where a set of images lies, for those who read it.
//!
//! A pages file may lie there compressed, which those who read it do not notice.
//! Nothing else may: a few bytes could stand for records without an end.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::container::is_pages_file;
use crate::pack::{Compression, SeekTable, Unpacked};

/// An image that is being read.
pub trait ImageContent: Read + Seek {}

impl<T: Read + Seek> ImageContent for T {}

/// Images that can be read by name.
pub trait ImageStore {
    /// The size in bytes of an image; `None` when there is none of that name.
    ///
    /// # Errors
    /// When it cannot be told.
    fn size(&self, name: &str) -> io::Result<Option<u64>>;

    /// Begins to read an image of records; `None` when there is none of that name.
    ///
    /// # Errors
    /// When it cannot be opened.
    fn open(&self, name: &str) -> io::Result<Option<Box<dyn ImageContent + '_>>>;

    /// Fills `buffer` from `offset` of an image.
    ///
    /// # Errors
    /// When the image is absent, too short or cannot be read.
    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

/// Images as files in a directory.
#[derive(Clone, Debug)]
pub struct ImageDirectory {
    path: PathBuf,
}

impl ImageDirectory {
    /// The images in `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where the images are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a pages file lies compressed, and how; `None` where it does not.
    pub fn packed(&self, name: &str) -> Option<(PathBuf, Compression)> {
        let plain = self.path.join(name);
        if !is_pages_file(name) || is_file(&plain).unwrap_or(true) {
            return None;
        }
        let packed = Compression::ALL.into_iter().map(|way| (way.path_of(&plain), way));
        packed.into_iter().find(|(path, _)| is_file(path).unwrap_or(false))
    }
}

impl ImageStore for ImageDirectory {
    fn size(&self, name: &str) -> io::Result<Option<u64>> {
        if let Some((path, _)) = self.packed(name) {
            return SeekTable::read(&File::open(path)?).map(|table| Some(table.unpacked()));
        }
        let metadata = if_found(std::fs::metadata(self.path.join(name)))?;
        Ok(metadata.filter(|metadata| metadata.is_file()).map(|metadata| metadata.len()))
    }

    fn open(&self, name: &str) -> io::Result<Option<Box<dyn ImageContent + '_>>> {
        let path = self.path.join(name);
        // What is no regular file could block or never end.
        if !is_file(&path)? {
            return Ok(None);
        }
        let file = if_found(File::open(path))?;
        Ok(file.map(|file| Box::new(BufReader::new(file)) as Box<dyn ImageContent>))
    }

    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let Some((path, way)) = self.packed(name) else {
            return File::open(self.path.join(name))?.read_exact_at(buffer, offset);
        };
        let mut unpacked = Unpacked::open(&path, way)?;
        unpacked.skip(offset)?;
        unpacked.read_exact(buffer)
    }
}

fn is_file(path: &Path) -> io::Result<bool> {
    Ok(if_found(std::fs::metadata(path))?.is_some_and(|metadata| metadata.is_file()))
}

fn if_found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Images in memory, by name.
impl ImageStore for BTreeMap<String, Vec<u8>> {
    fn size(&self, name: &str) -> io::Result<Option<u64>> {
        Ok(self.get(name).map(|bytes| bytes.len() as u64))
    }

    fn open(&self, name: &str) -> io::Result<Option<Box<dyn ImageContent + '_>>> {
        Ok(self.get(name).map(|bytes| Box::new(Cursor::new(bytes)) as Box<dyn ImageContent>))
    }

    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let bytes = self.get(name).ok_or(io::ErrorKind::NotFound)?;
        let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..));
        let part = rest.and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}
