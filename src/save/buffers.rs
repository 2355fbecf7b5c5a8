//! Pages on their way through buffers, where guest memory is not mapped.

use std::io;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use memmap2::MmapMut;

use crate::capture::{PagePlan, PageRun};
use crate::memory::{GuestMemory, GuestPhys};

use super::error::SaveError;
use super::pages::batches;

/// Bytes of a buffer: large enough that a system call does not count.
const BUFFER: usize = 8 << 20;
/// One is filled, one is written, and one lets neither wait.
const BUFFERS: usize = 3;

/// Memory that begins at a page, as direct I/O asks for.
pub(super) struct Buffer {
    map: MmapMut,
    /// Bytes that are filled.
    len: usize,
}

impl Buffer {
    pub(super) fn new(size: usize) -> Result<Self, SaveError> {
        Ok(Self { map: MmapMut::map_anon(size).map_err(SaveError::Buffer)?, len: 0 })
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

/// Hands the pages of `plan` to `write` in their order, while others are read.
pub(super) fn through_buffers(
    memory: &GuestMemory,
    plan: &PagePlan,
    mut write: impl FnMut(&[u8]) -> Result<(), SaveError>,
) -> Result<(), SaveError> {
    let (give_back, free) = mpsc::channel();
    let (hand_over, filled) = mpsc::sync_channel(BUFFERS);
    for _ in 0..BUFFERS {
        // The receiver is here.
        let _ = give_back.send(Buffer::new(BUFFER)?);
    }
    thread::scope(|scope| {
        let reader = scope.spawn(move || read(memory, plan, &free, &hand_over));
        let written = filled.into_iter().try_for_each(|buffer: Buffer| {
            write(buffer.bytes())?;
            // A reader that has read all wants none back.
            let _ = give_back.send(buffer);
            Ok(())
        });
        // Without these the reader ends at its next buffer.
        drop(give_back);
        let read = reader.join();
        written.and(read.unwrap_or_else(|_| {
            Err(SaveError::Buffer(io::Error::other("the thread that reads pages panicked")))
        }))
    })
}

/// Fills free buffers until all is read or nobody takes them any more.
fn read(
    memory: &GuestMemory,
    plan: &PagePlan,
    free: &Receiver<Buffer>,
    filled: &SyncSender<Buffer>,
) -> Result<(), SaveError> {
    for runs in batches(plan, BUFFER as u64, usize::MAX) {
        let Ok(mut buffer) = free.recv() else { break };
        buffer.fill(memory, &runs)?;
        if filled.send(buffer).is_err() {
            break;
        }
    }
    Ok(())
}
