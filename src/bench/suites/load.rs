//! Saves of a process in a VM that is busy with other things, by the CRIU in the
//! VM and from outside.

use super::{PAUSE, apart, size};
use crate::bench::domain::stop_and_cont;
use crate::bench::error::{BenchError, Result};
use crate::bench::guest::{Guest, Make, Running};
use crate::bench::measure::{Contestant, Outcome, race};
use crate::bench::ours::Saver;
use crate::bench::pin::Pinned;
use crate::bench::programs::Program;
use crate::bench::report::{Point, Section, SuiteReport, Unit};
use crate::bench::{OURS, Options};

/// Memory of the process, in MiB.
const MEMORY: u64 = 128;
const QUICK: u64 = 32;
/// What stress-ng is told, by the name of its class of stressors.
const LOADS: [(&str, &str); 7] = [
    ("idle", ""),
    ("cpu", "--cpu 4"),
    ("pipe", "--pipe 4"),
    ("memory", "--vm 2 --vm-bytes 128M"),
    ("io", "--io 2 --hdd 1 --hdd-bytes 64M --temp-path /var/tmp"),
    ("filesystem", "--dentry 2 --rename 2 --temp-path /var/tmp"),
    ("device", "--dev 2"),
];
const CRIU: &str = "CRIU in the VM";
/// Where the CRIU in the VM writes to: memory, like ours.
const IMAGES: &str = "/run/bench-images";

/// Runs the suite.
pub fn run(options: &Options, report: &mut SuiteReport) -> Result<()> {
    let guest = Guest::boot(options, Make { memory: 2048, cpus: 1 })?;
    report.note(guest.description()?);
    let (cpus, note) = apart(&guest)?;
    report.note(note);
    let mebibytes = if options.quick { QUICK } else { MEMORY };
    report.note(format!(
        "a process of {}; both write to memory, of the VM and of the host; CRIU is timed by the guest's \
         clock, so that the way to it does not count; ovmigrate is timed as a whole command. Where CPUs are \
         emulated (tcg), so is that CRIU: what counts then is each one's slowdown against idle",
        size(mebibytes)
    ));
    let _pinned = Pinned::to(&cpus)?;
    let mut seconds = Section::new("Time to save", "load", Unit::Seconds);
    let mut parts = Section::new("In a save", "load", Unit::Seconds);
    let mut pauses = Section::new("The VM stands still in a save", "load", Unit::Seconds);
    for (load, arguments) in LOADS {
        (options.progress)(&format!("load: {load}"));
        let process = guest.start(options, Program::Hold, &[mebibytes.to_string()])?;
        let stress = Stress::start(&guest, load, arguments)?;
        if !arguments.is_empty() {
            report.note(format!("{load}: stress-ng {arguments}"));
        }
        let outcomes = measure(options, &guest, &process)?;
        stress.end()?;
        let restored = Saver::new(options, &guest, &options.tmpfs)?.prove(&process)?;
        guest.end(&process)?;
        seconds.points.push(Point::of(load, None, &outcomes, "command").proven(restored));
        parts.points.push(Point::of_figures(load, None, &outcomes[0], &["frozen", "paused"]));
        pauses.points.push(Point::of(load, None, &outcomes, "paused"));
    }
    report.sections.push(seconds.comparing(OURS, CRIU).against_first());
    report.sections.extend([parts, pauses.comparing(OURS, PAUSE)]);
    Ok(())
}

fn measure(options: &Options, guest: &Guest, process: &Running) -> Result<Vec<Outcome>> {
    let mut saver = Saver::new(options, guest, &options.tmpfs)?;
    race(
        options.rounds,
        &mut [
            Contestant::new(OURS, || Ok(saver.save(process)?.figures())),
            Contestant::new(CRIU, || Ok(vec![("command", dump(guest, process)?)])),
            Contestant::new(PAUSE, || Ok(vec![("paused", stop_and_cont(guest.name())?)])),
        ],
    )
}

/// Has the CRIU in the VM dump a process, which goes on. Returns seconds.
pub(super) fn dump(guest: &Guest, process: &Running) -> Result<f64> {
    guest.sh(&format!("rm -rf {IMAGES}; mkdir {IMAGES}"))?;
    let pid = process.pid;
    let command = format!(
        "{{ criu dump -t {pid} -D {IMAGES} -o dump.log --leave-running >/dev/null 2>&1 || \
         {{ grep Error {IMAGES}/dump.log >&2; false; }}; }}"
    );
    let dumped = guest.timed(&command);
    guest.sh(&format!("rm -rf {IMAGES}"))?;
    dumped
}

/// A stress-ng in a VM.
struct Stress<'a> {
    guest: &'a Guest,
    pid: Option<i32>,
}

impl<'a> Stress<'a> {
    /// Starts it and waits until it is at work.
    fn start(guest: &'a Guest, load: &str, arguments: &str) -> Result<Self> {
        if arguments.is_empty() {
            return Ok(Self { guest, pid: None });
        }
        let command = format!("exec stress-ng --timeout 0 {arguments}");
        let pid = guest.spawn(&["sh", "-c", &command])?;
        let stress = Self { guest, pid: Some(pid) };
        guest.sh("sleep 3")?;
        stress.check(load)?;
        Ok(stress)
    }

    fn check(&self, load: &str) -> Result<()> {
        let Some(pid) = self.pid else { return Ok(()) };
        // Itself and a worker at least.
        let script = format!("pgrep -g {pid} | wc -l; tail -n 2 /var/tmp/sh.log");
        let said = self.guest.sh(&script)?;
        let count = said.lines().next().and_then(|line| line.trim().parse::<u32>().ok());
        if count.is_some_and(|count| count > 1) {
            return Ok(());
        }
        Err(BenchError::command("stress-ng", format!("{load}: it does not run: {}", said.trim())))
    }

    /// Ends it, which may not have ended by itself before: what was measured since
    /// would be a VM at rest.
    fn end(self) -> Result<()> {
        self.check("at the end")?;
        let Some(pid) = self.pid else { return Ok(()) };
        let script = format!(
            "kill -TERM {pid}; for i in $(seq 100); do pgrep -g {pid} >/dev/null || exit 0; sleep 0.2; \
             done; pkill -KILL -g {pid}; sleep 1; ! pgrep -g {pid}"
        );
        self.guest.sh(&script).map(drop)
    }
}
