//! `ovmigrate check`.

use anyhow::{Result, bail};
use clap::Args;
use ovmigrate::attach::Attachment;
use ovmigrate::capture::{Obstacle, Remark, remarks, survey};
use ovmigrate::control::{Target, Tree};
use ovmigrate::criu::Need;
use ovmigrate::memory::Access;
use ovmigrate::save;
use serde::Serialize;

use super::AttachArgs;
use super::output::{escaped, print, print_json};
use super::remark::add_remarks;
use super::state::StateArgs;

/// List all that stands in the way of saving, of host, VM and process.
///
/// The process and its descendants are only looked at; they run on, with a pause of
/// the VM where --for-criu asks for it. The exit status is 1 where there is any
/// obstacle. Options mean what they mean to `ovmigrate save`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  $ ovmigrate check --domain vm1 --pid 100296
  host: QEMU process 24087 of vm1 answers; the VM is read from mapped memory
  vm: Linux 6.1.0-56-cloud-amd64 is understood
  process 100296 can be saved")]
pub struct Check {
    #[command(flatten)]
    vm: AttachArgs,
    /// The process: its PID as root in the VM sees it.
    #[arg(short, long)]
    pid: Option<i32>,
    #[command(flatten)]
    state: StateArgs,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Findings {
    domain: String,
    qemu_pid: i32,
    memory: Access,
    kernel: String,
    obstacles: Vec<Obstacle>,
    /// What a save does not keep.
    not_kept: Vec<Remark>,
    /// What the version of CRIU that is named would lose.
    losses: Vec<Need>,
}

impl Check {
    pub fn run(self) -> Result<()> {
        // An obstacle of host or VM is what attaching fails by, and hides all
        // that lies behind it.
        check(&self.vm.attach()?, self.pid, &self.state, self.json)
    }
}

/// Prints what was found, and fails where anything is in the way.
pub fn check(
    attachment: &Attachment,
    pid: Option<i32>,
    state: &StateArgs,
    json: bool,
) -> Result<()> {
    let (mut obstacles, mut not_kept, mut losses) = (Vec::new(), Vec::new(), Vec::new());
    if let Some(pid) = pid {
        let tree = Tree::of(Target::find(&attachment.kernel, pid)?)?;
        obstacles = survey(&tree, state.limits())?;
        not_kept = remarks(&tree)?;
        if let Some(version) = state.for_criu {
            attachment.domain.claim()?;
            losses = save::losses(attachment, &tree, state.limits(), version)?;
        }
    }
    let findings = Findings {
        domain: attachment.domain.name().to_owned(),
        qemu_pid: attachment.domain.process().pid(),
        memory: attachment.report.access,
        kernel: attachment.kernel.release().to_owned(),
        obstacles,
        not_kept,
        losses,
    };
    if json {
        print_json(&findings)?;
    } else {
        tell(&findings, pid)?;
    }
    match findings.obstacles.len() + findings.losses.len() {
        0 => Ok(()),
        1 => bail!("there is an obstacle to saving the process"),
        count => bail!("there are {count} obstacles to saving the process"),
    }
}

fn tell(findings: &Findings, pid: Option<i32>) -> Result<()> {
    let Findings { domain, qemu_pid, memory, kernel, obstacles, not_kept, losses } = findings;
    let mut text = format!(
        "host: QEMU process {qemu_pid} of {domain} answers; the VM is read from {memory}\n\
         vm: Linux {} is understood\n",
        escaped(kernel)
    );
    for obstacle in obstacles {
        text.push_str(&escaped(&obstacle.to_string()));
        text.push('\n');
    }
    for loss in losses {
        text.push_str(&format!("CRIU would lose {}\n", escaped(&loss.to_string())));
    }
    if let (Some(pid), [], []) = (pid, obstacles.as_slice(), losses.as_slice()) {
        text.push_str(&format!("process {pid} can be saved\n"));
    }
    add_remarks(&mut text, not_kept);
    print(&text)
}
