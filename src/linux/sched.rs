//! Run queues and remote wake-ups.

use crate::kernel::{Kernel, KernelError};
use crate::memory::GuestVirt;

use super::percpu::per_cpu;
use super::view::{Raw, Struct};

kernel_struct! {
    /// A CPU's run queue: `struct rq`.
    pub struct Rq: "rq" {
        /// The task that runs.
        curr: GuestVirt = ["curr"],
        /// Whether a remote wake-up is on its way: `ttwu_pending`.
        ttwu_pending: u32 = ["ttwu_pending"],
        /// Whether the CPU takes part in scheduling.
        online: u32 = ["online"],
    }
}

kernel_struct! {
    /// An entry of a CPU's `call_single_queue`: `struct __call_single_node`.
    pub struct CallSingleNode: "__call_single_node" {
        /// The next entry.
        llist: Raw = ["llist.next"],
        /// What the entry asks for: `CSD_TYPE_*`.
        flags: Raw = ["u_flags"],
    }
}

kernel_struct! {
    /// A limit of how much of a CPU a thread counts for: `struct uclamp_se`.
    (optional) pub struct UclampSe: "uclamp_se" {
        /// Whether it was asked for (`sched_setattr()`).
        user_defined: bool = ["user_defined"],
    }
}

kernel_struct! {
    /// What the kernel found out about a CPU: `struct cpuinfo_x86`.
    pub struct CpuInfo: "cpuinfo_x86" {
        /// The ID of its local APIC, which interrupts are addressed to.
        apic_id: u32 = ["topo.apicid", "apicid"],
        /// Family.
        family: u32 = ["x86"],
        /// Model.
        model: u32 = ["x86_model"],
        /// Stepping.
        stepping: u32 = ["x86_stepping"],
        /// Capabilities, and bugs behind them.
        raw_capability: Raw = ["x86_capability"],
        /// Who made it.
        raw_vendor: Raw = ["x86_vendor_id"],
        /// What it calls itself.
        raw_model_name: Raw = ["x86_model_id"],
    }
}

impl<'k> CpuInfo<'k> {
    /// The information about CPU number `cpu`.
    ///
    /// # Errors
    ///
    /// As [`per_cpu`].
    pub fn of_cpu(kernel: &'k Kernel, cpu: u32) -> Result<Self, KernelError> {
        Self::at(kernel, per_cpu(kernel, "cpu_info", cpu)?)
    }
}

impl<'k> Rq<'k> {
    /// The run queue of CPU number `cpu`.
    ///
    /// # Errors
    ///
    /// As [`per_cpu`].
    pub fn of_cpu(kernel: &'k Kernel, cpu: u32) -> Result<Self, KernelError> {
        Self::at(kernel, per_cpu(kernel, "runqueues", cpu)?)
    }
}
