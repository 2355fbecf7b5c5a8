//! Credentials: `struct cred`.

use crate::kernel::KernelError;
use crate::memory::GuestVirt;

use super::view::{Ptr, Raw, Struct};

/// Most supplementary groups (`NGROUPS_MAX`, `include/uapi/linux/limits.h`).
const MAX_GROUPS: u32 = 65536;

kernel_struct! {
    /// Who a thread is and what it may do: `struct cred`.
    pub struct Cred: "cred" {
        /// Real user.
        uid: u32 = ["uid.val"],
        /// Real group.
        gid: u32 = ["gid.val"],
        /// Saved user.
        suid: u32 = ["suid.val"],
        /// Saved group.
        sgid: u32 = ["sgid.val"],
        /// Effective user.
        euid: u32 = ["euid.val"],
        /// Effective group.
        egid: u32 = ["egid.val"],
        /// User for file access.
        fsuid: u32 = ["fsuid.val"],
        /// Group for file access.
        fsgid: u32 = ["fsgid.val"],
        /// `SECBIT_*`.
        securebits: u32 = ["securebits"],
        /// Inheritable capabilities, one bit each.
        cap_inheritable: u64 = ["cap_inheritable.val", "cap_inheritable"],
        /// Permitted capabilities.
        cap_permitted: u64 = ["cap_permitted.val", "cap_permitted"],
        /// Effective capabilities.
        cap_effective: u64 = ["cap_effective.val", "cap_effective"],
        /// The bounding set.
        cap_bset: u64 = ["cap_bset.val", "cap_bset"],
        /// Ambient capabilities.
        cap_ambient: u64 = ["cap_ambient.val", "cap_ambient"],
        /// Keys of the process alone.
        process_keyring: GuestVirt = ?["process_keyring"],
        /// Keys of the thread alone.
        thread_keyring: GuestVirt = ?["thread_keyring"],
        /// Supplementary groups.
        group_info: Ptr<GroupInfo<'k>> = ["group_info"],
        /// The user namespace that gives them meaning.
        user_ns: GuestVirt = ["user_ns"],
        /// The parts of the security modules, one behind the other.
        security: GuestVirt = ["security"],
    }
}

kernel_struct! {
    /// Supplementary groups: `struct group_info`.
    pub struct GroupInfo: "group_info" {
        /// How many.
        ngroups: u32 = ["ngroups"],
        /// `ngroups` group IDs of 32 bits.
        gid: Raw = ["gid"],
    }
}

impl GroupInfo<'_> {
    /// The group IDs.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for more groups than a process can have.
    pub fn groups(&self) -> Result<Vec<u32>, KernelError> {
        let count = self.ngroups()?;
        let place = self.gid()?;
        if count > MAX_GROUPS {
            return Err(place.corrupt(format!("{count} groups are too many")));
        }
        let mut bytes = vec![0; count as usize * 4];
        self.kernel().read(place.addr(), &mut bytes)?;
        Ok(bytes.as_chunks().0.iter().map(|gid| u32::from_le_bytes(*gid)).collect())
    }
}
