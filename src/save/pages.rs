//! From guest frames to the sink, without a copy in between.

use std::io::IoSlice;

use crate::capture::{PagePlan, PageRun, plan_pages};
use crate::control::Target;
use crate::criu;
use crate::memory::{GuestMemory, PAGE_SIZE};
use crate::sink::{PagesWriter, Sink};
use crate::snapshot::{Id, Mm, Snapshot};

use super::Observer;
use super::error::SaveError;

/// Bytes handed to the sink at once: large enough that a system call does not
/// count, small enough to be interrupted.
const BATCH: u64 = 32 << 20;
/// Slices handed to the sink at once.
const BATCH_SLICES: usize = 1024;
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
            writer.overwrite(offset, &[slice(memory, &run)?])?;
        }
        plan = now;
    }
    Err(SaveError::PagesMove { pid: target.pid() })
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
        let (mut batch, mut bytes) = (Vec::with_capacity(BATCH_SLICES), 0);
        for run in plan.runs().iter().flat_map(|run| run.split(BATCH)) {
            if batch.len() == BATCH_SLICES || bytes + run.len > BATCH {
                self.flush(&mut batch, &mut bytes)?;
            }
            batch.push(slice(self.memory, &run)?);
            bytes += run.len;
        }
        self.flush(&mut batch, &mut bytes)
    }

    fn flush(&mut self, batch: &mut Vec<IoSlice<'_>>, bytes: &mut u64) -> Result<(), SaveError> {
        if self.observer.is_interrupted() {
            return Err(SaveError::Interrupted);
        }
        self.writer.append(batch)?;
        self.done += *bytes;
        self.observer.pages(self.done, self.total);
        batch.clear();
        *bytes = 0;
        Ok(())
    }
}

/// The guest's own bytes of a run.
fn slice<'m>(memory: &'m GuestMemory, run: &PageRun) -> Result<IoSlice<'m>, SaveError> {
    debug_assert!(run.len.is_multiple_of(PAGE_SIZE));
    let bytes = memory.borrow(run.phys, run.len as usize)?;
    // Every backing is mapped: attaching refuses those that cannot be.
    Ok(IoSlice::new(bytes.ok_or(crate::memory::MemoryError::NotRam(run.phys))?))
}
