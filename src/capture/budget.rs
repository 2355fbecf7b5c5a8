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
        Self::new(kernel.space().memory().len())
    }

    fn new(ram: u64) -> Self {
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

    /// Takes what `count` of these are kept in.
    ///
    /// # Errors
    ///
    /// [`CaptureError::TooMuchContent`].
    pub(super) fn take_for<T>(&mut self, count: usize) -> Result<(), CaptureError> {
        self.take((count as u64).saturating_mul(size_of::<T>() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is() {
        let mut budget = Budget::new(64);
        budget.take_for::<u64>(7).unwrap();
        assert!(matches!(budget.take(9), Err(CaptureError::TooMuchContent { ram: 64 })));
        budget.take(8).unwrap();
        assert!(budget.take(1).is_err());
        assert!(budget.take_for::<u64>(usize::MAX).is_err());
    }
}
