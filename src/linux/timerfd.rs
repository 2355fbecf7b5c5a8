//! Descriptors that tell of time: `struct timerfd_ctx` (`fs/timerfd.c`).

use crate::kernel::KernelError;

use super::file::File;
use super::hrtimer::Hrtimer;
use super::view::{Embedded, Struct};

kernel_struct! {
    /// A timer of `timerfd_create()`: `struct timerfd_ctx`.
    pub struct TimerfdCtx: "timerfd_ctx" {
        /// What it runs by, but on an alarm clock.
        hrtimer: Embedded<Hrtimer<'k>> = ["t.tmr"],
        /// Nanoseconds after which it fires again; 0 for once.
        interval: u64 = ["tintv"],
        /// Of one that is told when its clock is set: what was to be added to
        /// `CLOCK_MONOTONIC`, or that the clock was set since.
        moffs: i64 = ["moffs"],
        /// How often it has fired without having been read.
        ticks: u64 = ["ticks"],
        /// `CLOCK_*`.
        clock: i32 = ["clockid"],
        /// Whether it has fired. One with an interval does not run then until
        /// it is read.
        expired: bool = ["expired"],
        /// `TFD_TIMER_*` that it was set with.
        settime_flags: u32 = ["settime_flags"],
        /// Whether it is told when its clock is set.
        might_cancel: bool = ["might_cancel"],
    }
}

/// `KTIME_MAX` (`include/linux/ktime.h`): a clock that was set.
const CLOCK_WAS_SET: i64 = i64::MAX;

impl<'k> TimerfdCtx<'k> {
    /// The timer of a timerfd.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn of(file: &File<'k>) -> Result<Self, KernelError> {
        Self::at(file.kernel(), file.private_data()?)
    }

    /// Whether its next `read()` tells that its clock was set:
    /// `timerfd_canceled()`.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn is_canceled(&self) -> Result<bool, KernelError> {
        Ok(self.might_cancel()? && self.moffs()? == CLOCK_WAS_SET)
    }
}
