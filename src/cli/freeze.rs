//! `ovmigrate freeze`.

use anyhow::Result;
use clap::Args;
use ovmigrate::control::{self, Tree};

use super::TargetArgs;
use super::output::{escaped, print};

/// Freeze a process from outside the VM.
///
/// All threads are parked in the kernel's freezer trap, as a frozen cgroup
/// parks them: no signal is sent, the parent is not told, and signals sent to
/// it meanwhile wait. A system call that the kernel never restarts, such as
/// epoll_wait, returns EINTR after the thaw.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  $ ovmigrate freeze --domain vm1 --pid 1234
  process 1234 (nginx) is frozen; thaw it with: ovmigrate thaw --domain vm1 --pid 1234")]
pub struct Freeze {
    #[command(flatten)]
    target: TargetArgs,
}

impl Freeze {
    pub fn run(self) -> Result<()> {
        let (comm, _) = self.target.act(|attachment, target, deadline| {
            let comm = target.comm().to_owned();
            control::freeze(&attachment.domain, &mut Tree::alone(target), deadline)?;
            Ok(comm)
        })?;
        let (pid, domain) = (self.target.pid, self.target.vm.domain.arguments());
        print(&format!(
            "process {pid} ({}) is frozen; thaw it with: ovmigrate thaw {domain} --pid {pid}\n",
            escaped(&comm),
        ))
    }
}
