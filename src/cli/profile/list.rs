//! `ovmigrate profile list`.

use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;
use ovmigrate::kernel::{Knowledge, KnownProfile};
use serde_json::json;

use super::super::output::{escaped, print, print_json};

/// List the stored profiles: release, build ID, origin and place of each.
///
/// Those of the profile folders and those that are built in are used for guests
/// whose memory does not tell their types. Those in the cache are what earlier
/// attaches found in guests' memory, and serve the next attach to the same.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  $ ovmigrate profile list
  RELEASE                BUILD ID      ORIGIN                          PLACE
  6.1.0-50-cloud-amd64   bb603a9147d3  BTF of vmlinuz-6.1.0-50-cl...   built in (...)
  ...")]
pub struct List {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl List {
    pub fn run(self) -> Result<()> {
        let Knowledge { library, cache, .. } = Knowledge::user();
        let known: Vec<_> = library.all().chain(cache.profiles()).collect();
        if self.json {
            return print_json(&known.iter().map(as_json).collect::<Vec<_>>());
        }
        print(&as_text(&known))
    }
}

fn as_json(known: &KnownProfile) -> serde_json::Value {
    let profile = &known.profile;
    json!({
        "release": profile.release,
        "build_id": profile.build_id,
        "origin": profile.origin,
        "place": known.place.to_string(),
    })
}

fn as_text(known: &[KnownProfile]) -> String {
    let head = ["RELEASE", "BUILD ID", "ORIGIN", "PLACE"].map(str::to_owned);
    let rows = known.iter().map(|KnownProfile { profile, place }| {
        let build_id: String = profile.build_id.chars().take(12).collect();
        let origin = escaped(&profile.origin.to_string());
        [escaped(&profile.release), escaped(&build_id), origin, escaped(&place.to_string())]
    });
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    let mut text = String::new();
    for [release, build_id, origin, place] in &rows {
        let [a, b, c] = widths;
        // Writing to a string does not fail.
        let _ = writeln!(text, "{release:<a$}  {build_id:<b$}  {origin:<c$}  {place}");
    }
    text
}
