//! What `ovmigrate` costs on a real guest, measured in one run.
//!
//! `cargo bench --bench guest` boots a VM of its own with `qemu-scripts/vm` and
//! prints a table: median and range of each figure, and for the large save the
//! rate of a plain write of the same bytes to the same place. `make bench`
//! calls it. Two environment variables change it: `OVMIGRATE_BENCH_ROUNDS`
//! (default 20) and `OVMIGRATE_BENCH_DIR` (where images go, default
//! `/var/tmp`).

mod vm;

use std::env;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ovmigrate::attach::{AccessChoice, Attachment};
use ovmigrate::bench;
use ovmigrate::control::{Deadline, Target, send};
use ovmigrate::inspect;
use ovmigrate::kernel::{Knowledge, ProfileCache};

use vm::{Guest, TIMEOUT, is_asked_for, milliseconds, print_head, print_row, row, save_once};

const VM: &str = "bench";
/// VMs that differ in their memory: how long the kernel is looked for may not.
const COLD: [(&str, &str); 2] = [("bench-1g", "1G"), ("bench-8g", "8G")];
const SIGSTOP: u32 = 19;
const SIGCONT: u32 = 18;
/// Starts processes that do nothing, so that there are some 200 in all.
const BYSTANDERS: &str = "for i in $(seq 140); do sleep 1000000 </dev/null >/dev/null 2>&1 & done";
/// Fills 1 GiB with bytes that are not zero, says so, and sleeps.
const LARGE: &str = "import time; data = bytearray(b'x') * (1 << 30); \
                     open('/var/tmp/filled', 'w').close(); time.sleep(1e6)";

fn main() -> Result<()> {
    if !is_asked_for() {
        return Ok(());
    }
    let rounds = env::var("OVMIGRATE_BENCH_ROUNDS").map_or(Ok(20), |rounds| rounds.parse())?;
    let dir = PathBuf::from(env::var("OVMIGRATE_BENCH_DIR").unwrap_or("/var/tmp".into()));
    print_head();
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
    // The next one finds a profile, and a monitor that is free again.
    drop(attach()?);
    row(&format!("attach, cached, {by}"), rounds, || {
        let started = Instant::now();
        attach()?;
        Ok(started.elapsed())
    })?;
    let attachment = attach()?;
    let count = inspect::processes(&attachment.kernel, true)?.len();
    row(&format!("ps of {count} processes, {by}"), rounds, || {
        let started = Instant::now();
        inspect::processes(&attachment.kernel, true)?;
        Ok(started.elapsed())
    })
}

/// Saves a minimal process over and over, which goes on each time.
fn minimal_saves(attachment: &Attachment, pid: i32, rounds: usize, dir: &Path) -> Result<()> {
    let scratch = tempfile::tempdir_in(dir)?;
    let (mut totals, mut pauses) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let started = Instant::now();
        let report = save_once(attachment, pid, scratch.path())?;
        totals.push(started.elapsed());
        pauses.push(report.vm_paused.total);
    }
    print_row("save of a minimal process", totals);
    print_row("  of it the VM paused", pauses);
    Ok(())
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
        milliseconds(limit.save.vm_paused.total)
    );
    Ok(())
}
