//! Processes as the guest's own `/proc` shows them, as plain data.
//!
//! The guest runs meanwhile. A walk can meet a task that is being reaped, or
//! memory that has become something else; it is then begun anew, a few times
//! ([`settled`]). What is returned was read within some milliseconds and need
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

use std::thread::sleep;
use std::time::Duration;

use crate::kernel::KernelError;

pub use credentials::Credentials;
pub use details::{Details, Namespaces};
pub use files::OpenFile;
pub use limits::{Limit, Limits};
pub use maps::Mapping;
pub use process::{Process, Thread, processes};
pub use signals::Signals;

/// How often a walk over a running guest is begun anew.
const ATTEMPTS: u32 = 10;
/// How long is waited in between: a task is reaped in less.
const PATIENCE: Duration = Duration::from_millis(2);

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

/// The result of a walk that was not disturbed by what the guest did
/// meanwhile, or the error of the last attempt.
fn settled<T, E>(mut walk: impl FnMut() -> Result<T, E>) -> Result<T, E>
where
    E: MayPass + std::fmt::Display,
{
    let mut attempt = 1;
    loop {
        match walk() {
            Err(error) if attempt < ATTEMPTS && error.may_pass() => {
                tracing::debug!("the guest changed while it was read: {error}");
                attempt += 1;
                sleep(PATIENCE);
            }
            result => return result,
        }
    }
}

/// An error that may be one of reading memory that changed meanwhile.
trait MayPass {
    fn may_pass(&self) -> bool;
}

impl MayPass for KernelError {
    fn may_pass(&self) -> bool {
        matches!(self, Self::Memory(_) | Self::Read { .. } | Self::Corrupt { .. })
    }
}

impl MayPass for InspectError {
    fn may_pass(&self) -> bool {
        matches!(self, Self::Kernel(error) if error.may_pass())
    }
}

#[cfg(test)]
mod tests {
    use crate::memory::GuestVirt;

    use super::*;

    fn torn() -> KernelError {
        KernelError::Corrupt { what: "list".into(), addr: GuestVirt::NULL, why: "torn".into() }
    }

    #[test]
    fn a_walk_that_was_disturbed_is_begun_anew() {
        let mut attempts = 0;
        let result = settled(|| {
            attempts += 1;
            if attempts < 3 { Err(torn()) } else { Ok(attempts) }
        });
        assert_eq!(result.unwrap(), 3);
    }

    #[test]
    fn a_walk_that_stays_disturbed_ends() {
        let mut attempts = 0;
        let result: Result<(), _> = settled(|| {
            attempts += 1;
            Err(torn())
        });
        assert!(matches!(result, Err(KernelError::Corrupt { .. })));
        assert_eq!(attempts, ATTEMPTS);
    }

    #[test]
    fn what_does_not_pass_is_not_waited_for() {
        let mut attempts = 0;
        let result: Result<(), _> = settled(|| {
            attempts += 1;
            Err(InspectError::NoProcess(1))
        });
        assert!(matches!(result, Err(InspectError::NoProcess(1))));
        assert_eq!(attempts, 1);
    }
}
