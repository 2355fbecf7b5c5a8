//! What the workers of one copy share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::capture::{PagePlan, PageRun};
use crate::pack::{Frame, SeekTable};

use super::super::error::SaveError;

/// What workers share.
pub(super) struct Shared<'p> {
    pieces: Mutex<Box<dyn Iterator<Item = (usize, Vec<PageRun>)> + Send + 'p>>,
    turn: Mutex<Turn>,
    turn_changed: Condvar,
    stopped: AtomicBool,
    interrupted: AtomicBool,
    /// What went out of each piece, by its place among them.
    written: Mutex<BTreeMap<usize, Piece>>,
}

/// What went out of a piece.
struct Piece {
    runs: Vec<PageRun>,
    /// The frame that they are in, where they were compressed.
    frame: Option<Frame>,
}

/// What went out.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in super::super) struct Copied {
    /// The pages, in the order of the file.
    pub(in super::super) runs: Vec<PageRun>,
    /// The frames that they are in, where they were compressed.
    pub(in super::super) frames: SeekTable,
}

/// Which piece is to be placed next, and where.
#[derive(Default)]
struct Turn {
    piece: usize,
    offset: u64,
}

impl<'p> Shared<'p> {
    pub(super) fn new(plan: &'p PagePlan, piece: u64) -> Self {
        Self {
            pieces: Mutex::new(Box::new(pieces(plan, piece).enumerate())),
            turn: Mutex::default(),
            turn_changed: Condvar::new(),
            stopped: AtomicBool::new(false),
            interrupted: AtomicBool::new(false),
            written: Mutex::default(),
        }
    }

    pub(super) fn next_piece(&self) -> Option<(usize, Vec<PageRun>)> {
        if self.is_stopped() { None } else { lock(&self.pieces).next() }
    }

    /// Where in the file the piece `place` goes, which has `bytes`, once all
    /// before it have theirs; `None` where it is all over.
    pub(super) fn place(&self, place: usize, bytes: u64) -> Option<u64> {
        let others_first = |turn: &mut Turn| turn.piece != place && !self.is_stopped();
        let turn = self.turn_changed.wait_while(lock(&self.turn), others_first);
        let mut turn = turn.unwrap_or_else(PoisonError::into_inner);
        if self.is_stopped() {
            return None;
        }
        let offset = turn.offset;
        *turn = Turn { piece: place + 1, offset: offset + bytes };
        self.turn_changed.notify_all();
        Some(offset)
    }

    pub(super) fn note(&self, place: usize, kept: Vec<PageRun>, frame: Option<Frame>) {
        lock(&self.written).insert(place, Piece { runs: kept, frame });
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    pub(super) fn stop(&self) {
        // Nobody is between a look at this and waiting for a turn.
        let _turn = lock(&self.turn);
        self.stopped.store(true, Ordering::Relaxed);
        self.turn_changed.notify_all();
    }

    /// Stops all where the thread that has the result panics: others would wait
    /// for its turn to be over for ever.
    pub(super) fn stop_if_panicking(&self) -> impl Drop {
        struct Guard<'s, 'p>(&'s Shared<'p>);
        impl Drop for Guard<'_, '_> {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    self.0.stop();
                }
            }
        }
        Guard(self)
    }

    pub(super) fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Relaxed);
        self.stop();
    }

    /// What went out, in order.
    pub(super) fn into_copied(self) -> Result<Copied, SaveError> {
        if self.interrupted.into_inner() {
            return Err(SaveError::Interrupted);
        }
        let written = self.written.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut copied = Copied::default();
        for Piece { runs, frame } in written.into_values() {
            copied.runs.extend(runs);
            frame.into_iter().for_each(|frame| copied.frames.push(frame));
        }
        Ok(copied)
    }
}

pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The runs of a plan in their order, in pieces of at most so many bytes.
fn pieces(plan: &PagePlan, max: u64) -> impl Iterator<Item = Vec<PageRun>> {
    let mut runs = plan.runs().iter().flat_map(move |run| run.split(max)).peekable();
    std::iter::from_fn(move || {
        let (mut piece, mut left) = (Vec::new(), max);
        while let Some(run) = runs.next_if(|run| run.len <= left) {
            left -= run.len;
            piece.push(run);
        }
        (!piece.is_empty()).then_some(piece)
    })
}
