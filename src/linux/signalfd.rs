//! Descriptors that tell of signals: `struct signalfd_ctx` (`fs/signalfd.c`).

use crate::kernel::KernelError;

use super::file::File;
use super::view::Struct;

kernel_struct! {
    /// What a signalfd takes: `struct signalfd_ctx`.
    pub struct SignalfdCtx: "signalfd_ctx" {
        /// The signals that it does not take.
        others: u64 = ["sigmask.sig"],
    }
}

impl<'k> SignalfdCtx<'k> {
    /// What a signalfd takes.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn of(file: &File<'k>) -> Result<Self, KernelError> {
        Self::at(file.kernel(), file.private_data()?)
    }
}
