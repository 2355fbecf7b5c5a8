//! Why a measurement cannot be made.

use std::io;
use std::path::{Path, PathBuf};

/// Why a measurement cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The user wants it to end.
    #[error("interrupted")]
    Interrupted,
    /// Something on the host cannot be read, written or started.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A command failed, or said what nobody expects.
    #[error("{command}: {reason}")]
    Command {
        /// The command.
        command: String,
        /// Its complaint.
        reason: String,
    },
    /// The machine lacks something.
    #[error("{0}")]
    Lacks(String),
}

/// A result of this room.
pub type Result<T> = std::result::Result<T, BenchError>;

impl BenchError {
    /// Makes an error of the failure of `action` with `path`.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// What a command's failure is told as.
    pub(super) fn command(command: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Command { command: command.into(), reason: reason.into() }
    }
}
