//! Reads a frozen process into a [`Snapshot`].
//!
//! One file for each kind of state. State that an image cannot hold yet is an
//! [`Obstacle`], and all obstacles of a process are found in one go, by
//! [`survey`], before anything is touched. [`capture`] finds them again on the
//! frozen process: it may have opened something in between.
//!
//! The pages that go out are named by guest-physical address in a
//! [`PagePlan`], beside the snapshot and in the order of its page ranges.

mod error;
mod files;
mod memory;
mod obstacle;
mod pages;
mod process;
mod registers;
mod signals;
mod thread;
mod timers;
pub mod xsave;

use crate::control::Target;
use crate::kernel::KernelError;
use crate::linux::{Path, Struct, Task, Timekeeper};
use crate::snapshot::{Clocks, Snapshot};

pub use error::CaptureError;
pub use obstacle::Obstacle;
pub use pages::{PagePlan, PageRun, plan_pages};

use files::Files;
use obstacle::Obstacles;

/// What is true of one save: whose namespaces and root are taken for granted.
struct Context<'k> {
    /// The guest's init.
    init: Task<'k>,
    /// Its root directory, which all paths start from.
    root: Path<'k>,
}

impl<'k> Context<'k> {
    fn new(target: &Target<'k>) -> Result<Self, KernelError> {
        let kernel = target.leader().kernel();
        let missing = |what: &str| KernelError::Corrupt {
            what: what.to_owned(),
            addr: crate::memory::GuestVirt::NULL,
            why: "the guest has no process 1".into(),
        };
        let init = Task::find(kernel, 1)?.ok_or_else(|| missing("task_struct"))?;
        let root = init.fs()?.ok_or_else(|| missing("fs_struct"))?.root()?;
        Ok(Self { init, root })
    }
}

/// Everything that stands in the way of saving a process. It may run on.
///
/// # Errors
///
/// Where guest memory cannot be read.
pub fn survey(target: &Target<'_>) -> Result<Vec<Obstacle>, CaptureError> {
    let context = Context::new(target)?;
    let mut obstacles = Obstacles::of(target);
    let mut files = Files::new(&context);
    process::survey(&context, target, &mut obstacles)?;
    memory::read(target, &mut files, &mut obstacles)?;
    files.descriptors(target, &mut obstacles)?;
    files.context(target, &mut obstacles)?;
    Ok(obstacles.into_vec())
}

/// Reads a frozen process. The snapshot's page ranges are empty;
/// [`plan_pages`] fills them.
///
/// # Errors
///
/// [`CaptureError::Obstacles`], or where guest memory cannot be read.
pub fn capture(target: &Target<'_>) -> Result<Snapshot, CaptureError> {
    let context = Context::new(target)?;
    let mut obstacles = Obstacles::of(target);
    let mut files = Files::new(&context);
    let mut snapshot = Snapshot::default();
    let timekeeper = Timekeeper::core(target.leader().kernel())?;
    snapshot.clocks =
        Clocks { monotonic: timekeeper.monotonic()?, boottime: timekeeper.boottime()? };

    process::survey(&context, target, &mut obstacles)?;
    let mm = snapshot.mms.push(memory::read(target, &mut files, &mut obstacles)?);
    let fds = files.descriptors(target, &mut obstacles)?;
    let fds = snapshot.fd_tables.push(fds);
    let fs = snapshot.fs_contexts.push(files.context(target, &mut obstacles)?);
    match obstacles.into_vec() {
        found if found.is_empty() => {}
        found => return Err(CaptureError::Obstacles(found)),
    }

    let sighand = snapshot.sighands.push(signals::handlers(target)?);
    let shared = process::Shared { mm, files: fds, fs, sighand };
    snapshot.processes.push(process::read(target, shared, snapshot.clocks.monotonic)?);
    (snapshot.files, snapshot.paths) = files.into_tables();
    Ok(snapshot)
}

/// Whether a thread of a frozen process is in the vDSO, whose code may be
/// another at the destination.
///
/// # Errors
///
/// Where guest memory cannot be read.
pub fn is_in_vdso(target: &Target<'_>) -> Result<bool, CaptureError> {
    let missing = CaptureError::Missing { pid: target.pid(), what: "memory" };
    let mm = target.leader().mm()?.ok_or(missing)?;
    let size = mm.vdso_image()?.map_or(Ok(0), |image| image.size())?;
    let start = mm.vdso()?;
    for thread in target.threads()? {
        if thread.user_regs()?.ip()?.wrapping_sub(start) < size {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What a frozen process shows of whether it stays frozen: each thread's
/// registers at its last entry into the kernel, and its user time. A thread
/// that has executed in user mode since has others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark(Vec<(i32, [u64; 21], u64)>);

impl Mark {
    /// The mark of a process now.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn of(target: &Target<'_>) -> Result<Self, CaptureError> {
        let mut threads = Vec::new();
        for thread in target.threads()? {
            let regs = registers::frame(&thread)?;
            threads.push((thread.pid()?, regs, thread.utime()?));
        }
        Ok(Self(threads))
    }
}
