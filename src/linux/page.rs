//! Page frames: `struct page`.

use crate::kernel::{Kernel, KernelError};
use crate::memory::{GuestPhys, GuestVirt};

use super::view::Struct;

kernel_struct! {
    /// What the kernel knows about a frame: `struct page`.
    pub struct Page: "page" {
        /// The file that it belongs to, or with the lowest bit set
        /// (`PAGE_MAPPING_ANON`) the `anon_vma`.
        mapping: u64 = ["mapping"],
        /// Of a tail page, the address of its head plus one.
        compound_head: u64 = ["compound_info", "compound_head"],
    }
}

/// `PAGE_MAPPING_ANON` (`include/linux/page-flags.h`).
const MAPPING_ANON: u64 = 1;

impl<'k> Page<'k> {
    /// The descriptor of the frame at `phys`, in `vmemmap`.
    ///
    /// # Errors
    ///
    /// [`KernelError::MissingStruct`].
    pub fn of_frame(kernel: &'k Kernel, phys: GuestPhys) -> Result<Self, KernelError> {
        let first = Self::at(kernel, kernel.vmemmap())?;
        let offset = phys.pfn().get().wrapping_mul(first.size());
        Self::at(kernel, kernel.vmemmap().wrapping_add(offset))
    }

    /// Whether the frame holds anonymous memory, a copy of a private file page
    /// among it: `PageAnon()`.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn is_anonymous(&self) -> Result<bool, KernelError> {
        let head = match self.compound_head()? {
            tail if tail & 1 == 1 => Self::at(self.kernel(), GuestVirt::new(tail - 1))?,
            _ => *self,
        };
        Ok(head.mapping()? & MAPPING_ANON != 0)
    }
}
