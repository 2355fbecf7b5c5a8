//! Why images could not be restored.

use std::path::PathBuf;

use crate::attach::AttachError;
use crate::control::ControlError;
use crate::domain::DomainError;

/// What can go wrong on the way into the destination guest. In every case but
/// [`Unknown`](RestoreError::Unknown) nothing of the processes runs there, of
/// [`Died`](RestoreError::Died) nothing of the root, and neither images nor
/// devices are left behind.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The images on the host cannot be used.
    #[error("{path}: {reason}")]
    Images {
        /// The image or its directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The guest lacks what the images need; all of it is listed.
    #[error("VM {domain} cannot take the images: {}", .problems.join("; "))]
    Unfit {
        /// The VM.
        domain: String,
        /// One line each.
        problems: Vec<String>,
    },
    /// The images did not arrive.
    #[error("the images did not get into VM {domain}: {reason}")]
    Transfer {
        /// The VM.
        domain: String,
        /// What happened.
        reason: String,
    },
    /// The images cannot go the way that was asked for.
    #[error("the images cannot get into VM {domain} on a disk: {reason}")]
    NoDisk {
        /// The VM.
        domain: String,
        /// Why not.
        reason: String,
    },
    /// The user has ended it before CRIU was at work.
    #[error("interrupted; nothing is left in the VM")]
    Interrupted,
    /// The guest's kernel cannot be read, which has to be done for controlling
    /// terminals.
    #[error(transparent)]
    Kernel(Box<AttachError>),
    /// Processes did not get their controlling terminals.
    #[error("nothing runs in VM {domain}: {source}")]
    Terminals {
        /// The VM.
        domain: String,
        /// What happened.
        source: ControlError,
    },
    /// CRIU failed in the guest.
    #[error("criu restore failed in VM {domain} ({status}): {}", .log.join("; "))]
    Criu {
        /// The VM.
        domain: String,
        /// How it ended.
        status: String,
        /// The lines of its log that tell why.
        log: Vec<String>,
    },
    /// CRIU reported success, but the process is gone.
    #[error(
        "criu restored process {pid} in VM {domain}, but it ended at once; \
         the VM's kernel log may tell why"
    )]
    Died {
        /// The VM.
        domain: String,
        /// The process.
        pid: u32,
    },
    /// CRIU was started, and how it ended did not come back.
    #[error(
        "criu restore was begun in VM {domain}, but how it ended is not known: {reason}; \
         see there whether process {pid} runs before you let it go on anywhere else"
    )]
    Unknown {
        /// The VM.
        domain: String,
        /// The root of the tree.
        pid: u32,
        /// What happened.
        reason: String,
    },
    /// The VM cannot be reached.
    #[error(transparent)]
    Domain(#[from] DomainError),
}
