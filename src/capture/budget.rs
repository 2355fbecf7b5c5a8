//! How much of a guest's memory is copied into a snapshot.

use crate::kernel::Kernel;

use super::error::CaptureError;

/// What may still be copied, in bytes: all of it together cannot be more than
/// the guest's RAM, unless the same frames are named again and again.
pub(super) struct Budget {
    ram: u64,
    left: u64,
}

impl Budget {
    pub(super) fn of(kernel: &Kernel) -> Self {
        let ram = kernel.space().memory().len();
        Self { ram, left: ram }
    }

    /// Takes `bytes` from it.
    ///
    /// # Errors
    ///
    /// [`CaptureError::TooMuchContent`].
    pub(super) fn take(&mut self, bytes: u64) -> Result<(), CaptureError> {
        let left = self.left.checked_sub(bytes);
        self.left = left.ok_or(CaptureError::TooMuchContent { ram: self.ram })?;
        Ok(())
    }
}
