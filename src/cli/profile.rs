//! `ovmigrate profile`.

use std::fmt::Write as _;

use anyhow::Result;
use clap::{Args, Subcommand};
use ovmigrate::attach::Attachment;
use ovmigrate::memory::PageTableLevels;
use serde_json::json;

use super::AttachArgs;
use super::output::{escaped, milliseconds, print, print_json};

/// What is known of a guest's kernel.
#[derive(Debug, Args)]
pub struct Profile {
    #[command(subcommand)]
    command: ProfileCommand,
}

#[derive(Debug, Subcommand)]
enum ProfileCommand {
    Show(Show),
}

impl Profile {
    pub fn run(self) -> Result<()> {
        match self.command {
            ProfileCommand::Show(show) => show.run(),
        }
    }
}

/// Show the kernel that runs in a VM and where it was found.
///
/// The profile holds the symbols and structure layouts that ovmigrate reads.
/// It is built from what lies in the guest's memory and kept by the kernel's
/// build ID; --json prints all of it.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  $ ovmigrate profile show --domain vm1
  release      6.1.0-50-cloud-amd64
  ...")]
struct Show {
    #[command(flatten)]
    vm: AttachArgs,
    /// Print JSON, with all symbols and structures.
    #[arg(long)]
    json: bool,
}

impl Show {
    fn run(self) -> Result<()> {
        let attachment = self.vm.attach()?;
        if self.json { print_json(&as_json(&attachment)) } else { print(&as_text(&attachment)) }
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
            "from_cache": report.kernel.from_cache,
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
    let found = if report.kernel.from_cache { "cached" } else { "built now" };
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
        ("origin", format!("{} ({found})", profile.origin)),
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
