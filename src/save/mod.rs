//! One save as a transaction.
//!
//! ```text
//! survey ─> freeze ─> capture ─> pages ─> sync ─> check ─> complete ─> kill
//!    │         │         │         │        │       │         │    or thaw
//!    └ refuse  └─────────┴─────────┴── on failure: thaw, remove what was written
//! ```
//!
//! The process is killed only after its images are durable and were found
//! good, and only if it has not run since it was frozen. Until then every
//! failure, and every interruption that can be caught, lets it go on.

mod buffer;
mod copy;
mod effort;
mod error;
mod hold;
mod moving;
mod pace;
mod pages;
mod report;
mod zeros;

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::attach::Attachment;
use crate::capture::{
    CaptureError, Captured, Limits, Mark, PagePlan, Remark, capture, remarks, survey,
};
use crate::control::{Target, Tree};
use crate::criu::{self, CheckOptions, CriuVersion, EncodeError, Need};
use crate::memory::Access;
use crate::sink::{Sink, SinkError, SinkReport};
use crate::snapshot::Snapshot;

use pace::Pace;

pub use effort::Effort;
pub use error::SaveError;
pub use hold::{Freeze, Hold};
pub use report::{PagesReport, SaveDurations, SaveReport};
pub use zeros::is_zero;

/// How long to wait for the guest to finish what it is doing.
const PATIENCE: Duration = Duration::from_millis(2);

/// What becomes of the process once its images are durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Afterwards {
    /// It is killed, as `criu dump` does.
    #[default]
    Kill,
    /// It goes on.
    LeaveRunning,
    /// It stays frozen.
    LeaveStopped,
}

/// How to save.
#[derive(Clone, Copy, Debug)]
pub struct SaveOptions {
    /// How the process is frozen.
    pub freeze: Freeze,
    /// What becomes of it.
    pub afterwards: Afterwards,
    /// How long it may take to freeze and to die, and the guest to finish moving
    /// its pages.
    pub timeout: Duration,
    /// The version of CRIU that is to restore the images, where it is known.
    pub for_criu: Option<CriuVersion>,
    /// How much is saved of files that have no name any more.
    pub limits: Limits,
    /// What writing pages may take of the host.
    pub effort: Effort,
}

impl Default for SaveOptions {
    fn default() -> Self {
        Self {
            freeze: Freeze::default(),
            afterwards: Afterwards::default(),
            timeout: Duration::from_secs(10),
            for_criu: None,
            limits: Limits::default(),
            effort: Effort::default(),
        }
    }
}

/// What a save tells while it runs.
pub trait Observer {
    /// The process is frozen from now on.
    fn frozen(&mut self, pid: i32);

    /// So many of so many bytes of pages are written.
    fn pages(&mut self, done: u64, total: u64);

    /// Whether the user wants the save to end.
    fn is_interrupted(&self) -> bool;
}

/// Nobody watches, and nobody interrupts.
impl Observer for () {
    fn frozen(&mut self, _pid: i32) {}

    fn pages(&mut self, _done: u64, _total: u64) {}

    fn is_interrupted(&self) -> bool {
        false
    }
}

/// Saves the process `pid` of a VM and all its descendants into the sink that
/// `open` gives, which is asked for once nothing stands in the way.
///
/// # Errors
///
/// [`SaveError::Capture`] with all obstacles before anything is touched. After
/// any other error all processes run on as before, except where
/// [`SaveError::StillFrozen`] or [`SaveError::StillAlive`] says otherwise.
pub fn save(
    attachment: &Attachment,
    pid: i32,
    options: SaveOptions,
    open: impl FnOnce() -> Result<Box<dyn Sink>, SinkError>,
    observer: &mut dyn Observer,
) -> Result<SaveReport, SaveError> {
    attachment.domain.claim()?;
    attachment.domain.take_pauses();
    let started = Instant::now();
    let tree = Tree::of(Target::find(&attachment.kernel, pid)?)?;
    refuse_obstacles(&tree, options.limits)?;
    if let Some(version) = options.for_criu {
        refuse_needs(losses(attachment, &tree, options.limits, version)?, version)?;
    }
    let not_kept = remarks(&tree)?;
    let surveyed = Surveyed { not_kept, took: started.elapsed() };
    let sink = open()?;

    let mut hold = Hold::freeze(attachment, tree, options.freeze, options.timeout)?;
    let frozen_at = Instant::now();
    observer.frozen(pid);
    let transaction = Transaction { attachment, options, observer };
    match transaction.run(&mut hold, sink) {
        Ok(written) => finish(attachment, options, hold, frozen_at, surveyed, written),
        Err(error) => Err(hold.let_go(error)),
    }
}

fn refuse_obstacles(tree: &Tree<'_>, limits: Limits) -> Result<(), SaveError> {
    match survey(tree, limits)? {
        obstacles if obstacles.is_empty() => Ok(()),
        obstacles => Err(CaptureError::Obstacles(obstacles).into()),
    }
}

/// What a version of CRIU would lose of a tree, which runs on but for a pause of the
/// VM. It is looked for once more when the tree is frozen: of one that runs some may
/// not be read, or be found that is not so later, and only what is plain to see
/// counts.
///
/// # Errors
///
/// Where the VM cannot be paused or continued.
pub fn losses(
    attachment: &Attachment,
    tree: &Tree<'_>,
    limits: Limits,
    version: CriuVersion,
) -> Result<Vec<Need>, SaveError> {
    let pause = attachment.domain.pause()?;
    let captured = capture(tree, limits);
    pause.resume()?;
    let Ok(Captured { mut snapshot, memories }) = captured else { return Ok(Vec::new()) };
    let source = pages::Source::new(tree, &memories, &snapshot, Duration::ZERO);
    // For guard pages, which are found with the others.
    let _ = pages::find(&source, &mut snapshot, &());
    Ok(needs_beyond(&snapshot, version).unwrap_or_default())
}

/// What a version of CRIU does not know it skips in silence.
fn needs_beyond(snapshot: &Snapshot, version: CriuVersion) -> Result<Vec<Need>, EncodeError> {
    let mut needs = criu::needs(snapshot)?;
    needs.retain(|need| need.since > version);
    Ok(needs)
}

fn refuse_needs(needs: Vec<Need>, version: CriuVersion) -> Result<(), SaveError> {
    if needs.is_empty() { Ok(()) } else { Err(SaveError::NotFor { version, needs }) }
}

/// Kills the processes, lets them go or leaves them, their images being
/// complete.
fn finish(
    attachment: &Attachment,
    options: SaveOptions,
    hold: Hold<'_, '_>,
    frozen_at: Instant,
    surveyed: Surveyed,
    written: Written,
) -> Result<SaveReport, SaveError> {
    let ending = Instant::now();
    let (pid, comm) = (hold.tree().root().pid(), hold.tree().root().comm().to_owned());
    let still_alive = |source| SaveError::StillAlive { pid, source: Box::new(source) };
    match options.afterwards {
        Afterwards::Kill => hold.kill(&written.mark).map_err(still_alive)?,
        Afterwards::LeaveRunning => hold.thaw().map_err(still_alive)?,
        Afterwards::LeaveStopped => {}
    }
    let page_bytes = written.written.written();
    let seconds = (written.pages + written.synced).as_secs_f64();
    Ok(SaveReport {
        pid,
        comm,
        processes: written.processes,
        threads: written.threads,
        page_bytes,
        pages: written.written,
        not_kept: surveyed.not_kept,
        page_rate: (page_bytes != 0).then(|| page_bytes as f64 / seconds),
        memory: written.memory,
        sink: written.sink,
        vm_paused: attachment.domain.take_pauses(),
        durations: SaveDurations {
            survey: surveyed.took,
            capture: written.captured,
            pages: written.pages,
            sync: written.synced,
            end: ending.elapsed(),
            frozen: frozen_at.elapsed(),
        },
    })
}

/// What was found while the processes ran.
struct Surveyed {
    not_kept: Vec<Remark>,
    took: Duration,
}

/// What [`Transaction::run`] did.
struct Written {
    mark: Mark,
    processes: usize,
    threads: usize,
    written: PagesReport,
    memory: Access,
    sink: SinkReport,
    captured: Duration,
    pages: Duration,
    synced: Duration,
}

/// The part of a save during which the process is frozen and nothing is final.
struct Transaction<'a> {
    attachment: &'a Attachment,
    options: SaveOptions,
    observer: &'a mut dyn Observer,
}

impl Transaction<'_> {
    /// Reads the tree in a pause, in another one where the guest is in the middle
    /// of something.
    fn capture<'k>(&self, tree: &Tree<'k>) -> Result<(Captured<'k>, Mark), SaveError> {
        let started = Instant::now();
        loop {
            let pause = self.attachment.domain.pause()?;
            let remembering = self.attachment.kernel.space().memory().remember();
            let captured = capture(tree, self.options.limits)
                .and_then(|captured| Ok((captured, Mark::of(tree)?)));
            drop(remembering);
            pause.resume()?;
            match captured {
                Err(error) if error.is_passing() && started.elapsed() < self.options.timeout => {
                    sleep(PATIENCE);
                }
                result => return Ok(result?),
            }
        }
    }

    fn run(self, hold: &mut Hold<'_, '_>, mut sink: Box<dyn Sink>) -> Result<Written, SaveError> {
        let mut clock = Instant::now();
        let mut lap = || std::mem::replace(&mut clock, Instant::now()).elapsed();

        let memory = self.attachment.kernel.space().memory();
        let (Captured { mut snapshot, memories }, mark) = self.capture(hold.tree())?;
        hold.describe_to(&mut snapshot);
        let captured = lap();

        let source = pages::Source::new(hold.tree(), &memories, &snapshot, self.options.timeout);
        let plans = pages::find(&source, &mut snapshot, self.observer)?;
        if let Some(version) = self.options.for_criu {
            refuse_needs(needs_beyond(&snapshot, version)?, version)?;
        }
        let found = plans.values().map(PagePlan::bytes).sum();
        let effort = self.options.effort;
        let workers = effort.workers(&self.attachment.domain, found)?;
        let means = pages::Means { memory, workers, pace: Pace::new(effort.rate), effort };
        let written =
            pages::write(&source, plans, &mut snapshot, &mut *sink, &means, self.observer)?;
        let pages = lap();

        for image in criu::images(&snapshot)? {
            sink.image(&image.name, &image.bytes)?;
        }
        sink.sync()?;
        let shell_job = self.options.limits.shell_job;
        criu::check(sink.images(), CheckOptions { shell_job })?;
        if hold.has_run(&mark)? {
            return Err(SaveError::RanMeanwhile { pid: hold.tree().root().pid() });
        }
        let sink = sink.complete()?;
        let threads = snapshot.processes.iter().map(|process| process.threads.len()).sum();
        let memory = memory.access();
        let processes = snapshot.processes.len() + snapshot.zombies.len();
        let synced = lap();
        Ok(Written { mark, processes, threads, written, memory, sink, captured, pages, synced })
    }
}
