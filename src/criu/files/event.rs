//! Descriptors that tell of events.

use super::super::proto;
use super::owner;
use crate::snapshot::{EpollTarget, OpenFile, SigSet, Timerfd};

const NANOSECONDS: u64 = 1_000_000_000;

/// A counter.
pub fn eventfd(file: &OpenFile, id: u32, counter: u64) -> proto::EventfdFileEntry {
    proto::EventfdFileEntry { id, flags: file.flags, fown: owner(file.owner), counter }
}

/// A descriptor that takes signals.
pub fn signalfd(file: &OpenFile, id: u32, mask: SigSet) -> proto::SignalfdEntry {
    proto::SignalfdEntry { id, flags: file.flags, fown: owner(file.owner), sigmask: mask.0 }
}

/// A timer. Of one that fires at a time of its clock, restore takes what is left
/// for a time from the last whole second of the clock on (`timerfd_arm()`,
/// `criu/pie/restorer.c`): it would fire too early. One that is off it would
/// set, so that this one is off for a time from now on.
pub fn timerfd(file: &OpenFile, id: u32, timer: &Timerfd) -> proto::TimerfdEntry {
    let (remaining, interval) = (timer.setting.remaining, timer.setting.interval);
    let (settime_flags, value) = match timer.settime_flags {
        _ if remaining == 0 => (0, 0),
        flags if flags & Timerfd::ABSTIME == 0 => (flags, remaining),
        flags => (flags, remaining.saturating_add(timer.now % NANOSECONDS)),
    };
    proto::TimerfdEntry {
        id,
        flags: file.flags,
        fown: owner(file.owner),
        clockid: timer.clock.cast_unsigned(),
        ticks: timer.ticks,
        settime_flags,
        vsec: value / NANOSECONDS,
        vnsec: value % NANOSECONDS,
        isec: interval / NANOSECONDS,
        insec: interval % NANOSECONDS,
    }
}

/// An instance of epoll. Of the files it watches restore needs no more than the
/// descriptors.
pub fn epoll(file: &OpenFile, id: u32, targets: &[EpollTarget]) -> proto::EventpollFileEntry {
    let target = |target: &EpollTarget| proto::EventpollTfdEntry {
        tfd: target.fd,
        events: target.events,
        data: target.data,
        ..proto::EventpollTfdEntry::default()
    };
    let tfd = targets.iter().map(target).collect();
    proto::EventpollFileEntry { id, flags: file.flags, fown: owner(file.owner), tfd }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{FileOwner, IntervalTimer, OpenFileKind};

    /// What CRIU sets a timer to, whose clock shows `restored` nanoseconds then:
    /// until when, as a time of that clock.
    fn set_to(settime_flags: u32, remaining: u64, now: u64, restored: u64) -> Option<u64> {
        let setting = IntervalTimer { remaining, interval: 7 };
        let timer = Timerfd { clock: 1, ticks: 0, settime_flags, setting, now };
        let kind = OpenFileKind::Timerfd { timer };
        let file = OpenFile { flags: 2, owner: FileOwner::default(), kind };
        let entry = timerfd(&file, 1, &timer);
        assert_eq!((entry.isec, entry.insec), (0, 7));
        assert!(entry.vnsec < NANOSECONDS);
        let value = entry.vsec * NANOSECONDS + entry.vnsec;
        if entry.settime_flags & Timerfd::ABSTIME != 0 {
            return Some(value + restored / NANOSECONDS * NANOSECONDS);
        }
        (value > 0).then_some(value + restored)
    }

    #[test]
    fn a_timer_fires_after_what_was_left_or_at_its_time() {
        let (now, left) = (5_700_000_000, 2_500_000_000);
        assert_eq!(set_to(0, left, now, 9_100_000_000), Some(9_100_000_000 + left));
        // Restored in the same second of its clock, it has the same end.
        assert_eq!(set_to(1, left, now, 5_900_000_000), Some(now + left));
        for later in [6_000_000_000, 6_800_000_000, 9_999_999_999] {
            let end = set_to(1, left, now, later).expect("it is on");
            assert!(end >= now + left && end <= later + left + NANOSECONDS, "{later}: {end}");
        }
    }

    #[test]
    fn a_timer_that_is_off_stays_off() {
        assert_eq!(set_to(0, 0, 5, 5), None);
        assert_eq!(set_to(Timerfd::ABSTIME, 0, 5, 5), None);
    }
}
