//! Landlock, the security module by which a thread gives up rights of its own
//! (`security/landlock/cred.h`).

use crate::kernel::KernelError;
use crate::memory::GuestVirt;

use super::cred::Cred;
use super::view::Struct;

kernel_struct! {
    /// Where a security module has its part of other structures:
    /// `struct lsm_blob_sizes`.
    (optional) pub struct LsmBlobSizes: "lsm_blob_sizes" {
        /// Offset of its part in what `cred.security` points to.
        cred: u32 = ["lbs_cred"],
    }
}

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
        let (Some(sizes), Some(initialized)) =
            (kernel.symbol("landlock_blob_sizes"), kernel.symbol("landlock_initialized"))
        else {
            return Ok(false);
        };
        // Where it is built in and switched off, no offset was ever assigned.
        let mut is_on = [0];
        kernel.read(initialized, &mut is_on)?;
        let security = self.security()?;
        if is_on == [0] || security.is_null() {
            return Ok(false);
        }
        let offset = LsmBlobSizes::at(kernel, sizes)?.cred()?;
        let part = LandlockCred::at(kernel, security.wrapping_add(u64::from(offset)))?;
        Ok(!part.domain()?.is_null())
    }
}
