//! What is measured: a file for each suite.

mod growth;
mod limit;
mod load;
mod memory;
mod native;
mod neighbour;

use std::fmt;

use serde::Serialize;

use super::Options;
use super::error::{BenchError, Result};
use super::guest::Guest;
use super::pin;
use super::report::SuiteReport;

/// A set of measurements with one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Suite {
    /// How near does a save come to what the host can do?
    Limit,
    /// How does that compare with CRIU where there is no VM?
    Native,
    /// What do other things that the VM does cost a save?
    Load,
    /// What if the host has less memory than the process?
    Memory,
    /// What do saves cost others in the VM?
    Neighbour,
    /// What does a save's time grow with?
    Growth,
}

impl Suite {
    /// In the order in which they run.
    pub const ALL: &[Self] =
        &[Self::Limit, Self::Native, Self::Load, Self::Memory, Self::Neighbour, Self::Growth];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Native => "native",
            Self::Load => "load",
            Self::Memory => "memory",
            Self::Neighbour => "neighbour",
            Self::Growth => "growth",
        }
    }

    pub(super) fn run(self, options: &Options) -> Result<SuiteReport> {
        let mut report = SuiteReport { name: self.name(), ..SuiteReport::default() };
        let run = match self {
            Self::Limit => limit::run,
            Self::Native => native::run,
            Self::Load => load::run,
            Self::Memory => memory::run,
            Self::Neighbour => neighbour::run,
            Self::Growth => growth::run,
        };
        match run(options, &mut report) {
            Err(BenchError::Interrupted) => return Err(BenchError::Interrupted),
            Err(error) => report.error = Some(error.to_string()),
            Ok(()) => {}
        }
        Ok(report)
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A number of mebibytes for people.
fn size(mebibytes: u64) -> String {
    match mebibytes {
        size if size >= 1024 && size.is_multiple_of(1024) => format!("{} GiB", size / 1024),
        size => format!("{size} MiB"),
    }
}

/// Keeps a VM's virtual CPUs on the first CPU that there is. Returns the others,
/// and says so.
fn apart(guest: &Guest) -> Result<(Vec<usize>, String)> {
    let cpus = pin::available()?;
    match &cpus[..] {
        [first, others @ ..] if !others.is_empty() => {
            let note = format!("{}; ovmigrate on {others:?}", guest.pin(*first, others)?);
            Ok((others.to_vec(), note))
        }
        _ => Err(BenchError::Lacks(
            "two CPUs are needed: one for the VM and one for ovmigrate".to_owned(),
        )),
    }
}

/// Memory of a VM, in MiB, in which a process of so many MiB can be restored:
/// process and images are there at the same time.
fn guest_memory(mebibytes: u64) -> u64 {
    2 * mebibytes + mebibytes / 4 + 1024
}
