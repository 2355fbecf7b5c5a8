//! Interval timers and clocks.

use serde::{Deserialize, Serialize};

/// One timer of `setitimer()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct IntervalTimer {
    /// Nanoseconds until it fires; 0 when it is not armed. A timer that is due
    /// has at least 1, as `getitimer()` never reports an armed timer as 0.
    pub remaining: u64,
    /// Nanoseconds after which it fires again; 0 for once.
    pub interval: u64,
}

/// The three interval timers of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct IntervalTimers {
    /// `ITIMER_REAL`, raises SIGALRM.
    pub real: IntervalTimer,
    /// `ITIMER_VIRTUAL`, raises SIGVTALRM after user time.
    pub virt: IntervalTimer,
    /// `ITIMER_PROF`, raises SIGPROF after user and system time.
    pub prof: IntervalTimer,
}

/// Clocks of the source at capture, as the processes saw them (their time
/// namespace's offsets applied), in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Clocks {
    /// `CLOCK_MONOTONIC`.
    pub monotonic: u64,
    /// `CLOCK_BOOTTIME`.
    pub boottime: u64,
}
