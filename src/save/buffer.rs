//! Pages on their way through memory of our own.

use std::io::{self, Write};

use memmap2::MmapMut;

use crate::capture::PageRun;
use crate::memory::{GuestMemory, GuestPhys};

use super::error::SaveError;

/// Memory that begins at a page, as direct I/O asks for.
pub(super) struct Buffer {
    map: MmapMut,
    /// Bytes that are filled.
    len: usize,
}

impl Buffer {
    /// One of `size` bytes, which take room once they are filled.
    pub(super) fn new(size: usize) -> Result<Self, SaveError> {
        let map = MmapMut::map_anon(size).map_err(SaveError::Buffer)?;
        // Fewer pages to pin for each write. The host may know of no huge ones.
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Self { map, len: 0 })
    }

    /// The one that is there already, or a new one.
    pub(super) fn reused(buffer: &mut Option<Self>, size: usize) -> Result<&mut Self, SaveError> {
        match buffer {
            Some(buffer) => Ok(buffer),
            None => Ok(buffer.insert(Self::new(size)?)),
        }
    }

    /// Empties it.
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// Copies the runs, which must fit, out of the guest.
    pub(super) fn fill(&mut self, memory: &GuestMemory, runs: &[PageRun]) -> Result<(), SaveError> {
        let pieces: Vec<(GuestPhys, usize)> =
            runs.iter().map(|run| (run.phys, run.len as usize)).collect();
        self.len = pieces.iter().map(|(_, len)| len).sum();
        let space = self.map.get_mut(..self.len);
        let space = space.ok_or_else(|| SaveError::Buffer(io::ErrorKind::OutOfMemory.into()))?;
        Ok(memory.read_batch(&pieces, space)?)
    }

    /// Fills all of it with zeros.
    pub(super) fn fill_with_zeros(&mut self) {
        self.map.fill(0);
        self.len = self.map.len();
    }

    /// What was filled in.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.map[..self.len]
    }
}

/// Adds to what was filled in.
impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = (&mut self.map[self.len..]).write(bytes)?;
        self.len += count;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
