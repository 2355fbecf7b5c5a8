//! Waiting for pages that the guest's kernel is moving.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::super::error::CaptureError;

/// After how long pages are looked at again.
const PAUSE: Duration = Duration::from_millis(2);

/// What `find` finds once no page that it looks for is on the move. That may take
/// `patience`: the kernel's threads that move pages have the lowest priority, and
/// take seconds where the VM is overloaded.
///
/// # Errors
///
/// Those of `find`.
pub(super) fn patiently<T>(
    patience: Duration,
    find: impl Fn() -> Result<T, CaptureError>,
) -> Result<T, CaptureError> {
    let started = Instant::now();
    loop {
        match find() {
            Err(error) if is_passing(&error) && started.elapsed() < patience => {
                tracing::debug!("pages are being moved: {error}");
                sleep(PAUSE);
            }
            result => return result,
        }
    }
}

fn is_passing(error: &CaptureError) -> bool {
    matches!(
        error,
        CaptureError::MovingPage { .. }
            | CaptureError::MovingMemory { .. }
            | CaptureError::UncountedPages { .. }
    )
}
