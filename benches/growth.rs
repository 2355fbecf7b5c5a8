//! What a save costs for each process, thread, descriptor and memory area.
//!
//! `cargo bench --bench growth` saves a program that has ever more of one of
//! them and prints, for each, how long the VM stood still, how long the whole
//! save took, and what each item added to that from the line before: where
//! costs are linear, that stays the same. `OVMIGRATE_BENCH_DIR` says where
//! images go (default `/var/tmp`).

mod vm;

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ovmigrate::attach::{AccessChoice, Attachment};
use ovmigrate::kernel::Knowledge;

use vm::{Guest, TIMEOUT, is_asked_for, milliseconds, save_once};

const VM: &str = "bench-growth";
/// What the program is given more of, in the order of its arguments.
const KINDS: [&str; 4] = ["processes", "threads", "descriptors", "areas"];
const COUNTS: [u32; 4] = [1, 100, 300, 900];
/// Saves for each figure.
const ROUNDS: usize = 7;

fn main() -> Result<()> {
    if !is_asked_for() {
        return Ok(());
    }
    let dir = PathBuf::from(env::var("OVMIGRATE_BENCH_DIR").unwrap_or("/var/tmp".into()));
    let guest = Guest::boot(VM, "2G")?;
    let result = measure(&guest, &dir);
    guest.down()?;
    result
}

fn measure(guest: &Guest, dir: &Path) -> Result<()> {
    let program = build(dir)?;
    guest.push(&program, "/var/tmp/many")?;
    let knowledge = Knowledge::user();
    let attachment = Attachment::open_with(VM, &knowledge, AccessChoice::Auto)?;
    // All images stay until the end: ext4 looks at each inode that it freed in
    // the last seconds before it makes a new one (`recently_deleted()`), which
    // would cost more than the saves.
    let scratch = tempfile::tempdir_in(dir)?;
    println!("{:<24} {:>12} {:>12} {:>16}", "ms, medians", "VM paused", "save", "save, each more");
    for (position, kind) in KINDS.iter().enumerate() {
        let mut before: Option<(u32, Duration)> = None;
        for count in COUNTS {
            let pid = start(guest, position, count)?;
            let [paused, whole] = medians(&attachment, pid, scratch.path())?;
            guest.exec(&["sh", "-c", &format!("kill -KILL -{pid}")])?;
            let each = before.map(|(fewer, took)| {
                (milliseconds(whole) - milliseconds(took)) / f64::from(count - fewer)
            });
            let each = each.map_or_else(String::new, |each| format!("{each:.4}"));
            println!(
                "{:<24} {:>12.2} {:>12.2} {each:>16}",
                format!("{count} {kind}"),
                milliseconds(paused),
                milliseconds(whole),
            );
            before = Some((count, whole));
        }
    }
    Ok(())
}

/// Compiles the program that has many of everything.
fn build(dir: &Path) -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/many.c");
    let program = dir.join(format!("many.{}", std::process::id()));
    let compiled = Command::new("cc")
        .args(["-static", "-pthread", "-O2", "-o"])
        .arg(&program)
        .arg(source)
        .status()
        .context("cannot run cc")?;
    ensure!(compiled.success(), "many.c does not compile");
    Ok(program)
}

/// Starts it with `count` of one kind and one of each other.
fn start(guest: &Guest, kind: usize, count: u32) -> Result<i32> {
    let mut counts = ["1"; KINDS.len()].map(str::to_owned);
    counts[kind] = count.to_string();
    let ready = "/var/tmp/many.ready";
    let mut command = vec!["/var/tmp/many", ready];
    command.extend(counts.iter().map(String::as_str));
    let pid = guest.spawn(&command)?;
    let started = std::time::Instant::now();
    while guest.exec(&["rm", ready]).is_err() {
        ensure!(started.elapsed() < TIMEOUT * 4, "many is not ready");
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(pid)
}

/// How long the VM stood still in a save, and how long the save took.
fn medians(attachment: &Attachment, pid: i32, scratch: &Path) -> Result<[Duration; 2]> {
    let mut figures: [Vec<Duration>; 2] = Default::default();
    for _ in 0..ROUNDS {
        let report = save_once(attachment, pid, scratch)?;
        figures[0].push(report.vm_paused.total);
        figures[1].push(report.durations.survey + report.durations.frozen);
    }
    Ok(figures.map(|mut times| {
        times.sort();
        times[times.len() / 2]
    }))
}
