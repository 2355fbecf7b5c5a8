//! What stands in the way of saving a process.

use std::fmt;

use serde::Serialize;

use crate::control::Target;

/// A piece of state that cannot be saved.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Obstacle {
    /// The process.
    pub pid: i32,
    /// Its name.
    pub comm: String,
    /// What it has, for example `fd 7 is a BPF map`.
    pub what: String,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, comm, what } = self;
        write!(f, "process {pid} ({comm}): {what}, which save does not support yet")
    }
}

/// A process that has obstacles.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pid: i32,
    comm: String,
}

impl Subject {
    /// Something that the process has.
    pub(super) fn obstacle(&self, what: impl Into<String>) -> Obstacle {
        Obstacle { pid: self.pid, comm: self.comm.clone(), what: what.into() }
    }
}

/// Obstacles of one kind and process that are kept.
const MOST: usize = 4096;

/// Collects the obstacles of one process.
pub(super) struct Obstacles {
    subject: Subject,
    found: Vec<Obstacle>,
}

impl Obstacles {
    pub(super) fn of(target: &Target<'_>) -> Self {
        Self::named(target.pid(), target.comm())
    }

    pub(super) fn named(pid: i32, comm: &str) -> Self {
        Self::about(Subject { pid, comm: comm.to_owned() })
    }

    pub(super) fn about(subject: Subject) -> Self {
        Self { subject, found: Vec::new() }
    }

    /// Notes that the process has something; `what` is a clause like
    /// `fd 7 is a BPF map`. More than anybody reads are not kept.
    pub(super) fn add(&mut self, what: impl Into<String>) {
        if self.found.len() < MOST {
            self.found.push(self.subject.obstacle(what));
        }
    }

    /// The process that [`add`](Self::add) speaks of.
    pub(super) fn subject(&self) -> Subject {
        self.subject.clone()
    }

    /// Notes `what` where `present`.
    pub(super) fn add_if(&mut self, present: bool, what: impl Into<String>) {
        if present {
            self.add(what);
        }
    }

    /// Whether nothing was found so far.
    pub(super) fn are_none(&self) -> bool {
        self.found.is_empty()
    }

    pub(super) fn into_vec(self) -> Vec<Obstacle> {
        self.found
    }
}
