//! Measurements that anyone can repeat with one command: what a save reaches of
//! what the host can do, and beside CRIU.
//!
//! ```text
//! suites ─┬─ guest, native: where processes run that are saved
//!         ├─ ours: the `ovmigrate` command, as its user starts it
//!         ├─ measure: turns, samples, medians
//!         └─ report ─> table, plot
//! ```
//!
//! What is measured is the command itself, started by a shell, in VMs that are
//! booted for it. Each kind of save is restored once and looked at, so that no
//! number is of images that are of no use.

mod cgroup;
mod domain;
mod error;
mod guest;
mod machine;
mod measure;
mod native;
mod number;
mod ours;
mod pin;
mod plot;
mod process;
mod programs;
mod report;
mod shell;
mod suites;
mod table;

use std::path::{Path, PathBuf};

use tempfile::TempDir;

pub use error::{BenchError, Result};
pub use machine::{Machine, Place};
pub use measure::{Rounds, Summary};
pub use plot::{draw, prepare as prepare_to_draw};
pub use process::Interrupt;
pub use report::{Measured, Point, Ratio, Report, Restored, Section, SuiteReport, Unit};
pub use suites::Suite;
pub use table::{Style, text};

/// What our saves are called in reports.
pub const OURS: &str = "ovmigrate";

/// What to measure with.
#[derive(Debug)]
pub struct Options {
    /// The program that is measured.
    pub ovmigrate: PathBuf,
    /// The folder `qemu-scripts`.
    pub scripts: PathBuf,
    /// Which guest kernel, an entry of its `kernels.toml`.
    pub kernel: String,
    /// A directory on a disk.
    pub disk: PathBuf,
    /// A directory in memory.
    pub tmpfs: PathBuf,
    /// How often each contestant runs.
    pub rounds: Rounds,
    /// Leave out what takes long.
    pub quick: bool,
    /// Set when all is to end.
    pub interrupt: Interrupt,
    /// Takes a line for each thing that is begun.
    pub progress: fn(&str),
    programs: TempDir,
}

impl Options {
    /// Measures the program `ovmigrate` with VMs by `scripts`, in `disk` and
    /// `tmpfs`.
    ///
    /// # Errors
    ///
    /// Where one of them is not what it is to be.
    pub fn new(ovmigrate: PathBuf, scripts: &Path, disk: &Path, tmpfs: &Path) -> Result<Self> {
        if !scripts.join("vm").is_file() {
            return Err(BenchError::Lacks(format!(
                "{} is not the folder qemu-scripts of the project: it has no file vm; name it with \
                 --scripts",
                scripts.display()
            )));
        }
        let absolute = |path: &Path| path.canonicalize().map_err(BenchError::io("find", path));
        Ok(Self {
            ovmigrate,
            scripts: absolute(scripts)?,
            kernel: "6.1".to_owned(),
            disk: absolute(disk)?,
            tmpfs: absolute(tmpfs)?,
            rounds: Rounds { warm_up: 1, counted: 10 },
            quick: false,
            interrupt: Interrupt::default(),
            progress: |_| {},
            programs: scratch(disk)?,
        })
    }

    /// Where programs are compiled to.
    fn programs(&self) -> &Path {
        self.programs.path()
    }
}

/// A directory of our own, which goes with what it returns.
fn scratch(parent: &Path) -> Result<TempDir> {
    let made = tempfile::Builder::new().prefix("ovmigrate-bench-").tempdir_in(parent);
    made.map_err(BenchError::io("make a directory in", parent))
}

/// Runs suites one after the other. A suite that fails ends early and says so in
/// the report, and an interruption ends all with what was found so far.
///
/// # Errors
///
/// Where the machine cannot be described.
pub fn run(options: &Options, suites: &[Suite]) -> Result<Report> {
    let machine = Machine::look(&[&options.disk, &options.tmpfs])?;
    let mut report = Report { machine, rounds: options.rounds, suites: Vec::new() };
    for suite in suites {
        report.suites.push(suite.run(options));
        if options.interrupt.check().is_err() {
            break;
        }
    }
    Ok(report)
}
