//! What is measured: a file for each suite.

mod growth;
mod limit;
mod load;
mod memory;
mod native;
mod neighbour;
mod restore;

use std::fmt;

use serde::Serialize;

use super::Options;
use super::error::{BenchError, Result};
use super::guest::Guest;
use super::machine;
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
    /// How near does a restore come to that of images in the VM's memory?
    Restore,
}

impl Suite {
    /// In the order in which they run.
    pub const ALL: &[Self] = &[
        Self::Limit,
        Self::Native,
        Self::Load,
        Self::Memory,
        Self::Neighbour,
        Self::Growth,
        Self::Restore,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Native => "native",
            Self::Load => "load",
            Self::Memory => "memory",
            Self::Neighbour => "neighbour",
            Self::Growth => "growth",
            Self::Restore => "restore",
        }
    }

    /// What it found up to its end, or up to what ended it early.
    pub(super) fn run(self, options: &Options) -> SuiteReport {
        let mut report = SuiteReport { name: self.name(), ..SuiteReport::default() };
        let run = match self {
            Self::Limit => limit::run,
            Self::Native => native::run,
            Self::Load => load::run,
            Self::Memory => memory::run,
            Self::Neighbour => neighbour::run,
            Self::Growth => growth::run,
            Self::Restore => restore::run,
        };
        report.error = run(options, &mut report).err().map(|error| error.to_string());
        report
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the pauses of a save are compared with.
const PAUSE: &str = "stop and cont";

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

/// The sizes in MiB for which the host has the memory that they `need`, in MiB.
/// Says so where those are not all.
fn affordable(
    sizes: &[u64],
    need: impl Fn(u64) -> u64,
    report: &mut SuiteReport,
) -> Result<Vec<u64>> {
    let available = machine::memory("MemAvailable")? >> 20;
    let fitting: Vec<u64> = sizes.iter().copied().filter(|size| need(*size) < available).collect();
    match (&fitting[..], sizes) {
        ([.., last], all) if fitting.len() < all.len() => {
            let note = format!("no more than {}: {available} MiB are available", self::size(*last));
            report.note(note);
        }
        ([], [first, ..]) => {
            let need = need(*first);
            let lacks = format!("{need} MiB of memory are needed, {available} MiB are available");
            return Err(BenchError::Lacks(lacks));
        }
        _ => {}
    }
    Ok(fitting)
}

/// Memory of a VM, in MiB, in which a process of so many MiB can be restored:
/// process and images are there at the same time.
fn guest_memory(mebibytes: u64) -> u64 {
    2 * mebibytes + mebibytes / 4 + 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_do_not_fit_into_memory_are_left_out_and_that_is_said() {
        let mut report = SuiteReport::default();
        let all = affordable(&[1, 2, 3], |_| 0, &mut report).unwrap();
        assert_eq!((all, report.notes.len()), (vec![1, 2, 3], 0));
        let much = |size| if size > 1 { u64::MAX } else { 0 };
        let fitting = affordable(&[1, 2, 3], much, &mut report).unwrap();
        assert_eq!((fitting, report.notes.len()), (vec![1], 1));
        let error = affordable(&[2, 3], much, &mut report).unwrap_err();
        assert!(error.to_string().contains("are needed"), "{error}");
    }
}
