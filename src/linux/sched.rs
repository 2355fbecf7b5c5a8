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
