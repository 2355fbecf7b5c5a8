//! The controller `cpu`: `struct task_group` (`kernel/sched/sched.h`).

use crate::kernel::KernelError;
use crate::linux::view::{Embedded, Raw};

use super::subsys::states;

kernel_struct! {
    /// What the controller `cpu` holds of a cgroup: `struct task_group`.
    (optional) pub struct TaskGroup: "task_group" {
        /// What all controllers hold.
        css: Raw = ["css"],
        /// Its weight, 1024 for one of 100 as `cpu.weight` has it, times 1024.
        shares: u64 = ["shares"],
        /// `cpu.idle`, since 5.15.
        idle: i32 = ?["idle"],
        /// How much CPU time it gets.
        bandwidth: Embedded<CfsBandwidth<'k>> = ["cfs_bandwidth"],
        /// `cpu.uclamp.min` and `cpu.uclamp.max` in hundredths of a percent,
        /// `unsigned int[2]`, where the kernel has such and they were set.
        uclamp_pct: Raw = ?["uclamp_pct"],
        /// The same as the scheduler has them, `struct uclamp_se[2]`.
        uclamp_req: Raw = ?["uclamp_req"],
    }
}

kernel_struct! {
    /// How much CPU time a cgroup gets: `struct cfs_bandwidth`.
    (optional) pub struct CfsBandwidth: "cfs_bandwidth" {
        /// In so many nanoseconds.
        period: u64 = ["period"],
        /// So many nanoseconds; `u64::MAX` for all.
        quota: u64 = ["quota"],
        /// What it may save up of it, in nanoseconds, since 5.14.
        burst: u64 = ?["burst"],
    }
}

states!(TaskGroup);

impl TaskGroup<'_> {
    /// `cpu.uclamp.min` and `cpu.uclamp.max`, in hundredths of a percent where they
    /// are not those of one that nobody has set: `cpu_uclamp_print()`
    /// (`kernel/sched/core.c`).
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn clamps(&self) -> Result<[Option<u32>; 2], KernelError> {
        /// The bits of `uclamp_se.value`, up to `SCHED_CAPACITY_SCALE`.
        const VALUE: u32 = 0x7ff;
        /// What a clamp is that clamps nothing: 0 and `SCHED_CAPACITY_SCALE`.
        const NONE: [u32; 2] = [0, 1024];
        let (Some(percent), Some(values)) = (self.uclamp_pct()?, self.uclamp_req()?) else {
            return Ok([None; 2]);
        };
        let (mut shown, mut used) = ([[0; 4]; 2], [[0; 4]; 2]);
        percent.read(shown.as_flattened_mut())?;
        values.read(used.as_flattened_mut())?;
        let clamp = |number: usize| {
            let value = u32::from_le_bytes(used[number]) & VALUE;
            (value != NONE[number]).then_some(u32::from_le_bytes(shown[number]))
        };
        Ok([clamp(0), clamp(1)])
    }
}
