//! The controller `cpuset`: `struct cpuset` (`kernel/cgroup/cpuset.c`).

use crate::kernel::KernelError;
use crate::linux::percpu::cpus;
use crate::linux::view::{Place, Raw, Struct};
use crate::memory::GuestVirt;

use super::subsys::states;

/// NUMA nodes at most (`CONFIG_NODES_SHIFT` is 10 at most), in bytes of a mask.
const MAX_NODE_BYTES: u64 = 1024 / 8;

bitflags::bitflags! {
    /// `CS_*` in `kernel/cgroup/cpuset.c`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct CpusetFlags: u64 {
        /// It is in use.
        const ONLINE = 1 << 0;
        /// `cpuset.cpu_exclusive`.
        const CPU_EXCLUSIVE = 1 << 1;
        /// `cpuset.mem_exclusive`.
        const MEM_EXCLUSIVE = 1 << 2;
        /// `cpuset.mem_hardwall`.
        const MEM_HARDWALL = 1 << 3;
        /// `cpuset.memory_migrate`.
        const MEMORY_MIGRATE = 1 << 4;
        /// `cpuset.sched_load_balance`.
        const SCHED_LOAD_BALANCE = 1 << 5;
        /// `cpuset.memory_spread_page`.
        const SPREAD_PAGE = 1 << 6;
        /// `cpuset.memory_spread_slab`.
        const SPREAD_SLAB = 1 << 7;
        const _ = !0;
    }
}

kernel_struct! {
    /// What the controller `cpuset` holds of a cgroup: `struct cpuset`.
    (optional) pub struct Cpuset: "cpuset" {
        /// What all controllers hold.
        css: Raw = ["css"],
        /// [`CpusetFlags`].
        raw_flags: u64 = ["flags"],
        /// CPUs that a user has set: a mask, or a pointer to one.
        cpus_allowed: Raw = ["cpus_allowed"],
        /// The mask, where it lies here: `cpumask_var_t` is an array then, of
        /// one, which paths pass through as they do not through a pointer.
        cpus_in_place: Raw = ?["cpus_allowed.bits"],
        /// Memory nodes that a user has set, a mask.
        mems_allowed: Raw = ["mems_allowed"],
        /// CPUs that its threads may run on, of the same kind.
        effective_cpus: Raw = ["effective_cpus"],
        /// The mask, where it lies here.
        effective_in_place: Raw = ?["effective_cpus.bits"],
        /// CPUs that a user has set for it alone, since 6.7.
        exclusive_cpus: Raw = ?["exclusive_cpus"],
        /// The mask, where it lies here.
        exclusive_in_place: Raw = ?["exclusive_cpus.bits"],
        /// What it is of a partition; 0 for a member.
        partition_root_state: i32 = ?["partition_root_state"],
        /// `cpuset.sched_relax_domain_level`, of version 1.
        relax_domain_level: i32 = ?["relax_domain_level"],
    }
}

states!(Cpuset);

impl Cpuset<'_> {
    /// The flags.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn flags(&self) -> Result<CpusetFlags, KernelError> {
        self.raw_flags().map(CpusetFlags::from_bits_retain)
    }

    /// Numbers of the CPUs that a user has set, none for all.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn cpus(&self) -> Result<Vec<u32>, KernelError> {
        self.cpu_mask(self.cpus_allowed()?, self.cpus_in_place()?)
    }

    /// Numbers of the CPUs that its threads may run on.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn effective(&self) -> Result<Vec<u32>, KernelError> {
        self.cpu_mask(self.effective_cpus()?, self.effective_in_place()?)
    }

    /// Numbers of the CPUs that a user has set for it alone.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn cpus_exclusive(&self) -> Result<Vec<u32>, KernelError> {
        let in_place = self.exclusive_in_place()?;
        self.exclusive_cpus()?.map_or(Ok(Vec::new()), |place| self.cpu_mask(place, in_place))
    }

    /// Numbers of the memory nodes that a user has set, none for all.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn nodes(&self) -> Result<Vec<u32>, KernelError> {
        let place = self.mems_allowed()?;
        self.mask(place.addr(), place.size().min(MAX_NODE_BYTES))
    }

    /// A `cpumask_var_t`, which is a pointer where kernels are built for many CPUs
    /// (`CONFIG_CPUMASK_OFFSTACK`). Of up to 64 the mask is as large as that.
    fn cpu_mask(
        &self,
        place: Place<'_>,
        in_place: Option<Place<'_>>,
    ) -> Result<Vec<u32>, KernelError> {
        let bytes = u64::from(cpus(self.kernel())?).div_ceil(64) * 8;
        if let Some(mask) = in_place {
            return self.mask(mask.addr(), bytes.min(mask.size()));
        }
        let addr = GuestVirt::new(place.load()?);
        if addr.is_null() {
            return Ok(Vec::new());
        }
        self.mask(addr, bytes)
    }

    fn mask(&self, addr: GuestVirt, bytes: u64) -> Result<Vec<u32>, KernelError> {
        let mut mask = vec![0_u8; bytes as usize];
        self.kernel().read(addr, &mut mask)?;
        let is_set = |number: &u32| mask[*number as usize / 8] >> (number % 8) & 1 == 1;
        Ok((0..8 * mask.len() as u32).filter(is_set).collect())
    }
}
