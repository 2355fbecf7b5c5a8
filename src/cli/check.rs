//! `ovmigrate check`.

use anyhow::{Result, bail};
use clap::Args;
use ovmigrate::attach::Attachment;
use ovmigrate::capture::{Limits, Obstacle, survey};
use ovmigrate::control::{Target, Tree};
use ovmigrate::memory::Access;
use serde::Serialize;

use super::AttachArgs;
use super::output::{escaped, print, print_json};

/// List all that stands in the way of saving, of host, VM and process.
///
/// The process and its descendants are only looked at; they run on. The exit status is 1 where there
/// is any obstacle.
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
    /// As the job of a shell that is not saved with it.
    #[arg(short = 'j', long, requires = "pid")]
    shell_job: bool,
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
}

impl Check {
    pub fn run(self) -> Result<()> {
        // An obstacle of host or VM is what attaching fails by, and hides all
        // that lies behind it.
        let limits = Limits { shell_job: self.shell_job, ..Limits::default() };
        check(&self.vm.attach()?, self.pid, limits, self.json)
    }
}

/// Prints what was found, and fails where anything is in the way.
pub fn check(attachment: &Attachment, pid: Option<i32>, limits: Limits, json: bool) -> Result<()> {
    let obstacles = match pid {
        Some(pid) => survey(&Tree::of(Target::find(&attachment.kernel, pid)?)?, limits)?,
        None => Vec::new(),
    };
    let findings = Findings {
        domain: attachment.domain.name().to_owned(),
        qemu_pid: attachment.domain.process().pid(),
        memory: attachment.report.access,
        kernel: attachment.kernel.release().to_owned(),
        obstacles,
    };
    if json {
        print_json(&findings)?;
    } else {
        tell(&findings, pid)?;
    }
    match findings.obstacles.len() {
        0 => Ok(()),
        1 => bail!("there is an obstacle to saving the process"),
        count => bail!("there are {count} obstacles to saving the process"),
    }
}

fn tell(findings: &Findings, pid: Option<i32>) -> Result<()> {
    let Findings { domain, qemu_pid, memory, kernel, obstacles } = findings;
    let mut text = format!(
        "host: QEMU process {qemu_pid} of {domain} answers; the VM is read from {memory}\n\
         vm: Linux {} is understood\n",
        escaped(kernel)
    );
    for obstacle in obstacles {
        text.push_str(&escaped(&obstacle.to_string()));
        text.push('\n');
    }
    if let (Some(pid), []) = (pid, obstacles.as_slice()) {
        text.push_str(&format!("process {pid} can be saved\n"));
    }
    print(&text)
}
