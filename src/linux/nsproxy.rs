//! Namespaces of a process: `struct nsproxy`.

use crate::memory::GuestVirt;

kernel_struct! {
    /// The namespaces of a process, but for its user namespace, which its
    /// credentials hold: `struct nsproxy`.
    pub struct NsProxy: "nsproxy" {
        /// Host and domain name.
        uts: GuestVirt = ["uts_ns"],
        /// SysV IPC and POSIX message queues.
        ipc: GuestVirt = ["ipc_ns"],
        /// Mounts.
        mnt: GuestVirt = ["mnt_ns"],
        /// Process IDs of its children.
        pid_for_children: GuestVirt = ["pid_ns_for_children"],
        /// Network.
        net: GuestVirt = ["net_ns"],
        /// Clocks.
        time: GuestVirt = ["time_ns"],
        /// Clocks of its children.
        time_for_children: GuestVirt = ["time_ns_for_children"],
        /// Cgroups.
        cgroup: GuestVirt = ["cgroup_ns"],
    }
}
