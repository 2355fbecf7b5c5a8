//! A guest that lies: whatever stands in its memory, reading it ends in an
//! error or an answer.
//!
//! A real guest's RAM is dumped to a file. In each trial some of the words that
//! are read of it are replaced, and everything that only reads is done on what
//! results: attach, list processes, look at one, capture it.

mod dump;
mod lies;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use fastrand::Rng;
use ovmigrate::capture;
use ovmigrate::control::{Target, Tree};
use ovmigrate::inspect::{Details, processes};
use ovmigrate::kernel::{AttachOptions, Kernel, KernelError, Knowledge, ProfileCache};
use ovmigrate::linux::DECLARATIONS;
use ovmigrate::memory::{CpuPaging, GuestMemory};
use peak_alloc::PeakAlloc;

use crate::harness::{guests, ovmigrate, rounds};
use dump::Dump;
use lies::Truth;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// Accesses to guest memory in one trial at most; a guest that does not lie
/// needs less than a hundredth. One that claims thousands of CPUs has each of
/// them asked for its part of a process's counters.
const READS_MAX: u64 = 4_000_000;
/// Bytes that a trial may have allocated at a time.
const MEMORY_MAX: usize = 256 << 20;
/// After this long a trial counts as hung. It guards the test, and says
/// nothing of how long anything should take.
const WATCHDOG: Duration = Duration::from_secs(300);
/// Picks the lies of one trial, to see it again.
const SEED: &str = "OVMIGRATE_TEST_SEED";

#[test]
fn a_guest_that_lies_gets_an_answer_or_an_error() {
    let guests = guests();
    let job = guests.start("threads", &[], "round");
    let pid = job.pid.to_string();
    let path = guests.folder.join("ram.core");
    ovmigrate(["freeze", "--domain", guests.source.name, "--pid", &pid]).stdout();
    guests.source.dump(&path);
    ovmigrate(["thaw", "--domain", guests.source.name, "--pid", &pid]).stdout();

    let cache = guests.folder.join("cache");
    let dump = Dump::open(&path);
    let by_note = Trials { dump: &dump, pid: job.pid, cache: &cache, cpus: Vec::new() };
    let by_cpu = Trials { cpus: vec![by_note.kernel_paging()], ..by_note };
    let ways = [by_note, by_cpu].map(|trials| (trials.truth(), trials));
    let chosen: Option<u64> = std::env::var(SEED).ok().map(|seed| seed.parse().expect(SEED));
    let seeds = chosen.map_or(0..u64::from(rounds(500)), |seed| seed..seed + 1);
    let tally = under_watch(seeds, |seed| {
        let (truth, trials) = &ways[(seed % 2) as usize];
        trials.trial(truth, seed)
    });
    println!("{tally:?}");
    // Lies that stop everything at the door would test the door only.
    if chosen.is_none() {
        assert!(tally.listed > 0 && tally.listed <= tally.attached, "{tally:?}");
        assert!(tally.captured > 0 && tally.captured < tally.attached, "{tally:?}");
        assert!(tally.attached < tally.trials, "{tally:?}");
    }
}

/// Does all trials in a thread that may hang.
fn under_watch(
    seeds: std::ops::Range<u64>,
    trial: impl Fn(u64) -> Result<Reached, String> + Send,
) -> Tally {
    let (done, outcomes) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn({
            let seeds = seeds.clone();
            move || seeds.map(trial).try_for_each(|outcome| done.send(outcome))
        });
        let mut tally = Tally::default();
        for seed in seeds {
            match outcomes.recv_timeout(WATCHDOG) {
                Ok(Ok(reached)) => tally.count(reached),
                Ok(Err(fault)) => panic!("{SEED}={seed}: {fault}"),
                Err(_) => {
                    // A thread cannot be ended, but the process can.
                    eprintln!("{SEED}={seed}: no end after {WATCHDOG:?}");
                    std::process::exit(1);
                }
            }
        }
        tally
    })
}

/// What a trial got an answer to.
#[derive(Clone, Copy, Debug, Default)]
struct Reached {
    attached: bool,
    listed: bool,
    captured: bool,
}

/// How far trials came.
#[derive(Debug, Default)]
struct Tally {
    trials: usize,
    attached: usize,
    listed: usize,
    captured: usize,
}

impl Tally {
    fn count(&mut self, reached: Reached) {
        self.trials += 1;
        self.attached += usize::from(reached.attached);
        self.listed += usize::from(reached.listed);
        self.captured += usize::from(reached.captured);
    }
}

/// What all trials are made on.
struct Trials<'a> {
    dump: &'a Dump,
    /// A frozen process in it.
    pid: i32,
    /// A cache that knows the kernel.
    cache: &'a Path,
    /// What leads to the kernel; else its VMCOREINFO does.
    cpus: Vec<CpuPaging>,
}

impl Trials<'_> {
    /// The page tables of a vCPU that executes in none of a process's.
    fn kernel_paging(&self) -> CpuPaging {
        let (memory, _) = self.dump.memory(Default::default());
        let kernel = self.attach(memory, &ProfileCache::at(self.cache));
        let located = kernel.expect("the dump cannot be read").located();
        CpuPaging { cr3: located.page_table.get(), levels: located.levels }
    }

    /// What is read of the guest when it does not lie.
    fn truth(&self) -> Truth {
        let (memory, meter) = self.dump.memory(Default::default());
        let mut begun = Vec::new();
        meter.trace();
        let cache = ProfileCache::at(self.cache);
        let reached = self.read_everything(memory, &cache, || begun.push(meter.traced()));
        assert!(reached.listed && reached.captured, "the dump cannot be read: {reached:?}");
        assert!(meter.reads() < READS_MAX / 100, "{} accesses without a lie", meter.reads());
        Truth::new(self.dump, &meter.take_trace(), &begun)
    }

    /// Does everything on a guest that lies as `seed` says.
    fn trial(&self, truth: &Truth, seed: u64) -> Result<Reached, String> {
        let lies = truth.lies(&mut Rng::with_seed(seed));
        let cache = match lies.about_the_kernel {
            // What a stored profile says would not be read.
            true => ProfileCache::none(),
            false => ProfileCache::at(self.cache),
        };
        ALLOCATED.reset_peak_usage();
        let before = ALLOCATED.current_usage();
        let (memory, meter) = self.dump.memory(lies.words);
        let reached =
            catch_unwind(AssertUnwindSafe(|| self.read_everything(memory, &cache, || {})));
        let bytes = ALLOCATED.peak_usage().saturating_sub(before);
        if meter.reads() > READS_MAX {
            return Err(format!("{} accesses to guest memory", meter.reads()));
        }
        if bytes > MEMORY_MAX {
            return Err(format!("{bytes} bytes of memory"));
        }
        reached.map_err(|_| "it panicked".to_owned())
    }

    /// Attaches, lists, looks and captures; calls `step` before each of the
    /// three parts: attach, look, capture.
    fn read_everything(
        &self,
        memory: GuestMemory,
        cache: &ProfileCache,
        mut step: impl FnMut(),
    ) -> Reached {
        let mut reached = Reached::default();
        step();
        let Ok(kernel) = self.attach(memory, cache) else { return reached };
        reached.attached = true;
        step();
        reached.listed = processes(&kernel, true).is_ok();
        let _ = Details::of(&kernel, self.pid);
        step();
        let Ok(target) = Target::find(&kernel, self.pid) else { return reached };
        let Ok(tree) = Tree::of(target.clone()) else { return reached };
        let limits = capture::Limits::default();
        let _ = capture::survey(&tree, limits);
        if let Ok(capture::Captured { snapshot, memories }) = capture::capture(&tree, limits) {
            let mut mms = snapshot.mms.iter();
            reached.captured = mms.all(|(_, mm)| capture::plan_pages(&target, mm).is_ok())
                && memories.iter().all(|memory| memory.plan().is_ok());
        }
        reached
    }

    fn attach(&self, memory: GuestMemory, cache: &ProfileCache) -> Result<Kernel, KernelError> {
        let options = AttachOptions {
            declarations: &DECLARATIONS,
            knowledge: &Knowledge::with_cache(cache.clone()),
            instance: None,
            cpus: &|| self.cpus.clone(),
        };
        Kernel::attach(memory.into(), &options).map(|(kernel, _)| kernel)
    }
}
