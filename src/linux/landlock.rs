//! Landlock, the security module by which a thread gives up rights of its own
//! (`security/landlock/cred.h`).

use crate::kernel::KernelError;
use crate::memory::GuestVirt;

use super::cred::Cred;
use super::lsm::{LsmBlobSizes, part};
use super::view::Struct;

kernel_struct! {
    /// Landlock's part of credentials: `struct landlock_cred_security`, since
    /// 5.13.
    (optional) pub struct LandlockCred: "landlock_cred_security" {
        /// What its threads are restricted to; null where nothing restricts them.
        domain: GuestVirt = ["domain"],
    }
}

impl Cred<'_> {
    /// Whether Landlock restricts the threads that have these credentials.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn is_restricted_by_landlock(&self) -> Result<bool, KernelError> {
        let kernel = self.kernel();
        let sizes = LsmBlobSizes::of(kernel, "landlock_blob_sizes", "landlock_initialized")?;
        let Some(sizes) = sizes else { return Ok(false) };
        match part(self.security()?, sizes.cred()?) {
            Some(part) => Ok(!LandlockCred::at(kernel, part)?.domain()?.is_null()),
            None => Ok(false),
        }
    }
}
