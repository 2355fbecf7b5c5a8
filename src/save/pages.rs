//! From guest frames to the sink: without a copy in between where the frames
//! are mapped, else through buffers.

use std::io::IoSlice;

use crate::capture::{PagePlan, PageRun, plan_pages};
use crate::control::Target;
use crate::criu;
use crate::memory::{Access, GuestMemory, MemoryError, PAGE_SIZE};
use crate::sink::{PagesWriter, Sink};
use crate::snapshot::{Id, Mm, Snapshot};

use super::Observer;
use super::buffers::{Buffer, through_buffers};
use super::error::SaveError;

/// Bytes handed to the sink at once: large enough that a system call does not
/// count, small enough to be interrupted.
const BATCH: u64 = 32 << 20;
/// Runs handed to the sink at once.
const BATCH_RUNS: usize = 1024;
/// How often pages are looked at again that the guest moved meanwhile.
const ROUNDS: u32 = 10;

/// Finds and writes the pages of the process in `snapshot`, and notes in it
/// which they are. Returns their bytes.
pub(super) fn write(
    memory: &GuestMemory,
    target: &Target<'_>,
    snapshot: &mut Snapshot,
    sink: &mut dyn Sink,
    observer: &mut dyn Observer,
) -> Result<u64, SaveError> {
    let Some(mm) = snapshot.mms.get_mut(Id::new(0)) else { return Ok(0) };
    let mut plan = plan_pages(target, mm)?;
    mm.pages = plan.ranges();
    let mm: Mm = mm.clone();
    let total = plan.bytes();
    for file in criu::pages_files(snapshot) {
        let mut writer = sink.pages(&file.name, file.size)?;
        Copy { memory, writer: &mut *writer, observer, total, done: 0 }.run(&plan)?;
        plan = settle(memory, target, &mm, plan, &mut *writer)?;
        writer.finish()?;
    }
    Ok(plan.bytes())
}

/// Frozen or not, a process's pages may be moved by its kernel (compaction,
/// merging, huge pages): what was copied from a frame that was given away
/// meanwhile is copied again, until a look at the page tables finds nothing new.
fn settle(
    memory: &GuestMemory,
    target: &Target<'_>,
    mm: &Mm,
    mut plan: PagePlan,
    writer: &mut dyn PagesWriter,
) -> Result<PagePlan, SaveError> {
    for _ in 0..ROUNDS {
        let now = plan_pages(target, mm)?;
        if now == plan {
            return Ok(plan);
        }
        if now.ranges() != plan.ranges() {
            break;
        }
        tracing::debug!("pages of process {} were moved, writing them again", target.pid());
        for (offset, run) in now.moved_since(&plan) {
            overwrite(memory, writer, offset, &run)?;
        }
        plan = now;
    }
    Err(SaveError::PagesMove { pid: target.pid() })
}

/// Writes a run again.
fn overwrite(
    memory: &GuestMemory,
    writer: &mut dyn PagesWriter,
    offset: u64,
    run: &PageRun,
) -> Result<(), SaveError> {
    if let Some(bytes) = memory.borrow(run.phys, run.len as usize)? {
        return Ok(writer.overwrite(offset, &[IoSlice::new(bytes)])?);
    }
    let mut buffer = Buffer::new(run.len as usize)?;
    buffer.fill(memory, &[*run])?;
    Ok(writer.overwrite(offset, &[IoSlice::new(buffer.bytes())])?)
}

struct Copy<'a> {
    memory: &'a GuestMemory,
    writer: &'a mut dyn PagesWriter,
    observer: &'a mut dyn Observer,
    total: u64,
    done: u64,
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
        self.done += slices.iter().map(|slice| slice.len() as u64).sum::<u64>();
        self.observer.pages(self.done, self.total);
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
