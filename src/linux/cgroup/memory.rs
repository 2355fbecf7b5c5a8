//! The controller `memory`: `struct mem_cgroup` (`include/linux/memcontrol.h`).

use crate::kernel::KernelError;
use crate::linux::view::{Embedded, Raw};
use crate::memory::PAGE_SIZE;

use super::subsys::states;

kernel_struct! {
    /// What the controller `memory` holds of a cgroup: `struct mem_cgroup`.
    (optional) pub struct MemCgroup: "mem_cgroup" {
        /// What all controllers hold.
        css: Raw = ["css"],
        /// Memory.
        memory: Embedded<PageCounter<'k>> = ["memory"],
        /// Swap; in version 1 memory and swap.
        swap: Embedded<PageCounter<'k>> = ["swap"],
        /// `memory.zswap.max` in pages, where the kernel has zswap.
        zswap_max: u64 = ?["zswap_max"],
        /// `memory.zswap.writeback`, likewise, since 6.8.
        zswap_writeback: bool = ?["zswap_writeback"],
        /// `memory.oom.group`.
        oom_group: bool = ["oom_group"],
        /// `memory.swappiness`, of version 1.
        swappiness: i32 = ?["swappiness"],
        /// Memory of the kernel, of version 1.
        kmem: Embedded<PageCounter<'k>> = ?["kmem"],
        /// Memory of TCP sockets, of version 1.
        tcpmem: Embedded<PageCounter<'k>> = ?["tcpmem"],
        /// `memory.soft_limit_in_bytes` in pages, of version 1.
        soft_limit: u64 = ?["soft_limit"],
        /// `memory.use_hierarchy`, up to 5.10.
        use_hierarchy: bool = ?["use_hierarchy"],
        /// Whether nothing is killed where memory is over, of version 1.
        oom_kill_disable: i32 = ?["oom_kill_disable"],
        /// `memory.move_charge_at_immigrate`, of version 1.
        move_charge_at_immigrate: u64 = ?["move_charge_at_immigrate"],
    }
}

kernel_struct! {
    /// What counts pages: `struct page_counter`.
    (optional) pub struct PageCounter: "page_counter" {
        /// What is never taken back.
        min: u64 = ["min"],
        /// What is taken back last.
        low: u64 = ["low"],
        /// From where on it is slowed down.
        high: u64 = ["high"],
        /// What it may have at most.
        max: u64 = ["max"],
    }
}

states!(MemCgroup);

impl PageCounter<'_> {
    /// `PAGE_COUNTER_MAX`: no limit.
    pub const UNLIMITED: u64 = i64::MAX.cast_unsigned() / PAGE_SIZE;
}
