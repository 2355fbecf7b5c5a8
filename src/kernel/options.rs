//! What an attach is told.

use std::fmt::{self, Debug};

use crate::memory::CpuPaging;

use super::cache::InstanceId;
use super::declare::Declarations;
use super::knowledge::Knowledge;

/// What an attach has to go by.
pub struct AttachOptions<'a> {
    /// What is to be read of the kernel.
    pub declarations: &'a Declarations,
    /// What is known of kernels and VMs from before.
    pub knowledge: &'a Knowledge,
    /// The VM, by which the cache knows it.
    pub instance: Option<InstanceId>,
    /// Tells the page tables that the VM's CPUs use; asked once at most, where
    /// the cache does not know where the kernel is.
    pub cpus: &'a dyn Fn() -> Vec<CpuPaging>,
}

impl Debug for AttachOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { knowledge, instance, .. } = self;
        f.debug_struct("AttachOptions")
            .field("knowledge", knowledge)
            .field("instance", instance)
            .finish_non_exhaustive()
    }
}
