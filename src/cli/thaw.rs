//! `ovmigrate thaw`.

use anyhow::Result;
use clap::Args;
use ovmigrate::control::{self, Tree};

use super::TargetArgs;
use super::output::{escaped, print};

/// Let a frozen process go on.
///
/// Undoes `ovmigrate freeze` and what a save that was interrupted or ended
/// with --leave-stopped has left. A process that runs is left alone; one that
/// its cgroup has frozen is frozen again at once.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  $ ovmigrate thaw --domain vm1 --pid 1234
  process 1234 (nginx) goes on")]
pub struct Thaw {
    #[command(flatten)]
    target: TargetArgs,
    /// Let its descendants go, too, as a save has frozen them.
    #[arg(long)]
    tree: bool,
}

impl Thaw {
    pub fn run(self) -> Result<()> {
        let (comm, _) = self.target.act(|attachment, target, deadline| {
            let comm = target.comm().to_owned();
            let tree = if self.tree { Tree::of(target)? } else { Tree::alone(target) };
            control::thaw(&attachment.domain, &tree, deadline)?;
            Ok(comm)
        })?;
        print(&format!("process {} ({}) goes on\n", self.target.pid, escaped(&comm)))
    }
}
