//! `ovmigrate bench`.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use indicatif::HumanBytes;
use ovmigrate::bench::{self, Limit};

use super::AttachArgs;
use super::output::{milliseconds, print, print_json};

/// Measure what a save reaches on this host.
#[derive(Debug, Args)]
pub struct Bench {
    #[command(subcommand)]
    command: Measurement,
}

#[derive(Debug, Subcommand)]
enum Measurement {
    Limit(LimitArgs),
}

impl Bench {
    pub fn run(self) -> Result<()> {
        match self.command {
            Measurement::Limit(limit) => limit.run(),
        }
    }
}

/// Compare a save with a plain write of the same bytes to the same place.
///
/// The process is saved and goes on; what was written is removed.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  $ ovmigrate bench limit --domain vm1 --pid 1234 --dir /var/tmp")]
struct LimitArgs {
    #[command(flatten)]
    vm: AttachArgs,
    /// The process: its PID as root in the VM sees it.
    #[arg(short, long)]
    pid: i32,
    /// Where to write.
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    dir: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

impl LimitArgs {
    fn run(self) -> Result<()> {
        let attachment = self.vm.attach()?;
        let limit = bench::limit(&attachment, self.pid, &self.dir)?;
        if self.json { print_json(&limit) } else { print(&text(&limit)) }
    }
}

fn text(limit: &Limit) -> String {
    let gigabytes = |rate: f64| rate / 1e9;
    format!(
        "{} of pages\n\
         save         {:.2} GB/s ({:.3} s)\n\
         plain write  {:.2} GB/s ({:.3} s)\n\
         ratio        {:.2}\n\
         frozen for {}, the VM stood still for {}\n",
        HumanBytes(limit.bytes),
        gigabytes(limit.save_rate()),
        limit.save_seconds,
        gigabytes(limit.write_rate()),
        limit.write_seconds,
        limit.save_rate() / limit.write_rate(),
        milliseconds(limit.save.durations.frozen),
        milliseconds(limit.save.vm_paused.total),
    )
}
