//! Who a process is and what it may do: `proc_pid_status(5)`.

use serde::Serialize;

use crate::kernel::KernelError;
use crate::linux::{Cred, Task};

/// Credentials. IDs are those of the initial user namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Credentials {
    /// Real, effective, saved and file-system user.
    pub uids: [u32; 4],
    /// Real, effective, saved and file-system group.
    pub gids: [u32; 4],
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Inheritable capabilities, one bit each.
    pub cap_inheritable: u64,
    /// Permitted capabilities.
    pub cap_permitted: u64,
    /// Effective capabilities.
    pub cap_effective: u64,
    /// The bounding set.
    pub cap_bounding: u64,
    /// Ambient capabilities.
    pub cap_ambient: u64,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privileges: bool,
    /// `SECCOMP_MODE_*`.
    pub seccomp: u32,
}

/// `PFA_NO_NEW_PRIVS`, the first of `task_struct.atomic_flags`.
const PFA_NO_NEW_PRIVS: u64 = 1;

impl Credentials {
    pub(super) fn of(task: &Task<'_>, cred: &Cred<'_>) -> Result<Self, KernelError> {
        Ok(Self {
            uids: [cred.uid()?, cred.euid()?, cred.suid()?, cred.fsuid()?],
            gids: [cred.gid()?, cred.egid()?, cred.sgid()?, cred.fsgid()?],
            groups: cred.group_info()?.map_or(Ok(Vec::new()), |groups| groups.groups())?,
            cap_inheritable: cred.cap_inheritable()?,
            cap_permitted: cred.cap_permitted()?,
            cap_effective: cred.cap_effective()?,
            cap_bounding: cred.cap_bset()?,
            cap_ambient: cred.cap_ambient()?,
            no_new_privileges: task.atomic_flags()? & PFA_NO_NEW_PRIVS != 0,
            seccomp: task.seccomp_mode()?,
        })
    }
}
