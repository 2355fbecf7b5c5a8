//! Why a process could not be signalled, frozen or thawed.

use std::time::Duration;

use crate::domain::DomainError;
use crate::kernel::KernelError;

/// Why a process could not be controlled from outside.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The VM could not be paused, interrupted or continued.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// The guest kernel could not be read or written.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// There is no such process.
    #[error("there is no process {0} in the VM (see `ovmigrate ps`)")]
    NoProcess(i32),
    /// The number belongs to a thread that is not its process's first.
    #[error("{tid} is a thread of process {tgid}: give the PID of the process")]
    NotALeader {
        /// The number that was given.
        tid: i32,
        /// The process it belongs to.
        tgid: i32,
    },
    /// The process is of a kind that cannot be controlled.
    #[error("process {pid} ({comm}) {why}")]
    Unsuitable {
        /// The process.
        pid: i32,
        /// Its name.
        comm: String,
        /// What is the matter with it.
        why: String,
    },
    /// The process ended meanwhile.
    #[error("process {pid} ({comm}) has ended")]
    Gone {
        /// The process.
        pid: i32,
        /// Its name.
        comm: String,
    },
    /// The process cannot be given a controlling terminal.
    #[error("process {pid} cannot get the controlling terminal of its session: {why}")]
    NoTerminal {
        /// The process.
        pid: i32,
        /// What is in the way.
        why: &'static str,
    },
    /// It did not take effect in time.
    #[error("process {pid} ({comm}) did not {goal} within {}: {why}", humantime::format_duration(*within))]
    TimedOut {
        /// The process.
        pid: i32,
        /// Its name.
        comm: String,
        /// What was waited for.
        goal: &'static str,
        /// What it does instead.
        why: String,
        /// How long was waited.
        within: Duration,
    },
}
