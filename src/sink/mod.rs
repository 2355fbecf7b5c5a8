//! Where images go.
//!
//! A save gives its sink small images whole and pages as borrowed slices,
//! straight from guest frames. Then it goes through three states, so that a
//! process is never killed for images that are not there:
//!
//! 1. [`Sink::sync`] returns once all content is durable. The set can be
//!    checked now, but nobody can take it for complete.
//! 2. [`Sink::complete`] makes it complete, in one step.
//! 3. A sink that is dropped before leaves nothing behind.

mod directory;
mod error;
mod file;
mod pages_file;

use std::fmt;
use std::io::IoSlice;

use serde::{Deserialize, Serialize};

pub use directory::{DirectoryOptions, DirectorySink};
pub use error::SinkError;

use crate::criu::ImageStore;

/// Takes the images of one save.
pub trait Sink {
    /// Takes a whole image.
    ///
    /// # Errors
    /// When it cannot be written; the sink is then to be dropped.
    fn image(&mut self, name: &str, bytes: &[u8]) -> Result<(), SinkError>;

    /// Begins a pages file.
    ///
    /// # Errors
    /// When there is no room for it or it cannot be made.
    fn pages(&mut self, name: &str, room: Room) -> Result<Box<dyn PagesWriter + '_>, SinkError>;

    /// Waits until all that was taken is durable.
    ///
    /// # Errors
    /// When that fails: then nothing is known of any image.
    fn sync(&mut self) -> Result<(), SinkError>;

    /// What was taken, to be checked.
    fn images(&self) -> &dyn ImageStore;

    /// Completes a set that is durable already.
    ///
    /// # Errors
    /// When that fails; the set is then not complete.
    fn complete(self: Box<Self>) -> Result<SinkReport, SinkError>;
}

/// What a pages file may take, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    /// About as much, or less: what is not there is found out before pages are
    /// written.
    Reserved(u64),
    /// Much less, as it seems, but no more.
    UpTo(u64),
}

impl Room {
    /// Bytes at most.
    pub fn most(self) -> u64 {
        match self {
            Self::Reserved(bytes) | Self::UpTo(bytes) => bytes,
        }
    }
}

/// Takes the pages of one pages file, from several threads at a time.
pub trait PagesWriter: Sync {
    /// Whether pages go from where they are to a device. Then many small slices
    /// cost more than copying them into a large one first.
    fn is_direct(&self) -> bool;

    /// Writes pages one after the other from `offset` on, also where others
    /// were written before.
    ///
    /// # Errors
    /// When they cannot be written, also when a slice's memory cannot be read.
    fn write_at(&self, offset: u64, pages: &[IoSlice<'_>]) -> Result<(), SinkError>;

    /// Ends the file, which has `size` bytes, all of them written.
    ///
    /// # Errors
    /// [`SinkError::WrongSize`] when nothing was written that far.
    fn finish(self: Box<Self>, size: u64) -> Result<(), SinkError>;
}

/// Whether pages are to go past the host's page cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Direct {
    /// Where the file system can and lies on a device.
    #[default]
    Auto,
    /// Always: a file system that cannot is refused.
    On,
    /// Never.
    Off,
}

/// What a sink did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SinkReport {
    /// How many files were written.
    pub files: u64,
    /// Their bytes in all.
    pub bytes: u64,
    /// How pages were written; `None` when there were none.
    pub pages_io: Option<PagesIo>,
}

/// How pages reach a file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PagesIo {
    /// Past the host's page cache (`O_DIRECT`).
    Direct,
    /// Through the page cache.
    Buffered(BufferedBecause),
}

/// Why pages went through the host's page cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BufferedBecause {
    /// That was asked for.
    Asked,
    /// The file system keeps its files in memory.
    Memory,
    /// The file system has no direct I/O.
    FileSystem,
    /// Pages lay at addresses that the file system does not take for it.
    Alignment,
}

impl fmt::Display for PagesIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Buffered(BufferedBecause::Asked) => "buffered, as asked for",
            Self::Buffered(BufferedBecause::Memory) => {
                "buffered, as the file system lies in memory"
            }
            Self::Buffered(BufferedBecause::FileSystem) => {
                "buffered, as the file system has no direct I/O"
            }
            Self::Buffered(BufferedBecause::Alignment) => {
                "buffered, as pages are not aligned for direct I/O"
            }
        })
    }
}
