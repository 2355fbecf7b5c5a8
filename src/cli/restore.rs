//! `ovmigrate restore`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use ovmigrate::domain::Domain;
use ovmigrate::restore::{self, Progress, Restored};

use super::DomainArg;
use super::output::{milliseconds, print, print_json};

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
  process 1234 runs in vm2: 3.41 MiB sent in 85.1 ms, restored in 240.3 ms by CRIU 3.17.1")]
pub struct Restore {
    #[command(flatten)]
    domain: DomainArg,
    /// The images.
    #[arg(short = 'D', long, value_name = "DIR")]
    images_dir: PathBuf,
    /// Leave the images in the VM afterwards, with CRIU's log.
    #[arg(long)]
    keep_images: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
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
        let restored = restore::restore(&domain, &self.images_dir, self.keep_images, &mut show);
        bar.finish_and_clear();
        let restored = restored?;
        if self.json { print_json(&restored) } else { tell(&restored) }
    }
}

fn tell(restored: &Restored) -> Result<()> {
    let Restored { domain, pid, processes, criu, bytes, kept_images, transfer, restore, .. } =
        restored;
    let kept = kept_images.as_ref().map_or(String::new(), |dir| format!("; images kept in {dir}"));
    let others = match processes.saturating_sub(1) {
        0 => " runs".to_owned(),
        1 => " and 1 descendant run".to_owned(),
        others => format!(" and {others} descendants run"),
    };
    print(&format!(
        "process {pid}{others} in {domain}: {} sent in {}, restored in {} by CRIU {criu}{kept}\n",
        HumanBytes(*bytes),
        milliseconds(*transfer),
        milliseconds(*restore),
    ))
}
