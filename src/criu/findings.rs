//! What is found wrong with images while they are read and checked.

use std::fmt;

use super::container::{ImageKind, ReadError};

/// How many violations are collected; more would tell nothing new.
const MAX_VIOLATIONS: usize = 100;

/// How much is said of each, in bytes: names and values of images can be as long as
/// these are.
const LONGEST: usize = 2000;

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
    pub(super) fn add(&mut self, mut violation: Violation) {
        if !self.is_full() {
            shorten(&mut violation.problem);
            self.violations.push(violation);
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.violations.len() >= MAX_VIOLATIONS
    }

    pub(super) fn is_empty(&self) -> bool {
        self.violations.is_empty()
    }

    pub(super) fn into_violations(self) -> Vec<Violation> {
        self.violations
    }

    /// The same, for the fields of one image.
    pub(super) fn of(
        &mut self,
        kind: ImageKind,
        id: u32,
        process: Option<u32>,
    ) -> ImageFindings<'_> {
        ImageFindings { findings: self, image: kind.file_name(id), process }
    }
}

/// Takes what is found in one image.
pub(super) struct ImageFindings<'a> {
    pub(super) findings: &'a mut Findings,
    pub(super) image: String,
    pub(super) process: Option<u32>,
}

impl ImageFindings<'_> {
    /// Notes that a field is wrong.
    pub(super) fn add(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        let violation = Violation::new(self.image.clone(), self.process, field, problem);
        self.findings.add(violation);
    }

    /// Notes that a field is wrong unless `holds`.
    pub(super) fn require(&mut self, holds: bool, field: &str, problem: impl FnOnce() -> String) {
        if !holds && !self.findings.is_full() {
            self.add(field, problem());
        }
    }

    /// Notes that a field is not there.
    pub(super) fn absent(&mut self, field: &str) {
        self.add(field, "is absent");
    }
}

fn shorten(text: &mut String) {
    if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|&end| text.is_char_boundary(end));
        text.truncate(end.unwrap_or(0));
        text.push_str(" …");
        text.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_is_told_in_part() {
        let mut findings = Findings::default();
        for problem in ["is short".to_owned(), "ä".repeat(5000)] {
            findings.add(Violation::new("a.img".into(), None, "", problem));
        }
        let [short, long] = &findings.into_violations()[..] else { panic!("two") };
        assert_eq!(short.problem, "is short");
        assert!(long.problem.starts_with("ää") && long.problem.ends_with("ä …"));
        assert!(long.problem.len() <= LONGEST + 4, "{}", long.problem.len());
    }
}
