//! `ovmigrate restore`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use ovmigrate::domain::Domain;
use ovmigrate::restore::{
    self, CpuCap, ManageCgroups, Options, Progress, Restored, TerminalPath, Via, Way,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::DomainArg;
use super::output::{escaped, milliseconds, print, print_json};

/// Restore saved images in a VM with its own criu restore.
///
/// The VM needs the QEMU guest agent and CRIU 3.17 or later; no network. Open
/// and mapped files are expected at the same paths with the same sizes, as with
/// CRIU, and the PIDs must be free: all that is in the way is listed before
/// anything is sent. After a failure nothing is left in the VM.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  $ ovmigrate restore --domain vm2 --images-dir /var/tmp/nginx
  process 1234 runs in vm2: 3.41 MiB sent in 85.1 ms, restored in 240.3 ms by CRIU 3.17.1
  $ ovmigrate restore --domain vm2 --images-dir /var/tmp/large
  process 1300 runs in vm2: 1.00 GiB on a disk, mounted in 90.2 ms, restored in 2104.8 ms by CRIU 3.17.1")]
pub struct Restore {
    #[command(flatten)]
    domain: DomainArg,
    /// The images.
    #[arg(short = 'D', long, value_name = "DIR")]
    images_dir: PathBuf,
    /// How the images get into the VM.
    #[arg(long, value_enum, default_value_t)]
    via: ViaArg,
    /// What is done with the cgroups that the process was in.
    #[arg(long, value_enum, value_name = "MODE", default_value_t)]
    manage_cgroups: ManageArg,
    /// What of the VM's CPU must be as in the source. A program that has found out
    /// what its CPU can do goes on relying on it.
    #[arg(long, value_enum, value_name = "WHAT", value_delimiter = ',', default_value = "ins")]
    cpu_cap: Vec<CpuCapArg>,
    /// Leave the images in the VM afterwards, with CRIU's log. They are copied
    /// then, through the port.
    #[arg(long)]
    keep_images: bool,
    /// The terminal in the VM that the job of a shell goes on on, which was saved with
    /// `--shell-job`: one that no session has. The job gets a session there that lasts
    /// as long as its first process.
    #[arg(long, value_name = "PATH")]
    tty: Option<TerminalPath>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// A way into the VM.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum ViaArg {
    /// The fastest: a disk for what is large, where the machine has a free PCI
    /// slot for it, else the port.
    #[default]
    Auto,
    /// A read-only disk that is plugged for the purpose: CRIU reads the images
    /// from where they lie.
    Disk,
    /// A virtio serial port that is plugged for the purpose: the images are copied
    /// into the VM.
    Port,
}

/// What of a CPU is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CpuCapArg {
    /// Nothing.
    None,
    /// That it keeps the same registers of processes, in as much memory.
    Fpu,
    /// That it has all instructions that the source's offered.
    Ins,
}

/// What is compared where these were given: `none` takes back what stands before
/// it, as with CRIU.
fn cpu_cap(given: &[CpuCapArg]) -> CpuCap {
    given.iter().fold(CpuCap::NONE, |cap, arg| match arg {
        CpuCapArg::None => CpuCap::NONE,
        CpuCapArg::Fpu => CpuCap { fpu: true, ..cap },
        CpuCapArg::Ins => CpuCap { instructions: true, ..cap },
    })
}

/// What is done with cgroups.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum ManageArg {
    /// Those that are there stay as they are, others are made with the limits that
    /// they had.
    #[default]
    Soft,
    /// Those that are there get the limits, too.
    Full,
    /// Nothing: what is restored is in the root.
    Ignore,
}

impl From<ManageArg> for ManageCgroups {
    fn from(choice: ManageArg) -> Self {
        match choice {
            ManageArg::Soft => Self::Soft,
            ManageArg::Full => Self::Full,
            ManageArg::Ignore => Self::Ignore,
        }
    }
}

impl From<ViaArg> for Via {
    fn from(via: ViaArg) -> Self {
        match via {
            ViaArg::Auto => Self::Auto,
            ViaArg::Disk => Self::Disk,
            ViaArg::Port => Self::Port,
        }
    }
}

impl Restore {
    pub fn run(self) -> Result<()> {
        let domain = Domain::find(&self.domain.spec())?;
        let bar = ProgressBar::hidden();
        bar.set_style(ProgressStyle::with_template(
            "{spinner} {msg} {bytes}/{total_bytes} {wide_bar} {binary_bytes_per_sec} {eta}",
        )?);
        bar.set_draw_target(ProgressDrawTarget::stderr());
        let mut show = |progress| match progress {
            Progress::Preflight => bar.set_message("looking at the VM"),
            Progress::Transfer { bytes, total } => {
                bar.set_message("sending");
                bar.set_length(total);
                bar.set_position(bytes);
            }
            Progress::Restore => bar.set_message("restoring"),
        };
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, interrupted.clone())
                .context("cannot catch signals")?;
        }
        let options = Options {
            via: self.via.into(),
            keep_images: self.keep_images,
            tty: self.tty.as_ref(),
            cgroups: self.manage_cgroups.into(),
            cpu: cpu_cap(&self.cpu_cap),
            interrupted: &interrupted,
        };
        let restored = restore::restore(&domain, &self.images_dir, options, &mut show);
        bar.finish_and_clear();
        let restored = restored?;
        if self.json { print_json(&restored) } else { tell(&restored) }
    }
}

fn tell(restored: &Restored) -> Result<()> {
    let Restored { domain, pid, processes, criu, way, bytes, kept_images, .. } = restored;
    let kept = kept_images.as_ref().map_or(String::new(), |dir| format!("; images kept in {dir}"));
    let others = match processes.saturating_sub(1) {
        0 => " runs".to_owned(),
        1 => " and 1 descendant run".to_owned(),
        others => format!(" and {others} descendants run"),
    };
    let how = match way {
        Way::Disk => "on a disk, mounted",
        Way::Port => "sent",
    };
    let differ = restored.other_cgroups.iter().map(|what| format!("; {}", escaped(what)));
    let differ: String = differ.collect();
    let slow = restored.no_disk.as_ref();
    let slow = slow.map_or(String::new(), |reason| format!("; not on a disk: {}", escaped(reason)));
    print(&format!(
        "process {pid}{others} in {domain}: {} {how} in {}, restored in {} by CRIU {criu}{kept}{slow}{differ}\n",
        HumanBytes(*bytes),
        milliseconds(restored.transfer),
        milliseconds(restored.restore),
    ))
}
