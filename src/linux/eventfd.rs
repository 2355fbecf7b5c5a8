//! Counters that tell of events: `struct eventfd_ctx` (`fs/eventfd.c`).

use crate::kernel::KernelError;

use super::file::File;
use super::view::Struct;

kernel_struct! {
    /// A counter of `eventfd()`: `struct eventfd_ctx`.
    pub struct EventfdCtx: "eventfd_ctx" {
        /// References to it: that of its file, and of parts of the kernel that
        /// signal it.
        references: u32 = ["kref.refcount.refs.counter"],
        /// What it has counted.
        count: u64 = ["count"],
        /// `EFD_*`.
        flags: u32 = ["flags"],
    }
}

impl<'k> EventfdCtx<'k> {
    /// The counter of an eventfd.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn of(file: &File<'k>) -> Result<Self, KernelError> {
        Self::at(file.kernel(), file.private_data()?)
    }
}
