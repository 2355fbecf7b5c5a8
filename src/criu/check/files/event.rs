//! Descriptors that tell of events.

use crate::criu::findings::ImageFindings;
use crate::criu::proto::{EventfdFileEntry, SignalfdEntry, TimerfdEntry};
use crate::snapshot::Timerfd;

/// Clocks that restore makes timers on: real time, monotonic, boot time
/// (`verify_timerfd()`, `criu/include/timerfd.h`).
const CLOCKS: [u32; 3] = [0, 1, 7];
const NANOSECONDS: u64 = 1_000_000_000;
/// `TFD_TIMER_ABSTIME` and `TFD_TIMER_CANCEL_ON_SET`.
const SETTIME_FLAGS: u32 = Timerfd::ABSTIME | Timerfd::CANCEL_ON_SET;

/// Restore makes it by `eventfd()`, which takes an `unsigned int`.
pub fn check_eventfd(id: u32, counter: &EventfdFileEntry, found: &mut ImageFindings<'_>) {
    found.require(counter.id == id, "efd.id", || format!("of file {id} is {}", counter.id));
    let fits = u32::try_from(counter.counter).is_ok();
    found.require(fits, "efd.counter", || {
        format!("of file {id} is {}, which is more than 32 bits", counter.counter)
    });
}

/// `SIGKILL` and `SIGSTOP` are taken by nobody.
pub fn check_signalfd(id: u32, taker: &SignalfdEntry, found: &mut ImageFindings<'_>) {
    const KILL_AND_STOP: u64 = 1 << 8 | 1 << 18;
    found.require(taker.id == id, "sgfd.id", || format!("of file {id} is {}", taker.id));
    found.require(taker.sigmask & KILL_AND_STOP == 0, "sgfd.sigmask", || {
        format!("of file {id} is {:#x}, with SIGKILL or SIGSTOP", taker.sigmask)
    });
}

pub fn check_timerfd(id: u32, timer: &TimerfdEntry, found: &mut ImageFindings<'_>) {
    found.require(timer.id == id, "tfd.id", || format!("of file {id} is {}", timer.id));
    found.require(CLOCKS.contains(&timer.clockid), "tfd.clockid", || {
        format!("of file {id} is {}, which restore takes no timers on", timer.clockid)
    });
    let flags = timer.settime_flags;
    let are_known = flags & !SETTIME_FLAGS == 0;
    // Told when the clock is set is only a timer until a time (`fs/timerfd.c`).
    let fit = flags & Timerfd::CANCEL_ON_SET == 0 || flags & Timerfd::ABSTIME != 0;
    found.require(are_known && fit, "tfd.settime_flags", || format!("of file {id} are {flags:#x}"));
    let is_off = (timer.vsec, timer.vnsec) == (0, 0);
    // Restore adds the time that the clock shows.
    found.require(!is_off || flags & Timerfd::ABSTIME == 0, "tfd.settime_flags", || {
        format!("of file {id} are {flags:#x}, with which restore sets a timer that is off")
    });
    for (field, seconds, nanoseconds) in
        [("tfd.vnsec", timer.vsec, timer.vnsec), ("tfd.insec", timer.isec, timer.insec)]
    {
        let is_time = nanoseconds < NANOSECONDS && i64::try_from(seconds).is_ok();
        found.require(is_time, field, || {
            format!("of file {id}: {seconds} s and {nanoseconds} ns are no time")
        });
    }
}
