//! `ovmigrate profile check`.

use std::fmt::Write as _;

use anyhow::{Result, bail};
use clap::Args;
use ovmigrate::attach::find_profile;
use ovmigrate::kernel::{self, Looked, lookup};
use ovmigrate::linux::DECLARATIONS;
use serde_json::json;

use super::super::output::{escaped, print, print_json};
use super::WhichArgs;

/// Check that a kernel has all that ovmigrate reads.
///
/// Lists every structure member and symbol that the program declares: under
/// which of its names this kernel has it, where, and what tells so. What some
/// kernels lack and this one does is marked `absent`. Exit status 1 if something
/// is missing that must be there.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  $ ovmigrate profile check --domain vm1
  found    task_struct.__state  offset 24, 4 bytes: unsigned int  (BTF in guest memory)
  ...
  6.1.0-50-cloud-amd64: 310 found, 25 absent, 0 missing")]
pub struct Check {
    #[command(flatten)]
    which: WhichArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Check {
    pub fn run(self) -> Result<()> {
        let profile = match self.which.domain() {
            Some(domain) => {
                let found = find_profile(
                    &domain.spec(),
                    &self.which.how.knowledge()?,
                    self.which.how.access(),
                )?;
                kernel::Profile::clone(&found)
            }
            None => self.which.stored()?.profile,
        };
        let looked = lookup(&profile, &DECLARATIONS);
        let missing: Vec<_> = looked.iter().filter(|item| item.is_missing()).collect();
        if self.json {
            print_json(&json!({
                "release": profile.release,
                "build_id": profile.build_id,
                "complete": missing.is_empty(),
                "items": looked,
            }))?;
        } else {
            print(&as_text(&profile.release, &looked))?;
        }
        if let Some(first) = missing.first() {
            let (count, release) = (missing.len(), &profile.release);
            let (name, tried) = (called(first, first.name), first.tried.join(", "));
            bail!("kernel {release} lacks {count} of what is read; the first is {name} ({tried})");
        }
        Ok(())
    }
}

/// `structure.name`, or the name of a symbol.
fn called(item: &Looked, name: &str) -> String {
    item.structure.map_or(name.to_owned(), |structure| format!("{structure}.{name}"))
}

fn as_text(release: &str, looked: &[Looked]) -> String {
    let mut text = String::new();
    for item in looked {
        let state = match item.found {
            Some(_) => "found",
            None if item.optional => "absent",
            None => "MISSING",
        };
        let name = called(item, item.found.unwrap_or(item.name));
        // Writing to a string does not fail.
        let _ = write!(text, "{state:<8} {name}");
        if let Some(place) = &item.place {
            let bits = place.bits.map(|bits| format!(", bits {bits}")).unwrap_or_default();
            let (offset, size, of) = (place.offset, place.size, escaped(&place.type_name));
            let _ = write!(text, "  offset {offset}, {size} bytes{bits}: {of}");
        }
        if let Some(addr) = item.address {
            let _ = write!(text, "  {addr:#x}");
        }
        match &item.from {
            Some(from) => _ = writeln!(text, "  ({})", escaped(from)),
            None => _ = writeln!(text, "  (tried: {})", item.tried.join(", ")),
        }
    }
    let count = |wanted: fn(&&Looked) -> bool| looked.iter().filter(wanted).count();
    let _ = writeln!(
        text,
        "{}: {} found, {} absent, {} missing",
        escaped(release),
        count(|item| item.found.is_some()),
        count(|item| item.found.is_none() && !item.is_missing()),
        count(|item| item.is_missing()),
    );
    text
}
