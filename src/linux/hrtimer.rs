//! Timers that a process set with `setitimer()`.

use crate::kernel::KernelError;

kernel_struct! {
    /// A high-resolution timer: `struct hrtimer`.
    pub struct Hrtimer: "hrtimer" {
        /// When it fires, in nanoseconds of its clock.
        expires: u64 = ["node.expires"],
        /// Whether it is armed: bit 0 (`HRTIMER_STATE_ENQUEUED`).
        queued: u32 = ["is_queued", "state"],
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
