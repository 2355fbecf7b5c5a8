//! `ovmigrate profile build`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use ovmigrate::kernel::{build_profile, lookup};
use ovmigrate::linux::DECLARATIONS;

use super::super::output::print;

/// Make a profile from the files of a kernel's build, without a guest.
///
/// Types come from the file's BTF, else from its DWARF. Symbols come from its
/// symbol table, else from --system-map, else from the kallsyms within. A
/// profile that is put into a folder of OVMIGRATE_PROFILES or into
/// /etc/ovmigrate/kernel-profiles, as NAME.json, is used for guests that run
/// this build and whose memory does not tell their types.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  $ ovmigrate profile build --vmlinux /boot/vmlinuz-6.1.0-50-cloud-amd64 --output 6.1.json
  $ ovmigrate profile build --vmlinux /usr/lib/debug/boot/vmlinux-5.4.0 --output 5.4.json")]
pub struct Build {
    /// The kernel: vmlinux, or a bzImage (vmlinuz) packed by gzip, xz, zstd or
    /// lz4.
    #[arg(long, value_name = "FILE")]
    vmlinux: PathBuf,
    /// The build's System.map, for a kernel without symbols of its own.
    #[arg(long, value_name = "FILE")]
    system_map: Option<PathBuf>,
    /// Where to write the profile; to standard output by default.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Build {
    pub fn run(self) -> Result<()> {
        let profile = build_profile(&self.vmlinux, self.system_map.as_deref(), &DECLARATIONS)?;
        let looked = lookup(&profile, &DECLARATIONS);
        for item in looked.iter().filter(|item| item.is_missing()) {
            let owner = item.structure.unwrap_or("the kernel");
            tracing::warn!("{}: {owner} has none of: {}", profile.release, item.tried.join(", "));
        }
        let text = profile.to_file();
        match &self.output {
            Some(path) => std::fs::write(path, text)
                .with_context(|| format!("cannot write {}", path.display())),
            None => print(&text),
        }
    }
}
