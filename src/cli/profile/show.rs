//! `ovmigrate profile show`.

use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;
use ovmigrate::attach::Attachment;
use ovmigrate::kernel::KnownProfile;
use ovmigrate::memory::PageTableLevels;
use serde_json::json;

use super::super::output::{escaped, milliseconds, print, print_json};
use super::WhichArgs;

/// Show the kernel that runs in a VM and where it was found, or a stored profile.
///
/// With --domain: the profile that the VM's kernel is read by, and how it was
/// found; --json prints all of the profile. With PROFILE: a stored one, whole.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  $ ovmigrate profile show --domain vm1
  release      6.1.0-50-cloud-amd64
  ...
  $ ovmigrate profile show 6.1.0-50-cloud-amd64
  release   6.1.0-50-cloud-amd64
  ...")]
pub struct Show {
    #[command(flatten)]
    which: WhichArgs,
    /// Print JSON, with all symbols and structures.
    #[arg(long)]
    json: bool,
}

impl Show {
    pub fn run(self) -> Result<()> {
        if let Some(domain) = self.which.domain() {
            let attachment = self.which.how.attach(&domain.spec())?;
            return match self.json {
                true => print_json(&as_json(&attachment)),
                false => print(&as_text(&attachment)),
            };
        }
        let KnownProfile { profile, place } = self.which.stored()?;
        match self.json {
            true => print(&profile.to_file()),
            false => print(&format!("{profile}\nstored at {place}\n")),
        }
    }
}

fn levels(levels: PageTableLevels) -> u8 {
    match levels {
        PageTableLevels::Four => 4,
        PageTableLevels::Five => 5,
    }
}

fn as_json(attachment: &Attachment) -> serde_json::Value {
    let (located, report) = (attachment.kernel.located(), &attachment.report);
    json!({
        "profile": **attachment.kernel.profile(),
        "located": {
            "kaslr_offset": located.kaslr_offset,
            "phys_base": located.phys_base,
            "page_table": located.page_table,
            "page_table_levels": levels(located.levels),
        },
        "attach": {
            "profile_from": report.kernel.profile_from.to_string(),
            "found_by": report.kernel.found_by.to_string(),
            "find_seconds": report.find.as_secs_f64(),
            "map_seconds": report.map.as_secs_f64(),
            "kernel_seconds": report.kernel.durations.total.as_secs_f64(),
        },
    })
}

fn as_text(attachment: &Attachment) -> String {
    let (profile, located) = (attachment.kernel.profile(), attachment.kernel.located());
    let report = &attachment.report;
    let fields: usize = profile.structs.values().map(|known| known.members.len()).sum();
    let from = &report.kernel.profile_from;
    let attach = [
        ("in all", report.total()),
        ("finding QEMU", report.find),
        ("mapping RAM", report.map),
        ("finding the kernel", report.kernel.durations.find),
        ("its profile", report.kernel.durations.profile),
    ];
    let attach = attach.map(|(what, time)| format!("{what} {}", milliseconds(time))).join(", ");
    let rows = [
        ("release", escaped(&profile.release)),
        ("build ID", escaped(&profile.build_id)),
        ("origin", escaped(&format!("{} ({from})", profile.origin))),
        ("structures", format!("{}, with {fields} fields", profile.structs.len())),
        ("symbols", profile.symbols.len().to_string()),
        ("found by", report.kernel.found_by.to_string()),
        ("KASLR", format!("moved by {:#x}", located.kaslr_offset)),
        // The image is mapped from `__START_KERNEL_map` on; `phys_base` may be
        // negative.
        ("phys_base", format!("{:#x}", located.phys_base)),
        (
            "page table",
            format!("guest-physical {}, {} levels", located.page_table, levels(located.levels)),
        ),
        ("attach", attach),
    ];
    let mut text = String::new();
    for (name, value) in rows {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name:<12} {value}");
    }
    text
}
