//! What `ovmigrate` costs on a real guest, measured in one run.
//!
//! `cargo bench --bench guest` boots a VM of its own with `qemu-scripts/vm` and
//! prints a table: median and range of each figure, and for the large save the
//! rate of a plain write of the same bytes to the same place. `make bench`
//! calls it. Two environment variables change it: `OVMIGRATE_BENCH_ROUNDS`
//! (default 20) and `OVMIGRATE_BENCH_DIR` (where images go, default
//! `/var/tmp`).

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ovmigrate::attach::{AccessChoice, Attachment};
use ovmigrate::bench;
use ovmigrate::control::{Deadline, Target, send};
use ovmigrate::inspect;
use ovmigrate::kernel::{Knowledge, ProfileCache};
use ovmigrate::save::{Afterwards, Freeze, Observer, SaveOptions, SaveReport, save};
use ovmigrate::sink::DirectorySink;

const VM: &str = "bench";
/// VMs that differ in their memory: how long the kernel is looked for may not.
const COLD: [(&str, &str); 2] = [("bench-1g", "1G"), ("bench-8g", "8G")];
/// How long any single step may take.
const TIMEOUT: Duration = Duration::from_secs(30);
const SIGSTOP: u32 = 19;
const SIGCONT: u32 = 18;
/// Starts processes that do nothing, so that there are some 200 in all.
const BYSTANDERS: &str = "for i in $(seq 125); do sleep 1000000 </dev/null >/dev/null 2>&1 & done";
/// Fills 1 GiB with bytes that are not zero, says so, and sleeps.
const LARGE: &str = "import time; data = bytearray(b'x') * (1 << 30); \
                     open('/var/tmp/filled', 'w').close(); time.sleep(1e6)";

fn main() -> Result<()> {
    // `cargo test --all-targets` runs benches, too, without `--bench`.
    if !env::args().any(|arg| arg == "--bench") {
        return Ok(());
    }
    let rounds = env::var("OVMIGRATE_BENCH_ROUNDS").map_or(Ok(20), |rounds| rounds.parse())?;
    let dir = PathBuf::from(env::var("OVMIGRATE_BENCH_DIR").unwrap_or("/var/tmp".into()));
    println!("{:<34} {:>10} {:>10} {:>10}", "ms", "min", "median", "max");
    for (vm, memory) in COLD {
        cold_attach(vm, memory, rounds)?;
    }
    let guest = Guest::boot(VM, "2G")?;
    let result = measure(&guest, rounds, &dir);
    guest.down()?;
    result
}

/// Attaches with nothing known of the VM or of any kernel.
fn cold_attach(vm: &'static str, memory: &str, rounds: usize) -> Result<()> {
    let guest = Guest::boot(vm, memory)?;
    let nothing = Knowledge::with_cache(ProfileCache::none());
    let measured = row(&format!("attach, nothing cached, {memory}"), rounds, || {
        let started = Instant::now();
        Attachment::open_with(vm, &nothing, AccessChoice::Auto)?;
        Ok(started.elapsed())
    });
    guest.down()?;
    measured
}

fn measure(guest: &Guest, rounds: usize, dir: &Path) -> Result<()> {
    let cache = tempfile::tempdir()?;
    let known = Knowledge::with_cache(ProfileCache::at(cache.path()));
    guest.exec(&["sh", "-c", BYSTANDERS])?;
    for (choice, by) in [(AccessChoice::Map, "mapped"), (AccessChoice::Process, "process")] {
        looks(&known, choice, by, rounds)?;
    }
    let attachment = Attachment::open_with(VM, &known, AccessChoice::Auto)?;
    let pid = guest.spawn(&["sleep", "1000000"])?;
    row("signal to stopped", rounds, || {
        let target = Target::find(&attachment.kernel, pid)?;
        let started = Instant::now();
        send(&attachment.domain, &target, SIGSTOP, Deadline::within(TIMEOUT))?;
        let took = started.elapsed();
        send(&attachment.domain, &target, SIGCONT, Deadline::within(TIMEOUT))?;
        Ok(took)
    })?;
    minimal_saves(&attachment, pid, rounds, dir)?;
    large_save(guest, &attachment, dir)
}

/// Attaches once more, and lists what runs.
fn looks(known: &Knowledge, choice: AccessChoice, by: &str, rounds: usize) -> Result<()> {
    let attach = || Attachment::open_with(VM, known, choice);
    let attachment = attach()?;
    row(&format!("attach, cached, {by}"), rounds, || {
        let started = Instant::now();
        attach()?;
        Ok(started.elapsed())
    })?;
    let count = inspect::processes(&attachment.kernel, true)?.len();
    row(&format!("ps of {count} processes, {by}"), rounds, || {
        let started = Instant::now();
        inspect::processes(&attachment.kernel, true)?;
        Ok(started.elapsed())
    })
}

/// Saves a minimal process over and over, which goes on each time.
fn minimal_saves(attachment: &Attachment, pid: i32, rounds: usize, dir: &Path) -> Result<()> {
    let (mut totals, mut pauses) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let started = Instant::now();
        let report = save_once(attachment, pid, dir)?;
        totals.push(started.elapsed());
        pauses.push(report.vm_paused);
    }
    print_row("save of a minimal process", totals);
    print_row("  of it the VM paused", pauses);
    Ok(())
}

fn save_once(attachment: &Attachment, pid: i32, dir: &Path) -> Result<SaveReport> {
    let scratch = tempfile::tempdir_in(dir)?;
    let images = scratch.path().join("images");
    let options = SaveOptions {
        freeze: Freeze::Trap,
        afterwards: Afterwards::LeaveRunning,
        timeout: TIMEOUT,
        for_criu: None,
    };
    let sink = || DirectorySink::create(&images).map(|sink| Box::new(sink) as _);
    Ok(save(attachment, pid, options, sink, &mut Silent)?)
}

fn large_save(guest: &Guest, attachment: &Attachment, dir: &Path) -> Result<()> {
    let pid = guest.spawn(&["python3", "-c", LARGE])?;
    let started = Instant::now();
    while guest.exec(&["test", "-e", "/var/tmp/filled"]).is_err() {
        ensure!(started.elapsed() < 10 * TIMEOUT, "the guest does not fill 1 GiB of memory");
        std::thread::sleep(Duration::from_millis(500));
    }
    let limit = bench::limit(attachment, pid, dir)?;
    println!(
        "\nsave of {:.2} GiB: {:.2} GB/s; plain write of the same bytes: {:.2} GB/s; ratio {:.2}",
        limit.bytes as f64 / (1u64 << 30) as f64,
        limit.save_rate() / 1e9,
        limit.write_rate() / 1e9,
        limit.save_rate() / limit.write_rate(),
    );
    println!(
        "frozen for {:.0} ms, the VM paused for {:.1} ms",
        milliseconds(limit.save.durations.frozen),
        milliseconds(limit.save.vm_paused)
    );
    Ok(())
}

fn row(name: &str, rounds: usize, mut measure: impl FnMut() -> Result<Duration>) -> Result<()> {
    let times = (0..rounds).map(|_| measure()).collect::<Result<Vec<_>>>()?;
    print_row(name, times);
    Ok(())
}

fn print_row(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |index: usize| times.get(index).copied().map_or(f64::NAN, milliseconds);
    let (median, last) = (times.len() / 2, times.len().saturating_sub(1));
    println!("{name:<34} {:>10.2} {:>10.2} {:>10.2}", at(0), at(median), at(last));
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A VM for the measurements.
struct Guest {
    name: &'static str,
}

impl Guest {
    fn boot(name: &'static str, memory: &str) -> Result<Self> {
        run(&["up", name, "--memory", memory])?;
        Ok(Self { name })
    }

    fn exec(&self, command: &[&str]) -> Result<String> {
        run(&[&["exec", self.name, "--"], command].concat())
    }

    fn spawn(&self, command: &[&str]) -> Result<i32> {
        let pid = run(&[&["spawn", self.name, "--"], command].concat())?;
        pid.trim().parse().with_context(|| format!("vm spawn printed {pid:?}"))
    }

    fn down(self) -> Result<()> {
        run(&["down", self.name]).map(|_| ())
    }
}

fn run(args: &[&str]) -> Result<String> {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("qemu-scripts/vm");
    let output = Command::new(tool).args(args).output().context("cannot run qemu-scripts/vm")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "vm {}: {}", args.join(" "), errors.trim());
    Ok(String::from_utf8(output.stdout)?)
}

struct Silent;

impl Observer for Silent {
    fn frozen(&mut self, _pid: i32) {}

    fn pages(&mut self, _done: u64, _total: u64) {}

    fn is_interrupted(&self) -> bool {
        false
    }
}
