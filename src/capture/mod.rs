//! Reads a frozen tree of processes into a [`Snapshot`].
//!
//! One file for each kind of state. State that an image cannot hold yet is an
//! [`Obstacle`], and all obstacles of a tree are found in one go, by [`survey`],
//! before anything is touched. [`capture`] finds them again on the frozen
//! processes: they may have opened something in between.
//!
//! The pages that go out are named by guest-physical address in a
//! [`PagePlan`], beside the snapshot and in the order of its page ranges. Those
//! of a process are found by [`plan_pages`], those of shared memory by
//! [`MemoryPages`].

mod budget;
mod cgroups;
mod confinement;
mod cpu;
mod error;
mod family;
mod files;
mod memory;
mod not_kept;
mod obstacle;
mod pages;
mod process;
mod registers;
mod remark;
mod seccomp;
mod sharing;
mod signals;
mod system_call;
mod thread;
mod timers;
pub mod xsave;
mod zombie;

use std::collections::HashMap;
use std::thread::sleep;
use std::time::Duration;

use crate::control::{Target, Tree};
use crate::kernel::KernelError;
use crate::linux::{Path, RequestCount, Struct, Task, TimeNamespace, Timekeeper};
use crate::memory::GuestVirt;
use crate::snapshot::{Clocks, FdTable, FsContext, Id, Mm, SigHand, Snapshot};

pub use error::CaptureError;
pub use obstacle::Obstacle;
pub use pages::{MemoryPages, PageChange, PagePlan, PageRun, plan_pages};
pub use remark::{Remark, remarks};

use budget::Budget;
use cgroups::Cgroups;
use files::{Files, Reading};
use obstacle::Obstacles;
use process::Shared;
use seccomp::Filters;

/// What is true of one save: whose namespaces and root are taken for granted.
struct Context<'k> {
    /// The guest's init.
    init: Task<'k>,
    /// Its root directory, which all paths start from.
    root: Path<'k>,
    /// The time namespace of the tree's root: a process that was restored has one of
    /// its own, by which its clocks go on.
    time: GuestVirt,
}

impl<'k> Context<'k> {
    fn new(target: &Target<'k>) -> Result<Self, KernelError> {
        let kernel = target.leader().kernel();
        let missing = |what: &str| KernelError::Corrupt {
            what: what.to_owned(),
            addr: GuestVirt::NULL,
            why: "the guest has no process 1".into(),
        };
        let init = Task::find(kernel, 1)?.ok_or_else(|| missing("task_struct"))?;
        let root = init.fs()?.ok_or_else(|| missing("fs_struct"))?.root()?;
        let namespaces = target.leader().nsproxy()?.ok_or_else(|| KernelError::Corrupt {
            what: "nsproxy".into(),
            addr: target.leader().addr(),
            why: "the process has no namespaces".into(),
        })?;
        Ok(Self { init, root, time: namespaces.time()? })
    }
}

/// What a save may take that is not the processes' own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Whether TCP connections come back closed, and are no obstacle then.
    pub tcp_close: bool,
    /// What a deleted file may take, in bytes: its content is read while the VM
    /// stands still.
    pub ghost: u64,
    /// Whether session and terminal may be those of a shell outside: a restore then
    /// gives others instead (`--shell-job`).
    pub shell_job: bool,
    /// Whether images hold no cgroups.
    pub ignore_cgroups: bool,
}

impl Default for Limits {
    /// As `criu dump` has them: `DEFAULT_GHOST_LIMIT`
    /// (`criu/include/cr_options.h`).
    fn default() -> Self {
        Self { ghost: 1 << 20, shell_job: false, tcp_close: false, ignore_cgroups: false }
    }
}

/// Everything that stands in the way of saving a tree of processes. They may
/// run on.
///
/// # Errors
///
/// Where guest memory cannot be read.
pub fn survey(tree: &Tree<'_>, limits: Limits) -> Result<Vec<Obstacle>, CaptureError> {
    Reader::new(tree, Reading::Survey, limits)?.survey()
}

/// What was read of a frozen tree of processes.
#[derive(Clone, Debug)]
pub struct Captured<'k> {
    /// All but the contents of pages. Its page ranges are empty until the
    /// pages are planned.
    pub snapshot: Snapshot,
    /// Where the pages of [`Snapshot::memories`] are, in their order.
    pub memories: Vec<MemoryPages<'k>>,
}

/// Reads a frozen tree of processes.
///
/// # Errors
///
/// [`CaptureError::Obstacles`], or where guest memory cannot be read.
pub fn capture<'k>(tree: &Tree<'k>, limits: Limits) -> Result<Captured<'k>, CaptureError> {
    Reader::new(tree, Reading::Contents, limits)?.capture()
}

/// How often a process that runs is looked at anew, and after how long.
const ATTEMPTS: u32 = 10;
const PATIENCE: Duration = Duration::from_millis(2);

/// Reads the processes of one tree.
struct Reader<'a, 'k> {
    context: Context<'k>,
    tree: &'a Tree<'k>,
    limits: Limits,
    files: Files<'k>,
    cgroups: Cgroups<'k>,
    objects: Objects,
    snapshot: Snapshot,
    obstacles: Vec<Obstacle>,
}

/// What has been read of what processes can share, by its place in the kernel.
#[derive(Default)]
struct Objects {
    mms: HashMap<GuestVirt, Id<Mm>>,
    fd_tables: HashMap<GuestVirt, Id<FdTable>>,
    fs_contexts: HashMap<GuestVirt, Id<FsContext>>,
    sighands: HashMap<GuestVirt, Id<SigHand>>,
}

impl<'a, 'k> Reader<'a, 'k> {
    fn new(tree: &'a Tree<'k>, reading: Reading, limits: Limits) -> Result<Self, CaptureError> {
        let context = Context::new(tree.root())?;
        Ok(Self {
            files: Files::new(&context, tree, reading, limits)?,
            limits,
            cgroups: Cgroups::new(tree.root().leader().kernel(), limits.ignore_cgroups)?,
            context,
            tree,
            objects: Objects::default(),
            snapshot: Snapshot::default(),
            obstacles: Vec::new(),
        })
    }

    fn survey(mut self) -> Result<Vec<Obstacle>, CaptureError> {
        for target in self.tree.members() {
            if !sharing::is_about_to_execute(self.tree, target)? {
                self.survey_running(target)?;
            }
        }
        self.survey_tree()?;
        Ok(self.obstacles)
    }

    /// What a process does meanwhile can disturb the look at it.
    fn survey_running(&mut self, target: &Target<'k>) -> Result<(), CaptureError> {
        let mut attempt = 1;
        loop {
            match self.look_at(target) {
                Err(_) if target.is_ending()? => return Ok(()),
                Err(CaptureError::Kernel(_) | CaptureError::Memory(_)) if attempt < ATTEMPTS => {
                    attempt += 1;
                    sleep(PATIENCE);
                }
                result => return result.map(drop),
            }
        }
    }

    fn capture(mut self) -> Result<Captured<'k>, CaptureError> {
        let kernel = self.tree.root().leader().kernel();
        let timekeeper = Timekeeper::core(kernel)?;
        let now = timekeeper.monotonic()?;
        let time = TimeNamespace::at(kernel, self.context.time)?;
        self.snapshot.clocks = Clocks {
            monotonic: time.monotonic(now)?,
            boottime: time.boottime(timekeeper.boottime()?)?,
        };
        self.snapshot.cpu = cpu::read(kernel)?;
        let members = self.tree.members();
        let shared =
            members.iter().map(|target| self.look_at(target)).collect::<Result<Vec<_>, _>>()?;
        self.survey_tree()?;
        if !self.obstacles.is_empty() {
            return Err(CaptureError::Obstacles(self.obstacles));
        }
        let mut requests = RequestCount::new(kernel)?;
        for target in members {
            if memory::does_io(target, &mut requests)? {
                return Err(CaptureError::BusyIo { pid: target.pid() });
            }
        }
        let mut filters = Filters::new(Budget::of(self.tree.root().leader().kernel()));
        for (target, shared) in members.iter().zip(shared) {
            self.snapshot.processes.push(process::read(
                self.tree,
                target,
                shared,
                now,
                &mut filters,
            )?);
        }
        self.snapshot.seccomp_filters = filters.into_table();
        for zombie in self.tree.zombies()? {
            self.snapshot.zombies.push(zombie::read(&zombie)?);
        }
        self.cgroups.give_to(&mut self.snapshot);
        let memories = self.files.give_to(&mut self.snapshot);
        Ok(Captured { snapshot: self.snapshot, memories })
    }

    /// Notes all obstacles of a process, and reads on the way what it can
    /// share.
    fn look_at(&mut self, target: &Target<'k>) -> Result<Shared, CaptureError> {
        let mut obstacles = Obstacles::of(target);
        process::survey(&self.context, target, &mut obstacles)?;
        let shared = self.shared(target, &mut obstacles)?;
        self.obstacles.extend(obstacles.into_vec());
        Ok(shared)
    }

    /// Notes the obstacles between processes.
    fn survey_tree(&mut self) -> Result<(), CaptureError> {
        self.obstacles.extend(family::survey(self.tree, self.limits.shell_job)?);
        self.obstacles.extend(sharing::survey(self.tree)?);
        self.obstacles.extend(self.files.descriptors_in_flight()?);
        self.obstacles.extend(self.files.watched(self.tree)?);
        self.obstacles.extend(self.files.shared_with_others(self.tree)?);
        self.obstacles.extend(self.files.read_unread()?);
        Ok(())
    }

    /// Reads what a process can share, each once.
    fn shared(
        &mut self,
        target: &Target<'k>,
        obstacles: &mut Obstacles,
    ) -> Result<Shared, CaptureError> {
        let Self { files, cgroups, objects, snapshot, .. } = self;
        let leader = target.leader();
        let missing = |what| CaptureError::Missing { pid: target.pid(), what };
        let at = leader.mm()?.ok_or_else(|| missing("memory"))?.addr();
        let mm = once(&mut objects.mms, at, || {
            Ok(snapshot.mms.push(memory::read(target, files, obstacles)?))
        })?;
        let at = leader.files()?.ok_or_else(|| missing("file descriptors"))?.addr();
        let fds = once(&mut objects.fd_tables, at, || {
            Ok(snapshot.fd_tables.push(files.descriptors(target, obstacles)?))
        })?;
        let at = leader.fs()?.ok_or_else(|| missing("working directory"))?.addr();
        let fs = once(&mut objects.fs_contexts, at, || {
            Ok(snapshot.fs_contexts.push(files.context(target, obstacles)?))
        })?;
        let at = leader.sighand_struct()?.addr();
        let sighand = once(&mut objects.sighands, at, || {
            Ok(snapshot.sighands.push(signals::handlers(target)?))
        })?;
        let cgroups = cgroups.of(target, obstacles)?;
        Ok(Shared { mm, files: fds, fs, sighand, cgroups })
    }
}

/// The reference to the object at `addr`, which is read the first time.
fn once<T>(
    known: &mut HashMap<GuestVirt, Id<T>>,
    addr: GuestVirt,
    read: impl FnOnce() -> Result<Id<T>, CaptureError>,
) -> Result<Id<T>, CaptureError> {
    if let Some(&id) = known.get(&addr) {
        return Ok(id);
    }
    let id = read()?;
    known.insert(addr, id);
    Ok(id)
}

/// The processes of a frozen tree that have a thread in the vDSO, whose code
/// may be another at the destination.
///
/// # Errors
///
/// Where guest memory cannot be read.
pub fn in_vdso<'k>(tree: &Tree<'k>) -> Result<Vec<Target<'k>>, CaptureError> {
    let mut inside = Vec::new();
    for target in tree.members() {
        if is_in_vdso(target)? {
            inside.push(target.clone());
        }
    }
    Ok(inside)
}

fn is_in_vdso(target: &Target<'_>) -> Result<bool, CaptureError> {
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

/// What a frozen tree shows of whether it stays frozen: which threads there are,
/// each one's registers at its last entry into the kernel, and its user time. A
/// thread that has executed in user mode since has others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark(Vec<(i32, [u64; 21], u64)>);

impl Mark {
    /// The mark of a tree now.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn of(tree: &Tree<'_>) -> Result<Self, CaptureError> {
        let mut threads = Vec::new();
        for thread in tree.threads_now()? {
            let regs = registers::frame(&thread)?;
            threads.push((thread.pid()?, regs, thread.utime()?));
        }
        Ok(Self(threads))
    }
}
