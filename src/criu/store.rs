//! Where a set of images lies, for those who read it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Images that can be read by name.
pub trait ImageStore {
    /// The size in bytes of an image; `None` when there is none of that name.
    ///
    /// # Errors
    /// When it cannot be told.
    fn size(&self, name: &str) -> io::Result<Option<u64>>;

    /// Begins to read an image; `None` when there is none of that name.
    ///
    /// # Errors
    /// When it cannot be opened.
    fn open(&self, name: &str) -> io::Result<Option<Box<dyn Read + '_>>>;

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
}

impl ImageStore for ImageDirectory {
    fn size(&self, name: &str) -> io::Result<Option<u64>> {
        let metadata = if_found(std::fs::metadata(self.path.join(name)))?;
        Ok(metadata.filter(|metadata| metadata.is_file()).map(|metadata| metadata.len()))
    }

    fn open(&self, name: &str) -> io::Result<Option<Box<dyn Read + '_>>> {
        // What is no regular file could block or never end.
        if self.size(name)?.is_none() {
            return Ok(None);
        }
        let file = if_found(File::open(self.path.join(name)))?;
        Ok(file.map(|file| Box::new(BufReader::new(file)) as Box<dyn Read>))
    }

    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        File::open(self.path.join(name))?.read_exact_at(buffer, offset)
    }
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

    fn open(&self, name: &str) -> io::Result<Option<Box<dyn Read + '_>>> {
        Ok(self.get(name).map(|bytes| Box::new(bytes.as_slice()) as Box<dyn Read>))
    }

    fn read_at(&self, name: &str, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let bytes = self.get(name).ok_or(io::ErrorKind::NotFound)?;
        let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..));
        let part = rest.and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}
