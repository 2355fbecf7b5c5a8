//! `task_core_entry.timers`: timers of `setitimer()` and `timer_create()`.

use super::proto;
use crate::snapshot::{IntervalTimer, PosixTimer, Process, TimerNotification};

/// An interval of some 31 years, in nanoseconds.
const NEVER_AGAIN: u64 = 1_000_000_000_000_000_000;
const NANOSECONDS: u64 = 1_000_000_000;

/// Values of `posix_timer_entry.it_sigev_notify` (`SIGEV_*`).
pub mod notify {
    /// A signal to the process.
    pub const SIGNAL: u32 = 0;
    /// Nothing.
    pub const NONE: u32 = 1;
    /// As [`SIGNAL`]; a note of libc's to itself.
    pub const THREAD: u32 = 2;
    /// A signal to a thread.
    pub const THREAD_ID: u32 = 4;
}

/// All timers of a process.
pub fn entry(process: &Process) -> proto::TaskTimersEntry {
    proto::TaskTimersEntry {
        real: itimer(process.itimers.real),
        virt: itimer(process.itimers.virt),
        prof: itimer(process.itimers.prof),
        posix: process.posix_timers.iter().map(posix_timer).collect(),
    }
}

/// A timer that fires once gets an interval that it does not live to see: CRIU
/// disarms timers without one (`decode_itimer()`, `criu/timer.c`).
fn itimer(timer: IntervalTimer) -> proto::ItimerEntry {
    let fires_once = timer.interval == 0 && timer.remaining != 0;
    let (isec, iusec) = timeval(if fires_once { NEVER_AGAIN } else { timer.interval });
    let (vsec, vusec) = timeval(timer.remaining);
    proto::ItimerEntry { isec, iusec, vsec, vusec }
}

/// Seconds and microseconds of a time in nanoseconds. What is less than a
/// microsecond but not 0 becomes one: 0 would disarm the timer.
fn timeval(nanoseconds: u64) -> (u64, u64) {
    let microseconds = (nanoseconds / 1000).max(u64::from(nanoseconds > 0));
    (microseconds / 1_000_000, microseconds % 1_000_000)
}

/// A timer that is off has no interval either: CRIU arms those with one
/// (`decode_posix_timer()`, `criu/timer.c`).
fn posix_timer(timer: &PosixTimer) -> proto::PosixTimerEntry {
    let IntervalTimer { remaining, interval } = timer.setting;
    let interval = if remaining == 0 { 0 } else { interval };
    let (it_sigev_notify, notify_thread_id) = match timer.notification {
        TimerNotification::Process => (notify::SIGNAL, None),
        TimerNotification::Nobody => (notify::NONE, None),
        TimerNotification::Function => (notify::THREAD, None),
        TimerNotification::Thread(tid) => (notify::THREAD_ID, Some(tid.cast_signed())),
    };
    proto::PosixTimerEntry {
        it_id: timer.id,
        clock_id: timer.clock.cast_unsigned(),
        si_signo: timer.signal,
        it_sigev_notify,
        sival_ptr: timer.value,
        overrun: timer.overrun,
        isec: interval / NANOSECONDS,
        insec: interval % NANOSECONDS,
        vsec: remaining / NANOSECONDS,
        vnsec: remaining % NANOSECONDS,
        notify_thread_id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_armed_timer_stays_armed() {
        assert_eq!(timeval(0), (0, 0));
        assert_eq!(timeval(1), (0, 1));
        assert_eq!(timeval(2_500_000_999), (2, 500_000));
    }

    #[test]
    fn a_timer_that_fires_once_has_an_interval_and_one_that_is_off_has_none() {
        let interval = |remaining, interval| itimer(IntervalTimer { remaining, interval }).isec;
        assert_eq!(interval(5, 0), 1_000_000_000);
        assert_eq!(interval(5, 3_000_000_000), 3);
        assert_eq!(interval(0, 0), 0);
    }

    #[test]
    fn a_posix_timer_that_is_off_stays_off() {
        let timer = |remaining, interval| {
            let entry = posix_timer(&PosixTimer {
                id: 7,
                clock: -6,
                signal: 34,
                notification: TimerNotification::Thread(101),
                value: 1 << 40,
                overrun: 3,
                setting: IntervalTimer { remaining, interval },
            });
            assert_eq!((entry.it_id, entry.clock_id.cast_signed()), (7, -6));
            assert_eq!((entry.it_sigev_notify, entry.notify_thread_id), (4, Some(101)));
            [entry.isec, entry.insec, entry.vsec, entry.vnsec]
        };
        assert_eq!(timer(1, 0), [0, 0, 0, 1]);
        assert_eq!(timer(2_000_000_003, 1_000_000_004), [1, 4, 2, 3]);
        assert_eq!(timer(0, 1_000_000_004), [0; 4]);
    }
}
