//! From guest frames to the sink: without a copy in between where the frames
//! are mapped, else through buffers.

use std::collections::HashMap;
use std::io::IoSlice;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::capture::{CaptureError, MemoryPages, PagePlan, PageRun, plan_pages};
use crate::control::{Target, Tree};
use crate::criu::{self, PagesOwner};
use crate::memory::{Access, GuestMemory, MemoryError, PAGE_SIZE};
use crate::sink::{PagesWriter, Sink};
use crate::snapshot::{Id, Mm, Process, Snapshot, VmaKind};

use super::Observer;
use super::buffers::through_buffers;
use super::error::SaveError;
use super::moving::Moving;

/// Bytes handed to the sink at once: large enough that a system call does not
/// count, small enough to be interrupted.
const BATCH: u64 = 32 << 20;
/// Runs handed to the sink at once.
const BATCH_RUNS: usize = 1024;
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

/// Finds and writes the pages of the processes in `snapshot` and of what they
/// share, and notes in it which they are. Returns their bytes.
pub(super) fn write(
    memory: &GuestMemory,
    source: &Source<'_, '_>,
    snapshot: &mut Snapshot,
    sink: &mut dyn Sink,
    observer: &mut dyn Observer,
) -> Result<u64, SaveError> {
    let mut plans = HashMap::new();
    for owner in owners(snapshot) {
        let plan = source.plan(snapshot, owner, observer)?;
        note(&plan, owner, snapshot);
        plans.insert(owner, plan);
    }
    let total = plans.values().map(PagePlan::bytes).sum();
    let mut done = 0;
    for file in criu::pages_files(snapshot) {
        let Some(plan) = plans.remove(&file.owner) else { continue };
        let mut writer = sink.pages(&file.name, file.size)?;
        Copy { memory, writer: &mut *writer, observer, total, done: &mut done }.run(&plan)?;
        let pages = Moving {
            memory,
            pid: source.pid(file.owner),
            patience: source.patience,
            look: || source.plan(snapshot, file.owner, observer),
            is_zero_if_absent: |addr| is_anonymous(snapshot, file.owner, addr),
        };
        pages.settle(&plan, &mut *writer)?;
        writer.finish()?;
    }
    Ok(done)
}

/// Whether memory without a page reads as zeros at an address of `owner`: what is
/// there is of no file on a disk.
fn is_anonymous(snapshot: &Snapshot, owner: PagesOwner, addr: u64) -> bool {
    let PagesOwner::Mm(id) = owner else { return true };
    let vmas = snapshot.mms.get(id).map_or(&[][..], |mm| &mm.vmas);
    let vma = vmas.get(vmas.partition_point(|vma| vma.end <= addr));
    vma.is_some_and(|vma| {
        vma.start <= addr && matches!(vma.kind, VmaKind::Anonymous | VmaKind::Heap | VmaKind::Stack)
    })
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

struct Copy<'a> {
    memory: &'a GuestMemory,
    writer: &'a mut dyn PagesWriter,
    observer: &'a mut dyn Observer,
    total: u64,
    /// Bytes written, of earlier address spaces also.
    done: &'a mut u64,
}

impl Copy<'_> {
    fn run(mut self, plan: &PagePlan) -> Result<(), SaveError> {
        if self.memory.access() != Access::Mapped {
            return through_buffers(self.memory, plan, |bytes| self.append(&[IoSlice::new(bytes)]));
        }
        for batch in batches(plan, BATCH, BATCH_RUNS) {
            let slices = batch.iter().map(|run| borrow(self.memory, run));
            self.append(&slices.collect::<Result<Vec<_>, _>>()?)?;
        }
        Ok(())
    }

    fn append(&mut self, slices: &[IoSlice<'_>]) -> Result<(), SaveError> {
        if self.observer.is_interrupted() {
            return Err(SaveError::Interrupted);
        }
        self.writer.append(slices)?;
        *self.done += slices.iter().map(|slice| slice.len() as u64).sum::<u64>();
        self.observer.pages(*self.done, self.total);
        Ok(())
    }
}

/// The guest's own bytes of a run.
fn borrow<'m>(memory: &'m GuestMemory, run: &PageRun) -> Result<IoSlice<'m>, SaveError> {
    debug_assert!(run.len.is_multiple_of(PAGE_SIZE));
    let bytes = memory.borrow(run.phys, run.len as usize)?;
    // There is no other memory: all of it is mapped.
    Ok(IoSlice::new(bytes.ok_or(MemoryError::NotRam(run.phys))?))
}

/// The runs of a plan in their order, in batches of at most so many bytes and
/// runs.
pub(super) fn batches(
    plan: &PagePlan,
    max_bytes: u64,
    max_runs: usize,
) -> impl Iterator<Item = Vec<PageRun>> {
    let mut runs = plan.runs().iter().flat_map(move |run| run.split(max_bytes)).peekable();
    std::iter::from_fn(move || {
        let (mut batch, mut left) = (Vec::new(), max_bytes);
        while batch.len() < max_runs
            && let Some(run) = runs.next_if(|run| run.len <= left)
        {
            left -= run.len;
            batch.push(run);
        }
        (!batch.is_empty()).then_some(batch)
    })
}
