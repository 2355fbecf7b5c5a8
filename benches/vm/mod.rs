//! A VM for measurements, and how they are shown.
// Each benchmark uses its part.
#![allow(dead_code)]

use std::env;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ovmigrate::attach::Attachment;
use ovmigrate::save::{Afterwards, Freeze, SaveOptions, SaveReport, save};
use ovmigrate::sink::DirectorySink;

/// How long any single step may take.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// Whether this is a run of benchmarks: `cargo test --all-targets` runs them,
/// too, without `--bench`.
pub fn is_asked_for() -> bool {
    env::args().any(|arg| arg == "--bench")
}

/// A VM for the measurements.
pub struct Guest {
    pub name: &'static str,
}

impl Guest {
    pub fn boot(name: &'static str, memory: &str) -> Result<Self> {
        run(&["up", name, "--memory", memory])?;
        Ok(Self { name })
    }

    pub fn exec(&self, command: &[&str]) -> Result<String> {
        run(&[&["exec", self.name, "--"], command].concat())
    }

    pub fn spawn(&self, command: &[&str]) -> Result<i32> {
        let pid = run(&[&["spawn", self.name, "--"], command].concat())?;
        pid.trim().parse().with_context(|| format!("vm spawn printed {pid:?}"))
    }

    pub fn push(&self, here: &Path, there: &str) -> Result<()> {
        let here = here.to_str().context("the path is no UTF-8")?;
        run(&["push", self.name, here, there]).map(drop)
    }

    pub fn down(self) -> Result<()> {
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

/// Saves a process, which goes on, into a directory of its own in `scratch`.
pub fn save_once(attachment: &Attachment, pid: i32, scratch: &Path) -> Result<SaveReport> {
    let images = tempfile::tempdir_in(scratch)?.keep();
    let options = SaveOptions {
        freeze: Freeze::Trap,
        afterwards: Afterwards::LeaveRunning,
        timeout: TIMEOUT,
        for_criu: None,
        limits: ovmigrate::capture::Limits::default(),
    };
    let sink = || DirectorySink::create(&images).map(|sink| Box::new(sink) as _);
    Ok(save(attachment, pid, options, sink, &mut ())?)
}

/// The head of a table of [`row`]s.
pub fn print_head() {
    println!("{:<34} {:>10} {:>10} {:>10}", "ms", "min", "median", "max");
}

pub fn row(name: &str, rounds: usize, mut measure: impl FnMut() -> Result<Duration>) -> Result<()> {
    let times = (0..rounds).map(|_| measure()).collect::<Result<Vec<_>>>()?;
    print_row(name, times);
    Ok(())
}

pub fn print_row(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |index: usize| times.get(index).copied().map_or(f64::NAN, milliseconds);
    let (median, last) = (times.len() / 2, times.len().saturating_sub(1));
    println!("{name:<34} {:>10.2} {:>10.2} {:>10.2}", at(0), at(median), at(last));
}

pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
