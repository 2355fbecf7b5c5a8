//! What an interrupted system call goes on from: `struct restart_block`.

use crate::kernel::KernelError;
use crate::memory::GuestVirt;

use super::view::Struct;

kernel_struct! {
    /// How `restart_syscall()` would go on with a call: `struct restart_block`.
    /// Which members hold something is told by the function.
    pub struct RestartBlock: "restart_block" {
        /// What `restart_syscall()` would call.
        function: GuestVirt = ["fn"],
        /// The clock of an interrupted sleep.
        sleep_clock: i32 = ["nanosleep.clockid"],
        /// Whether the time left of the sleep was written for the process:
        /// `enum timespec_type`.
        sleep_remainder_type: u32 = ["nanosleep.type"],
        /// Where the process has it.
        sleep_remainder: u64 = ["nanosleep.rmtp"],
        /// When the sleep ends, in nanoseconds of the clock.
        sleep_end: u64 = ["nanosleep.expires"],
        /// Whether an interrupted `poll()` has a time limit.
        poll_is_limited: bool = ["poll.has_timeout"],
        /// When it ends: seconds of `CLOCK_MONOTONIC`.
        poll_end_seconds: u64 = ["poll.end_time.tv_sec", "poll.tv_sec"],
        /// See `poll_end_seconds`: the nanoseconds.
        poll_end_nanoseconds: u64 = ["poll.end_time.tv_nsec", "poll.tv_nsec"],
    }
}

/// A system call that goes on from a restart block, by the function there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartedCall {
    /// `nanosleep()` or `clock_nanosleep()` for a time of a system clock.
    Sleep,
    /// `clock_nanosleep()` for a time of a CPU clock.
    CpuSleep,
    /// `poll()`
    Poll,
    /// `futex()`, waiting with a time limit.
    Futex,
    /// One that is not known, or that says that it cannot go on.
    Other,
}

impl RestartBlock<'_> {
    /// Which call it is.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn call(&self) -> Result<RestartedCall, KernelError> {
        let function = self.function()?;
        let kernel = self.kernel();
        let known = [
            ("hrtimer_nanosleep_restart", RestartedCall::Sleep),
            ("posix_cpu_nsleep_restart", RestartedCall::CpuSleep),
            ("do_restart_poll", RestartedCall::Poll),
            ("futex_wait_restart", RestartedCall::Futex),
        ];
        let found = known.into_iter().find(|(name, _)| kernel.symbol(name) == Some(function));
        Ok(found.map_or(RestartedCall::Other, |(_, call)| call))
    }
}
