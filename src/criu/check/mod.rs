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
mod pages;
mod registers;
mod seccomp;
#[cfg(test)]
mod tests;
mod timers;
mod tree;

use std::fmt;

use thiserror::Error;

use super::container::ReadError;
use super::set::ImageSet;
use super::{ImageKind, ImageStore};

/// How many violations are collected; more would tell nothing new.
const MAX_VIOLATIONS: usize = 100;

/// With which options the set is going to be restored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CheckOptions {
    /// `--shell-job`: session and process group may be those of a process
    /// that is not in the set, and are then replaced by those of `restore`.
    pub shell_job: bool,
}

/// Checks a set and gives it decoded.
///
/// # Errors
/// All that is wrong with it.
pub fn check(store: &dyn ImageStore, options: CheckOptions) -> Result<ImageSet, CheckError> {
    let mut findings = Findings::default();
    let set = ImageSet::read(store, &mut findings);
    // What could not be read would be found wrong again in each detail.
    if findings.is_empty() {
        tree::check(&set, options, &mut findings);
        files::check_table(&set, options, &mut findings);
        seccomp::check(&set, &mut findings);
        cgroup::check(&set, &mut findings);
        cpuinfo::check(&set, &mut findings);
        for memory in set.memories.values() {
            pages::check_memory(store, memory, &mut findings);
        }
        for process in set.processes.iter().filter(|process| !process.is_zombie()) {
            core::check(&set, process, &mut findings);
            mm::check(&set, process, &mut findings);
            pages::check_process(store, process, &mut findings);
            files::check_process(&set, process, &mut findings);
        }
    }
    if findings.is_empty() { Ok(set) } else { Err(CheckError { violations: findings.violations }) }
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

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The image's file name.
    pub image: String,
    /// PID or TID of the process or thread it belongs to.
    pub process: Option<u32>,
    /// The field, by its path in the message; empty for the image as a whole.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Violation {
    pub(super) fn new(
        image: String,
        process: Option<u32>,
        field: impl Into<String>,
        problem: impl Into<String>,
    ) -> Self {
        Self { image, process, field: field.into(), problem: problem.into() }
    }

    pub(super) fn missing(image: String) -> Self {
        Self::new(image, None, "", "is missing")
    }

    pub(super) fn unreadable(image: String, error: &ReadError) -> Self {
        Self::new(image, None, "", error.to_string())
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.image)?;
        if let Some(process) = self.process {
            write!(f, " of process {process}")?;
        }
        if self.field.is_empty() {
            write!(f, " {}", self.problem)
        } else {
            write!(f, ": {} {}", self.field, self.problem)
        }
    }
}

/// What a check found so far.
#[derive(Default)]
pub(super) struct Findings {
    violations: Vec<Violation>,
}

impl Findings {
    pub(super) fn add(&mut self, violation: Violation) {
        if !self.is_full() {
            self.violations.push(violation);
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.violations.len() >= MAX_VIOLATIONS
    }

    fn is_empty(&self) -> bool {
        self.violations.is_empty()
    }

    /// The same, for the fields of one image.
    fn of(&mut self, kind: ImageKind, id: u32, process: Option<u32>) -> ImageFindings<'_> {
        ImageFindings { findings: self, image: kind.file_name(id), process }
    }
}

/// Takes what is found in one image.
struct ImageFindings<'a> {
    findings: &'a mut Findings,
    image: String,
    process: Option<u32>,
}

impl ImageFindings<'_> {
    /// Notes that a field is wrong.
    fn add(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        let violation = Violation::new(self.image.clone(), self.process, field, problem);
        self.findings.add(violation);
    }

    /// Notes that a field is wrong unless `holds`.
    fn require(&mut self, holds: bool, field: &str, problem: impl FnOnce() -> String) {
        if !holds {
            self.add(field, problem());
        }
    }

    /// Notes that a field is not there.
    fn absent(&mut self, field: &str) {
        self.add(field, "is absent");
    }
}
