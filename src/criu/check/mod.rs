//! The check of a finished image set, before the process it was taken from is
//! killed and before it is brought into a guest.
//!
//! Some mistakes make `criu restore` refuse a set, others crash it, let it hang
//! or let it succeed with a dead process: a pages file that is too short keeps
//! the restorer in a loop, reserved bits in MXCSR or a wrong CS kill the process
//! at its first step while `restore` exits with 0. Each rule says what happens
//! when it is broken, as seen with CRIU 3.17.1, 4.1.1 and 4.2.1.

mod cgroup;
mod core;
mod cpuinfo;
mod files;
mod mm;
mod options;
mod pages;
mod registers;
mod seccomp;
#[cfg(test)]
mod tests;
mod timers;
mod tree;

use std::fmt;

use thiserror::Error;

pub use options::CheckOptions;

use super::ImageStore;
use super::budget::Budget;
use super::findings::{Findings, Violation};
use super::set::ImageSet;

/// Checks a set and gives it decoded.
///
/// # Errors
/// All that is wrong with it.
pub fn check(store: &dyn ImageStore, options: CheckOptions) -> Result<ImageSet, CheckError> {
    check_within(store, options, Budget::of_set())
}

/// The same, with what the records may weigh.
fn check_within(
    store: &dyn ImageStore,
    options: CheckOptions,
    budget: Budget,
) -> Result<ImageSet, CheckError> {
    let mut findings = Findings::default();
    let set = ImageSet::read(store, budget, &mut findings);
    // What could not be read would be found wrong again in each detail.
    if findings.is_empty() {
        tree::check(&set, options, &mut findings);
        files::check_table(&set, options, &mut findings);
        seccomp::check(&set, &mut findings);
        cgroup::check(&set, &mut findings);
        cpuinfo::check(&set, &mut findings);
        for memory in set.memories.values() {
            if findings.is_full() {
                break;
            }
            pages::check_memory(store, memory, &mut findings);
        }
        for process in set.processes.iter().filter(|process| !process.is_zombie()) {
            if findings.is_full() {
                break;
            }
            core::check(&set, process, &mut findings);
            mm::check(&set, process, &mut findings);
            pages::check_process(store, process, &mut findings);
            files::check_process(&set, process, &mut findings);
        }
    }
    if findings.is_empty() {
        Ok(set)
    } else {
        Err(CheckError { violations: findings.into_violations() })
    }
}

/// Why a set must not be restored.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub struct CheckError {
    /// All that is wrong, at least one and at most 100.
    pub violations: Vec<Violation>,
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("images cannot be restored: ")?;
        for (position, violation) in self.violations.iter().enumerate() {
            let separator = if position == 0 { "" } else { "; " };
            write!(f, "{separator}{violation}")?;
        }
        Ok(())
    }
}
