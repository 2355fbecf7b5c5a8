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

/// A timer of `timer_create()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PosixTimer {
    /// Its ID.
    pub id: u32,
    /// `CLOCK_*` as the leader names it; a CPU clock is negative.
    pub clock: i32,
    /// The signal it raises; 0 where it notifies nobody and none was named.
    pub signal: u32,
    /// Whom it notifies.
    pub notification: TimerNotification,
    /// `sigev_value`.
    pub value: u64,
    /// What `timer_getoverrun()` says.
    pub overrun: u32,
    /// Time left and interval.
    pub setting: IntervalTimer,
}

/// Whom a POSIX timer notifies: `SIGEV_*`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimerNotification {
    /// The process (`SIGEV_SIGNAL`).
    Process,
    /// Nobody (`SIGEV_NONE`).
    Nobody,
    /// The process; libc meant to run a function (`SIGEV_THREAD`).
    Function,
    /// The thread of this TID (`SIGEV_THREAD_ID`).
    Thread(u32),
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
