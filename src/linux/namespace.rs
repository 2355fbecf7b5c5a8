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
    /// A cgroup namespace: `struct cgroup_namespace`.
    CgroupNamespace: "cgroup_namespace",
    /// A PID namespace: `struct pid_namespace`.
    PidNamespace: "pid_namespace",
    /// A user namespace: `struct user_namespace`.
    UserNamespace: "user_namespace",
}

kernel_struct! {
    /// A network namespace: `struct net`.
    pub struct NetNamespace: "net" {
        /// What all kinds of namespace have.
        ns: Embedded<NsCommon<'k>> = ["ns"],
        /// Whether a socket that did not say so looks for another route when
        /// packets are lost (`net.core.txrehash`), since 6.0.
        txrehash: u8 = ?["core.sysctl_txrehash"],
    }
}

kernel_struct! {
    /// A time namespace: `struct time_namespace`.
    pub struct TimeNamespace: "time_namespace" {
        /// What all kinds of namespace have.
        ns: Embedded<NsCommon<'k>> = ["ns"],
        /// How far `CLOCK_MONOTONIC` is ahead of that outside, in seconds.
        monotonic_seconds: i64 = ["offsets.monotonic.tv_sec"],
        /// Nanoseconds beside them.
        monotonic_nanoseconds: i64 = ["offsets.monotonic.tv_nsec"],
        /// The same of `CLOCK_BOOTTIME`.
        boottime_seconds: i64 = ["offsets.boottime.tv_sec"],
        /// Nanoseconds beside them.
        boottime_nanoseconds: i64 = ["offsets.boottime.tv_nsec"],
    }
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

impl TimeNamespace<'_> {
    /// What `CLOCK_MONOTONIC` shows in it, in nanoseconds, where it is `outside` in the
    /// initial one.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for a clock that does not fit in 64 bits.
    pub fn monotonic(&self, outside: u64) -> Result<u64, KernelError> {
        self.clock(outside, self.monotonic_seconds()?, self.monotonic_nanoseconds()?)
    }

    /// The same of `CLOCK_BOOTTIME`.
    ///
    /// # Errors
    ///
    /// As [`monotonic`](Self::monotonic).
    pub fn boottime(&self, outside: u64) -> Result<u64, KernelError> {
        self.clock(outside, self.boottime_seconds()?, self.boottime_nanoseconds()?)
    }

    fn clock(&self, outside: u64, seconds: i64, nanoseconds: i64) -> Result<u64, KernelError> {
        let ahead = seconds.checked_mul(1_000_000_000).and_then(|ns| ns.checked_add(nanoseconds));
        let clock = ahead.and_then(|ahead| outside.checked_add_signed(ahead));
        clock.ok_or_else(|| KernelError::Corrupt {
            what: "time_namespace".into(),
            addr: self.addr(),
            why: format!("its clocks are {seconds} s and {nanoseconds} ns ahead"),
        })
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
