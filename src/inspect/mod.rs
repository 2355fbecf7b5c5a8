//! Processes as the guest's own `/proc` shows them, as plain data.
//!
//! The guest runs meanwhile. A walk can meet a task that is being reaped, or
//! memory that has become something else; it is then begun anew, a few times
//! ([`settled`](crate::linux::settled)). What is returned was read within some milliseconds and need
//! not all be of one moment.
//!
//! | file | what it gathers |
//! |---|---|
//! | `process` | all processes and their threads, as `ps` lists them |
//! | `details` | one process: IDs, paths and all that follows |
//! | `credentials`, `signals`, `limits` | `/proc/PID/status` and `/proc/PID/limits` |
//! | `maps` | `/proc/PID/maps` |
//! | `files` | `/proc/PID/fd` and `/proc/PID/fdinfo` |

mod credentials;
mod details;
mod files;
mod limits;
mod maps;
mod process;
mod signals;

use crate::kernel::KernelError;

pub use credentials::Credentials;
pub use details::{Details, Namespaces};
pub use files::OpenFile;
pub use limits::{Limit, Limits};
pub use maps::Mapping;
pub use process::{Process, Thread, processes};
pub use signals::Signals;

/// Why a process could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// There is no such process.
    #[error("there is no process {0} in the VM (see `ovmigrate ps`)")]
    NoProcess(i32),
    /// The guest kernel could not be read, however often it was tried.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}
