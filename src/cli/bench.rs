//! `ovmigrate bench`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use ovmigrate::bench::{self, Options, Report, Rounds, Style, Suite};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::output::{print, print_json};

/// Measure saves and restores on this machine, and write a report.
///
/// VMs are booted for it with the project's qemu-scripts and ended afterwards.
/// Each contestant runs in turn with the others, in alternating order, and what
/// is told are medians, spread and ratios. Every kind of save that is measured is
/// restored once and looked at. Needs root.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  $ ovmigrate bench
  $ ovmigrate bench limit growth --quick --out /var/tmp/report")]
pub struct Bench {
    /// What to measure; without it, all.
    #[arg(value_enum, value_name = "SUITE")]
    suites: Vec<SuiteArg>,
    /// How often each contestant runs, after one run to warm up. Without it 10
    /// times, with --quick 3 times.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Leave out what takes long: to see that all works.
    #[arg(long)]
    quick: bool,
    /// The guest kernel, an entry of qemu-scripts/guest/kernels.toml.
    #[arg(long, value_name = "RELEASE", default_value = "6.1")]
    kernel: String,
    /// The folder qemu-scripts of the project.
    #[arg(long, value_name = "DIR", default_value = "qemu-scripts")]
    scripts: PathBuf,
    /// Where to write on a disk.
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    dir: PathBuf,
    /// Where to write in memory.
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    tmpfs: PathBuf,
    /// Write the report into this directory: JSON, Markdown, and plots as SVG and
    /// PNG.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// A suite on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum SuiteArg {
    /// Saves against a plain write of as many bytes, and against a copy in memory.
    Limit,
    /// Saves against those of a stock CRIU of the same program on the host itself.
    Native,
    /// Saves of a busy VM, against those of the CRIU in it.
    Load,
    /// Saves where the host has less memory than the process.
    Memory,
    /// A memcached in the same VM: with no save, during saves, during CRIU's.
    Neighbour,
    /// Time against memory, VM, processes, threads, descriptors, areas of memory.
    Growth,
    /// Restores, by each way into the VM, against the CRIU in it with images in its
    /// memory.
    Restore,
}

impl From<SuiteArg> for Suite {
    fn from(suite: SuiteArg) -> Self {
        match suite {
            SuiteArg::Limit => Self::Limit,
            SuiteArg::Native => Self::Native,
            SuiteArg::Load => Self::Load,
            SuiteArg::Memory => Self::Memory,
            SuiteArg::Neighbour => Self::Neighbour,
            SuiteArg::Growth => Self::Growth,
            SuiteArg::Restore => Self::Restore,
        }
    }
}

impl Bench {
    pub fn run(self) -> Result<()> {
        let this = env::current_exe().context("cannot find this program")?;
        let mut options = Options::new(this, &self.scripts, &self.dir, &self.tmpfs)?;
        options.quick = self.quick;
        options.kernel.clone_from(&self.kernel);
        let usual = if self.quick { 3 } else { 10 };
        let counted = self.rounds.map_or(usual, usize::from);
        options.rounds = Rounds { warm_up: 1, counted };
        options.progress = |line| eprintln!("{line}");
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, options.interrupt.flag())
                .context("cannot catch signals")?;
        }
        if let Some(out) = &self.out {
            // Before hours of measuring, not after.
            bench::prepare_to_draw()?;
            fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
        }
        let suites: Vec<Suite> = match self.suites[..] {
            [] => Suite::ALL.to_vec(),
            _ => self.suites.iter().map(|&suite| suite.into()).collect(),
        };
        let report = bench::run(&options, &suites)?;
        if let Some(out) = &self.out {
            write(&report, out)?;
        }
        if self.json {
            print_json(&report)?;
        } else {
            print(&bench::text(&report, Style::Plain))?;
        }
        match &report.defects()[..] {
            [] => Ok(()),
            [first, others @ ..] => bail!("{first}; {} more failed", others.len()),
        }
    }
}

fn write(report: &Report, out: &Path) -> Result<()> {
    let json = serde_json::to_string_pretty(report)?;
    let markdown = bench::text(report, Style::Markdown);
    for (name, text) in [("report.json", json), ("report.md", markdown)] {
        let path = out.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    for suite in &report.suites {
        bench::draw(suite, out)?;
    }
    Ok(())
}
