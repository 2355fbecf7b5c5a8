//! `ovmigrate profile`.

mod build;
mod check;
mod list;
mod show;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use ovmigrate::kernel::{Knowledge, KnownProfile};

use super::{DomainArg, HowArgs};

/// What is known of kernels: of those that run in VMs, and of others.
///
/// A profile holds the symbols and structure layouts that ovmigrate reads of one
/// kernel build. For most guests it is made of what lies in the guest's memory
/// (kallsyms and BTF) and needs no care. For a kernel built without BTF one is
/// made beforehand, from the files of its build. Stored profiles are looked for
/// in the folders that OVMIGRATE_PROFILES lists (separated by colons), in
/// /etc/ovmigrate/kernel-profiles, in /usr/share/ovmigrate/kernel-profiles and
/// among those that are built in.
#[derive(Debug, Args)]
pub struct Profile {
    #[command(subcommand)]
    command: ProfileCommand,
}

#[derive(Debug, Subcommand)]
enum ProfileCommand {
    Show(show::Show),
    List(list::List),
    Check(check::Check),
    Build(build::Build),
}

impl Profile {
    pub fn run(self) -> Result<()> {
        match self.command {
            ProfileCommand::Show(show) => show.run(),
            ProfileCommand::List(list) => list.run(),
            ProfileCommand::Check(check) => check.run(),
            ProfileCommand::Build(build) => build.run(),
        }
    }
}

/// Which profile: that of a VM's kernel, or a stored one.
#[derive(Debug, Args)]
struct WhichArgs {
    /// A stored profile in place of a VM: its file, its kernel's release, or the
    /// first digits of its build ID.
    #[arg(value_name = "PROFILE", conflicts_with = "domain", required_unless_present = "domain")]
    stored: Option<String>,
    /// The VM: the name of a running QEMU or libvirt domain, qmp:PATH or pid:PID.
    #[arg(short, long, value_name = "VM")]
    domain: Option<String>,
    /// The libvirt connection that has the VM, for example qemu:///session.
    #[arg(long, value_name = "URI", requires = "domain")]
    connect: Option<String>,
    #[command(flatten)]
    how: HowArgs,
}

impl WhichArgs {
    fn domain(&self) -> Option<DomainArg> {
        let domain = self.domain.clone()?;
        Some(DomainArg { domain, connect: self.connect.clone() })
    }

    fn stored(&self) -> Result<KnownProfile> {
        let Knowledge { library, cache, .. } = Knowledge::user();
        let name = self.stored.as_deref().unwrap_or_default();
        library.named(name, &cache).with_context(|| name.to_owned())
    }
}
