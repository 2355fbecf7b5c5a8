//! The parts that security modules have of credentials and tasks
//! (`include/linux/lsm_hooks.h`).

use crate::kernel::{Kernel, KernelError};
use crate::memory::GuestVirt;

use super::view::Struct;

kernel_struct! {
    /// Where a security module has its part of other structures:
    /// `struct lsm_blob_sizes`.
    (optional) pub struct LsmBlobSizes: "lsm_blob_sizes" {
        /// Offset of its part in what `cred.security` points to.
        cred: u32 = ["lbs_cred"],
        /// Offset of its part in what `task_struct.security` points to.
        task: u32 = ["lbs_task"],
    }
}

kernel_struct! {
    /// SELinux: `struct selinux_state`.
    (optional) pub struct SelinuxState: "selinux_state" {
        /// Whether a policy is loaded.
        initialized: bool = ["initialized"],
    }
}

impl<'k> LsmBlobSizes<'k> {
    /// The offsets in the variable `sizes`, if the module is at work, which the
    /// variable `initialized` says: where it is built in and switched off, none
    /// were ever assigned.
    pub(super) fn of(
        kernel: &'k Kernel,
        sizes: &'static str,
        initialized: &'static str,
    ) -> Result<Option<Self>, KernelError> {
        let (Some(sizes), Some(initialized)) = (kernel.symbol(sizes), kernel.symbol(initialized))
        else {
            return Ok(None);
        };
        let mut is_on = [0];
        kernel.read(initialized, &mut is_on)?;
        if is_on == [0] { Ok(None) } else { Self::at(kernel, sizes).map(Some) }
    }
}

/// Whether SELinux is at work, which labels each task and file.
///
/// # Errors
///
/// Where guest memory cannot be read.
pub fn is_selinux_on(kernel: &Kernel) -> Result<bool, KernelError> {
    match kernel.symbol("selinux_state") {
        Some(state) => SelinuxState::at(kernel, state)?.initialized(),
        None => Ok(false),
    }
}

/// A module's part of what a structure points to; `None` where that has none.
pub(super) fn part(security: GuestVirt, offset: u32) -> Option<GuestVirt> {
    (!security.is_null()).then(|| security.wrapping_add(u64::from(offset)))
}
