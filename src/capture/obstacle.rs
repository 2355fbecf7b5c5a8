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
    /// What it has, for example `fd 7 is an epoll instance`.
    pub what: String,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, comm, what } = self;
        write!(f, "process {pid} ({comm}): {what}, which save does not support yet")
    }
}

/// Collects the obstacles of one process.
pub(super) struct Obstacles {
    pid: i32,
    comm: String,
    found: Vec<Obstacle>,
}

impl Obstacles {
    pub(super) fn of(target: &Target<'_>) -> Self {
        Self::named(target.pid(), target.comm())
    }

    pub(super) fn named(pid: i32, comm: &str) -> Self {
        Self { pid, comm: comm.to_owned(), found: Vec::new() }
    }

    /// Notes that the process has something; `what` is a clause like
    /// `fd 7 is an epoll instance`.
    pub(super) fn add(&mut self, what: impl Into<String>) {
        self.found.push(Obstacle { pid: self.pid, comm: self.comm.clone(), what: what.into() });
    }

    /// Notes `what` where `present`.
    pub(super) fn add_if(&mut self, present: bool, what: impl Into<String>) {
        if present {
            self.add(what);
        }
    }

    pub(super) fn into_vec(self) -> Vec<Obstacle> {
        self.found
    }
}
