//! Walks over a guest that runs on.

use std::thread::sleep;
use std::time::Duration;

use crate::kernel::KernelError;

/// How often a walk is begun anew.
const ATTEMPTS: u32 = 10;
/// How long is waited in between: a task is reaped in less.
const PATIENCE: Duration = Duration::from_millis(2);

/// The result of a walk that was not disturbed, or the error of the last
/// attempt. The kernel's own readers are kept from what is being freed by
/// `rcu_read_lock()`; a walk from outside can meet it, and is then begun anew.
///
/// # Errors
///
/// What the walk says at last.
pub fn settled<T>(mut walk: impl FnMut() -> Result<T, KernelError>) -> Result<T, KernelError> {
    let mut attempt = 1;
    loop {
        match walk() {
            Err(error) if attempt < ATTEMPTS && may_pass(&error) => {
                tracing::debug!("the guest changed while it was read: {error}");
                attempt += 1;
                sleep(PATIENCE);
            }
            result => return result,
        }
    }
}

fn may_pass(error: &KernelError) -> bool {
    use KernelError::{Corrupt, Memory, Moving, Read};
    matches!(error, Memory(_) | Read { .. } | Corrupt { .. } | Moving)
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
            Err(KernelError::MissingStruct { release: "6.1".into(), structure: "task_struct" })
        });
        assert!(matches!(result, Err(KernelError::MissingStruct { .. })));
        assert_eq!(attempts, 1);
    }
}
