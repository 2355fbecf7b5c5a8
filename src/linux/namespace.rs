//! Namespaces, as far as they are told apart: by the number of their inode.

use crate::kernel::KernelError;
use crate::memory::GuestVirt;

use super::string::name_at;
use super::view::{Embedded, Ptr, Struct};

macro_rules! namespaces {
    ($($(#[$doc:meta])* $name:ident: $kernel_name:literal),* $(,)?) => {$(
        kernel_struct! {
            $(#[$doc])*
            pub struct $name: $kernel_name {
                /// What all kinds of namespace have.
                ns: Embedded<NsCommon<'k>> = ["ns"],
            }
        }
    )*};
}

namespaces! {
    /// A UTS namespace: `struct uts_namespace`.
    UtsNamespace: "uts_namespace",
    /// An IPC namespace: `struct ipc_namespace`.
    IpcNamespace: "ipc_namespace",
    /// A mount namespace: `struct mnt_namespace`.
    MntNamespace: "mnt_namespace",
    /// A network namespace: `struct net`.
    NetNamespace: "net",
    /// A cgroup namespace: `struct cgroup_namespace`.
    CgroupNamespace: "cgroup_namespace",
    /// A time namespace: `struct time_namespace`.
    TimeNamespace: "time_namespace",
    /// A PID namespace: `struct pid_namespace`.
    PidNamespace: "pid_namespace",
    /// A user namespace: `struct user_namespace`.
    UserNamespace: "user_namespace",
}

kernel_struct! {
    /// What all kinds of namespace have: `struct ns_common`.
    pub struct NsCommon: "ns_common" {
        /// The number of its inode in nsfs, which tells it from others.
        inum: u32 = ["inum"],
        /// What kind it is.
        ops: Ptr<ProcNsOperations<'k>> = ["ops"],
    }
}

kernel_struct! {
    /// A kind of namespace: `struct proc_ns_operations`.
    pub struct ProcNsOperations: "proc_ns_operations" {
        /// Address of its name.
        raw_name: GuestVirt = ["name"],
    }
}

impl NsCommon<'_> {
    /// The name and number that `/proc/PID/ns` shows, such as
    /// `mnt:[4026531841]`: `ns_dname()` (`fs/nsfs.c`).
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn link(&self) -> Result<String, KernelError> {
        let kind = match self.ops()? {
            Some(ops) => name_at(self.kernel(), ops.raw_name()?)?,
            None => String::new(),
        };
        Ok(format!("{kind}:[{}]", self.inum()?))
    }
}
