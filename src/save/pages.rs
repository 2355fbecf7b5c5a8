//! Finding the pages of all processes, and seeing to it that what is written is
//! what they have.

use std::collections::HashMap;
use std::io::{IoSlice, Write};
use std::num::NonZeroUsize;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::capture::{CaptureError, MemoryPages, PagePlan, plan_pages};
use crate::control::{Target, Tree};
use crate::criu::{self, PagesOwner};
use crate::memory::GuestMemory;
use crate::pack::{self, SeekTable};
use crate::sink::{PagesWriter, Room, Sink};
use crate::snapshot::{Id, Mm, Process, Snapshot, VmaKind};

use super::Observer;
use super::buffer::Buffer;
use super::copy::{Copied, Copy, PIECE};
use super::effort::Effort;
use super::error::SaveError;
use super::moving::{Moving, Settled};
use super::pace::Pace;
use super::report::PagesReport;

/// After how long pages on the move are looked at again.
const PAUSE: Duration = Duration::from_millis(2);

/// Where the guest has the pages of a snapshot.
pub(super) struct Source<'a, 'k> {
    root: &'a Target<'k>,
    /// A process for each address space.
    processes: HashMap<Id<Mm>, &'a Target<'k>>,
    /// In the order of the snapshot.
    memories: &'a [MemoryPages<'k>],
    /// How long pages may be on the move.
    patience: Duration,
}

impl<'a, 'k> Source<'a, 'k> {
    pub(super) fn new(
        tree: &'a Tree<'k>,
        memories: &'a [MemoryPages<'k>],
        snapshot: &Snapshot,
        patience: Duration,
    ) -> Self {
        let members: HashMap<u32, &Target<'k>> =
            tree.members().iter().map(|target| (target.pid().cast_unsigned(), target)).collect();
        let owner = |process: &Process| Some((process.mm, *members.get(&process.pid)?));
        let processes = snapshot.processes.iter().filter_map(owner).collect();
        Self { root: tree.root(), processes, memories, patience }
    }

    /// The pages of `owner` as they lie now, once none of them is on the move. That
    /// may take a while: the kernel's threads that move pages have the lowest
    /// priority, and take seconds where the VM is overloaded.
    fn plan(
        &self,
        snapshot: &Snapshot,
        owner: PagesOwner,
        observer: &dyn Observer,
    ) -> Result<PagePlan, SaveError> {
        let started = Instant::now();
        loop {
            if observer.is_interrupted() {
                return Err(SaveError::Interrupted);
            }
            match self.look(snapshot, owner) {
                Err(error) if error.is_passing() && started.elapsed() < self.patience => {
                    tracing::debug!("pages are being moved: {error}");
                    sleep(PAUSE);
                }
                result => return Ok(result?),
            }
        }
    }

    fn look(&self, snapshot: &Snapshot, owner: PagesOwner) -> Result<PagePlan, CaptureError> {
        match owner {
            PagesOwner::Mm(id) => match (self.processes.get(&id), snapshot.mms.get(id)) {
                (Some(target), Some(mm)) => plan_pages(target, mm),
                _ => Ok(PagePlan::default()),
            },
            PagesOwner::Memory(id) => match self.memories.get(id.index() as usize) {
                Some(memory) => memory.plan(),
                None => Ok(PagePlan::default()),
            },
        }
    }

    /// The process that an error is told of.
    fn pid(&self, owner: PagesOwner) -> i32 {
        let process = match owner {
            PagesOwner::Mm(id) => self.processes.get(&id).copied(),
            PagesOwner::Memory(_) => None,
        };
        process.unwrap_or(self.root).pid()
    }
}

/// Where the pages of all that has any were found.
pub(super) type Plans = HashMap<PagesOwner, PagePlan>;

/// Finds the pages of the processes in `snapshot` and of what they share, and
/// notes in it which they are.
pub(super) fn find(
    source: &Source<'_, '_>,
    snapshot: &mut Snapshot,
    observer: &dyn Observer,
) -> Result<Plans, SaveError> {
    let mut plans = HashMap::new();
    for owner in owners(snapshot) {
        let plan = source.plan(snapshot, owner, observer)?;
        note(&plan, owner, snapshot);
        plans.insert(owner, plan);
    }
    Ok(plans)
}

/// Writes the pages that were found, and notes in `snapshot` which went out.
pub(super) fn write(
    source: &Source<'_, '_>,
    mut plans: Plans,
    snapshot: &mut Snapshot,
    sink: &mut dyn Sink,
    means: &Means<'_>,
    observer: &mut dyn Observer,
) -> Result<PagesReport, SaveError> {
    let total = plans.values().map(PagePlan::bytes).sum();
    let mut report = PagesReport::default();
    let mut done = 0;
    for file in criu::pages_files(snapshot) {
        let Some(plan) = plans.remove(&file.owner) else { continue };
        let (name, room) = means.place(&file);
        let writer = sink.pages(&name, room)?;
        let one = One { source, snapshot, owner: file.owner, writer: &*writer, means };
        let progress = Progress { done, total };
        done += plan.bytes();
        let (written, size) = one.write(plan, progress, &mut report, observer)?;
        writer.finish(size)?;
        report.add(written.bytes(), file.owner);
        note(&written, file.owner, snapshot);
    }
    Ok(report)
}

/// What all pages are written with.
pub(super) struct Means<'a> {
    pub(super) memory: &'a GuestMemory,
    pub(super) workers: NonZeroUsize,
    pub(super) pace: Pace,
    pub(super) effort: Effort,
}

impl Means<'_> {
    /// The name of a pages file, and what it may take.
    fn place(&self, file: &criu::PagesFile) -> (String, Room) {
        match self.effort.compression {
            None => (file.name.clone(), Room::Reserved(file.size)),
            Some(way) => {
                let pieces = file.size.div_ceil(PIECE) + 1;
                let most = pieces.saturating_mul(pack::bound(PIECE as usize) as u64);
                (format!("{}{}", file.name, way.suffix()), Room::UpTo(most))
            }
        }
    }
}

/// Bytes of pages that were looked at, of all of a save.
#[derive(Clone, Copy)]
struct Progress {
    done: u64,
    total: u64,
}

/// The pages of one address space or of one shared memory, on their way to a file.
struct One<'a, 'k> {
    source: &'a Source<'a, 'k>,
    snapshot: &'a Snapshot,
    owner: PagesOwner,
    writer: &'a dyn PagesWriter,
    means: &'a Means<'a>,
}

impl One<'_, '_> {
    /// Writes them, anew where they moved in a way that what is written cannot
    /// follow. What went out, and the size of the file.
    fn write(
        &self,
        mut plan: PagePlan,
        progress: Progress,
        report: &mut PagesReport,
        observer: &mut dyn Observer,
    ) -> Result<(PagePlan, u64), SaveError> {
        let pid = self.source.pid(self.owner);
        let started = Instant::now();
        let is_packed = self.means.effort.compression.is_some();
        loop {
            let Copied { runs, frames } = self.copy(&plan, progress, observer)?;
            let written = plan.with_runs(runs);
            let moving = Moving {
                memory: self.means.memory,
                pid,
                patience: self.source.patience,
                look: || self.source.plan(self.snapshot, self.owner, &*observer),
                is_zero_if_absent: |addr| self.is_anonymous(addr),
            };
            match moving.settle(&plan, &written, (!is_packed).then_some(self.writer))? {
                Settled::AsWritten { moved } => {
                    report.moved += moved;
                    report.zero += plan.bytes().saturating_sub(written.bytes());
                    let size = if is_packed { self.close(&frames)? } else { written.bytes() };
                    return Ok((written, size));
                }
                Settled::Otherwise if started.elapsed() < self.source.patience => {
                    tracing::debug!("pages of process {pid} were moved, writing all again");
                    report.again += 1;
                    plan = self.source.plan(self.snapshot, self.owner, observer)?;
                }
                Settled::Otherwise => return Err(SaveError::PagesMove { pid }),
            }
        }
    }

    fn copy(
        &self,
        plan: &PagePlan,
        progress: Progress,
        observer: &mut dyn Observer,
    ) -> Result<Copied, SaveError> {
        let Means { memory, workers, pace, effort } = self.means;
        let copy = Copy {
            memory,
            writer: self.writer,
            workers: *workers,
            pace,
            nice: effort.nice,
            piece: PIECE,
            compression: effort.compression,
            may_stay: |addr| self.is_anonymous(addr),
        };
        let Progress { mut done, total } = progress;
        copy.run(plan, &mut |bytes| {
            done += bytes;
            observer.pages(done, total);
            !observer.is_interrupted()
        })
    }

    /// Ends a packed file; its size.
    fn close(&self, frames: &SeekTable) -> Result<u64, SaveError> {
        let end = frames.packed();
        let table = frames.to_bytes();
        let mut buffer = Buffer::new(table.len())?;
        buffer.write_all(&table).map_err(SaveError::Buffer)?;
        self.writer.write_at(end, &[IoSlice::new(buffer.bytes())])?;
        Ok(end + table.len() as u64)
    }

    /// Whether memory without a page reads as zeros at an address: what is there
    /// is of no file on a disk. Huge pages are left whole.
    fn is_anonymous(&self, addr: u64) -> bool {
        let id = match self.owner {
            PagesOwner::Mm(id) => id,
            PagesOwner::Memory(id) => {
                let memory = self.snapshot.memories.get(id);
                return memory.is_some_and(|memory| memory.huge_page_bits.is_none());
            }
        };
        let vmas = self.snapshot.mms.get(id).map_or(&[][..], |mm| &mm.vmas);
        let vma = vmas.get(vmas.partition_point(|vma| vma.end <= addr));
        vma.is_some_and(|vma| {
            let is_of_no_file =
                matches!(vma.kind, VmaKind::Anonymous | VmaKind::Heap | VmaKind::Stack);
            vma.start <= addr && is_of_no_file && vma.huge_page_bits.is_none()
        })
    }
}

/// All that has pages.
fn owners(snapshot: &Snapshot) -> Vec<PagesOwner> {
    let mms = snapshot.mms.iter().map(|(id, _)| PagesOwner::Mm(id));
    let memories = snapshot.memories.iter().map(|(id, _)| PagesOwner::Memory(id));
    mms.chain(memories).collect()
}

/// Notes in a snapshot which pages go out.
fn note(plan: &PagePlan, owner: PagesOwner, snapshot: &mut Snapshot) {
    match owner {
        PagesOwner::Mm(id) => {
            if let Some(mm) = snapshot.mms.get_mut(id) {
                mm.pages = plan.ranges();
                mm.guards = plan.guards().to_vec();
            }
        }
        PagesOwner::Memory(id) => {
            if let Some(memory) = snapshot.memories.get_mut(id) {
                memory.pages = plan.ranges();
            }
        }
    }
}
