//! Copying pages from the guest to a pages file.
//!
//! Workers take pieces of a plan in its order. Each looks which pages of its
//! piece are zeros that need not go out, is told in its turn where in the file
//! the others go, and writes them while others look at theirs:
//!
//! ```text
//! worker 1   zeros of 1 | place | write 1 ─────────── | zeros of 3 | place | write 3
//! worker 2     zeros of 2     | place | write 2 ─────────── | zeros of 4 | …
//! ```
//!
//! Guest RAM that is mapped goes out from where it lies, without a copy. Through
//! a buffer of the worker goes what is not mapped, and what lies so scattered
//! that a device would be kept busy with little pieces: a copy costs less. Where
//! pages are to be compressed, the worker does so before it asks for its place.

mod shared;
mod span;
#[cfg(test)]
mod tests;

use std::io::{self, IoSlice};
use std::num::NonZeroUsize;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use rustix::process::setpriority_process;

use crate::capture::{PagePlan, PageRun};
use crate::memory::{Access, GuestMemory};
use crate::pack::{self, Compression, Frame};
use crate::sink::PagesWriter;

use super::buffer::Buffer;
use super::error::SaveError;
use super::pace::Pace;
pub(super) use shared::Copied;
use shared::Shared;
use span::Span;

/// Bytes that a worker is best given at once: large enough that a system call
/// does not count, small enough that a few keep a disk busy.
pub(super) const PIECE: u64 = 8 << 20;
/// Runs that are shorter than this on average are scattered: a disk takes only so
/// many pieces of memory at once (254 of virtio's), which are then less than a
/// copy is worth.
const SCATTERED: u64 = 16 << 10;
/// How often an interruption is looked for.
const GLANCE: Duration = Duration::from_millis(50);

/// Copies the pages of one plan.
pub(super) struct Copy<'a, Z> {
    pub(super) memory: &'a GuestMemory,
    pub(super) writer: &'a dyn PagesWriter,
    /// How many work at a time.
    pub(super) workers: NonZeroUsize,
    pub(super) pace: &'a Pace,
    /// How far workers step back behind others.
    pub(super) nice: u8,
    /// Bytes that a worker takes at once.
    pub(super) piece: u64,
    /// How pages are compressed, if they are.
    pub(super) compression: Option<Compression>,
    /// Whether a page of zeros at an address may be left out.
    pub(super) may_stay: Z,
}

/// What a worker needs for one piece after the other.
#[derive(Default)]
struct Buffers {
    /// Pages that do not go out from where they lie.
    pages: Option<Buffer>,
    /// The same, or others, compressed.
    packed: Option<Buffer>,
}

impl<Z> Copy<'_, Z>
where
    Z: Fn(u64) -> bool + Sync,
{
    /// Copies all pages of `plan` but zeros. `go_on` is told of bytes that were
    /// dealt with, and asked every now and then whether to.
    pub(super) fn run(
        &self,
        plan: &PagePlan,
        go_on: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Copied, SaveError> {
        let shared = Shared::new(plan, self.piece);
        let pieces = usize::try_from(plan.bytes().div_ceil(self.piece)).unwrap_or(usize::MAX);
        let workers = self.workers.get().min(pieces.max(1));
        // A thread that has stepped back cannot step forward again, and one that
        // keeps a pace does not see an interruption meanwhile.
        if workers <= 1 && self.nice == 0 && !self.pace.is_limited() {
            self.work(&shared, |bytes| {
                if !go_on(bytes) {
                    shared.interrupt();
                }
            })?;
        } else {
            self.share_out(workers, &shared, go_on)?;
        }
        shared.into_copied()
    }

    /// Has several workers copy, and watches them.
    fn share_out(
        &self,
        workers: usize,
        shared: &Shared<'_>,
        go_on: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), SaveError> {
        thread::scope(|scope| {
            let (tell, told) = mpsc::channel();
            let start = |_| {
                let tell = tell.clone();
                let work = move || {
                    let _stop = shared.stop_if_panicking();
                    step_back(self.nice);
                    self.work(shared, |bytes| {
                        // Somebody listens until all have ended.
                        let _ = tell.send(bytes);
                    })
                };
                thread::Builder::new().spawn_scoped(scope, work)
            };
            let (started, refused): (Vec<_>, Vec<_>) =
                (0..workers).map(start).partition(Result::is_ok);
            // Fewer do as well; a panic here would leave the process frozen.
            if let (true, Some(Err(error))) = (started.is_empty(), refused.into_iter().next()) {
                return Err(SaveError::Threads(error));
            }
            drop(tell);
            watch(&told, shared, go_on);
            // All of them: a panic that nobody has seen would become ours.
            let ended: Vec<_> = started.into_iter().flatten().map(ScopedJoinHandle::join).collect();
            let panicked = || SaveError::Threads(io::Error::other("one of them panicked"));
            ended.into_iter().try_for_each(|end| end.unwrap_or_else(|_| Err(panicked())))
        })
    }

    fn work(&self, shared: &Shared<'_>, mut tell: impl FnMut(u64)) -> Result<(), SaveError> {
        let mut buffers = Buffers::default();
        while let Some((place, runs)) = shared.next_piece() {
            let bytes: u64 = runs.iter().map(|run| run.len).sum();
            if let Err(error) = self.piece(shared, place, runs, &mut buffers) {
                // Others may be waiting for their turn behind this one.
                shared.stop();
                return Err(error);
            }
            tell(bytes);
        }
        Ok(())
    }

    fn piece(
        &self,
        shared: &Shared<'_>,
        place: usize,
        runs: Vec<PageRun>,
        buffers: &mut Buffers,
    ) -> Result<(), SaveError> {
        let Buffers { pages, packed } = buffers;
        let spans = if self.goes_through_a_buffer(&runs) {
            let buffer = Buffer::reused(pages, self.piece as usize)?;
            buffer.fill(self.memory, &runs)?;
            vec![Span { runs: &runs, bytes: buffer.bytes() }]
        } else {
            runs.iter().map(|run| Span::borrowed(self.memory, run)).collect::<Result<_, _>>()?
        };
        let (mut kept, mut slices) = (Vec::with_capacity(runs.len()), Vec::new());
        for span in &spans {
            span.without_zeros(&self.may_stay, &mut kept, &mut slices);
        }
        let frame = self.packed(&mut slices, packed)?;
        self.memory.check_borrowed()?;
        let bytes: u64 = slices.iter().map(|slice| slice.len() as u64).sum();
        let Some(offset) = shared.place(place, bytes) else { return Ok(()) };
        self.pace.wait(bytes, || shared.is_stopped());
        self.writer.write_at(offset, &slices)?;
        shared.note(place, kept, frame);
        Ok(())
    }

    /// Puts a frame of all `slices` in their place, where there are any and pages
    /// are compressed.
    fn packed<'b>(
        &self,
        slices: &mut Vec<IoSlice<'b>>,
        buffer: &'b mut Option<Buffer>,
    ) -> Result<Option<Frame>, SaveError> {
        let Some(way) = self.compression.filter(|_| !slices.is_empty()) else { return Ok(None) };
        let buffer = Buffer::reused(buffer, pack::bound(self.piece as usize))?;
        buffer.clear();
        let frame = pack::pack(way, slices, buffer).map_err(SaveError::Pack)?;
        *slices = vec![IoSlice::new(buffer.bytes())];
        Ok(Some(frame))
    }

    fn goes_through_a_buffer(&self, runs: &[PageRun]) -> bool {
        let bytes: u64 = runs.iter().map(|run| run.len).sum();
        let is_scattered = bytes < SCATTERED.saturating_mul(runs.len() as u64);
        let is_compressed = self.compression.is_some();
        let is_costly = is_scattered && self.writer.is_direct() && !is_compressed;
        self.memory.access() != Access::Mapped || is_costly
    }
}

/// Tells of progress until all workers have ended.
fn watch(told: &Receiver<u64>, shared: &Shared<'_>, go_on: &mut dyn FnMut(u64) -> bool) {
    loop {
        let bytes = match told.recv_timeout(GLANCE) {
            Ok(bytes) => bytes,
            Err(RecvTimeoutError::Timeout) => 0,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if !go_on(bytes) {
            shared.interrupt();
        }
    }
}

/// Lets others go first on CPUs, and on disks whose scheduler goes by that
/// (`ioprio_set(2)`).
fn step_back(nice: u8) {
    if nice == 0 {
        return;
    }
    // On Linux, without a process, that of the thread.
    if let Err(error) = setpriority_process(None, nice.into()) {
        tracing::warn!("the threads that write pages do not step back: {error}");
    }
}
