//! Credentials of a thread.

use serde::{Deserialize, Serialize};

/// `struct cred`, with IDs as the initial user namespace numbers them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[allow(missing_docs)] // `struct cred`'s own names
pub struct Credentials {
    pub uid: u32,
    pub gid: u32,
    pub euid: u32,
    pub egid: u32,
    pub suid: u32,
    pub sgid: u32,
    pub fsuid: u32,
    pub fsgid: u32,
    /// Supplementary groups, in the kernel's (ascending) order.
    pub groups: Vec<u32>,
    /// Inheritable capabilities; capability `n` is bit `n`, here and below.
    pub cap_inheritable: u64,
    pub cap_permitted: u64,
    pub cap_effective: u64,
    /// The bounding set.
    pub cap_bounding: u64,
    pub cap_ambient: u64,
    /// `SECBIT_*`.
    pub securebits: u32,
    /// `PR_SET_NO_NEW_PRIVS` was called.
    pub no_new_privs: bool,
    /// The AppArmor profile that confines the thread, by its full name; `None`
    /// where none does.
    pub apparmor_profile: Option<String>,
}
