//! What timers of processes run by.

use crate::kernel::KernelError;

use super::pid::Pid;
use super::view::Ptr;

kernel_struct! {
    /// A high-resolution timer: `struct hrtimer`.
    pub struct Hrtimer: "hrtimer" {
        /// When it fires, in nanoseconds of its clock.
        expires: u64 = ["node.expires"],
        /// Whether it is armed: bit 0 (`HRTIMER_STATE_ENQUEUED`).
        queued: u32 = ["is_queued", "state"],
        /// The queue of a CPU and a clock that it is for.
        base: Ptr<HrtimerClockBase<'k>> = ["base"],
    }
}

kernel_struct! {
    /// The timers of one clock on one CPU: `struct hrtimer_clock_base`.
    pub struct HrtimerClockBase: "hrtimer_clock_base" {
        /// `CLOCK_MONOTONIC` and so on.
        clock: i32 = ["clockid"],
    }
}

kernel_struct! {
    /// A timer that wakes a suspended machine: `struct alarm`.
    pub struct Alarm: "alarm" {
        /// When it fires, in nanoseconds of its clock.
        expires: u64 = ["node.expires"],
    }
}

kernel_struct! {
    /// A POSIX timer on a CPU clock: `struct cpu_timer`.
    pub struct CpuTimer: "cpu_timer" {
        /// CPU time at which it fires, in nanoseconds; 0 when it is not set.
        expires: u64 = ["node.expires"],
        /// Whose CPU time: a thread's or a process's.
        pid: Ptr<Pid<'k>> = ["pid"],
    }
}

kernel_struct! {
    /// A CPU-time timer: `struct cpu_itimer`.
    pub struct CpuItimer: "cpu_itimer" {
        /// CPU time at which it fires, in nanoseconds; 0 when it is not set.
        expires: u64 = ["expires"],
        /// Its interval in nanoseconds.
        incr: u64 = ["incr"],
    }
}

impl Hrtimer<'_> {
    /// When it fires; `None` when it is not armed.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn armed(&self) -> Result<Option<u64>, KernelError> {
        Ok(if self.queued()? & 1 == 1 { Some(self.expires()?) } else { None })
    }
}
