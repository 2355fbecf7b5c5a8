//! What a save takes of the state of processes.

use clap::Args;
use ovmigrate::capture::Limits;
use ovmigrate::criu::CriuVersion;

use super::size::size;

/// What a save takes of the state of processes.
#[derive(Debug, Args)]
pub struct StateArgs {
    /// The version of CRIU that is to restore the images: what it would lose is
    /// refused. Without it that is found at the restore.
    #[arg(long, value_name = "VERSION", requires = "pid")]
    pub for_criu: Option<CriuVersion>,
    /// How large a deleted file that is still open may be: its content goes into
    /// the images. K, M and G stand for KiB, MiB and GiB.
    #[arg(long, value_name = "SIZE", default_value = "1M", value_parser = size)]
    ghost_limit: u64,
    /// Take the job of a shell that is not saved with it. A restore gives it another
    /// session and another terminal: `ovmigrate restore --tty`.
    #[arg(short = 'j', long, requires = "pid")]
    shell_job: bool,
    /// Have TCP connections come back closed, and those gone that wait to be
    /// accepted. Without it they are refused.
    #[arg(long, requires = "pid")]
    tcp_close: bool,
    /// Leave out the cgroups of the process: restored, it is in the root. What of
    /// them cannot be saved is no obstacle then.
    #[arg(long, requires = "pid")]
    ignore_cgroups: bool,
}

impl StateArgs {
    /// The same for the library.
    pub fn limits(&self) -> Limits {
        Limits {
            ghost: self.ghost_limit,
            shell_job: self.shell_job,
            tcp_close: self.tcp_close,
            ignore_cgroups: self.ignore_cgroups,
        }
    }
}
