//! Descriptors that tell of events.

use crate::kernel::KernelError;
use crate::linux::{EventfdCtx, File, SignalfdCtx, Struct, Timekeeper, TimerfdCtx};
use crate::snapshot::{IntervalTimer, OpenFileKind, SigSet, Timerfd};

use super::super::error::CaptureError;
use super::super::obstacle::Obstacles;
use super::super::timers::{BOOTTIME, MONOTONIC, REALTIME, forward, interval_timer};
use super::Files;
use super::epoll::epoll;
use super::kind::EventKind;

/// `EFD_SEMAPHORE` (`include/uapi/linux/eventfd.h`).
const EFD_SEMAPHORE: u32 = 1;
/// Signals that libc has for itself and puts into no set, as CRIU makes one
/// (`sigaddset()`).
const SIGNALS_OF_LIBC: [u32; 2] = [32, 33];

impl<'k> Files<'k> {
    /// A descriptor that tells of events.
    pub(super) fn event(
        &mut self,
        kind: EventKind,
        file: &File<'k>,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<Option<OpenFileKind>, CaptureError> {
        let found = match kind {
            EventKind::Eventfd => eventfd(&EventfdCtx::of(file)?)?,
            EventKind::Signalfd => signalfd(&SignalfdCtx::of(file)?)?,
            EventKind::Timerfd => timerfd(&TimerfdCtx::of(file)?)?,
            EventKind::Epoll => epoll(file)?,
            EventKind::Inotify => return self.inotify(file, holder, obstacles),
            EventKind::Fanotify => return self.fanotify(file, holder, obstacles),
        };
        match found {
            Ok(kind) => Ok(Some(kind)),
            Err(why) => {
                obstacles.add(format!("{holder} is {why}"));
                Ok(None)
            }
        }
    }
}

/// A counter, or what CRIU would make another of.
fn eventfd(counter: &EventfdCtx<'_>) -> Result<Result<OpenFileKind, String>, KernelError> {
    let count = counter.count()?;
    // It is made by `eventfd(count, 0)`, which takes an `unsigned int`.
    Ok(if counter.flags()? & EFD_SEMAPHORE != 0 {
        Err("an eventfd that counts down by one (EFD_SEMAPHORE)".into())
    } else if u32::try_from(count).is_err() {
        Err(format!("an eventfd that has counted to {count}, which is more than 32 bits"))
    } else if counter.references()? > 1 {
        Err("an eventfd that the guest's kernel signals".into())
    } else {
        Ok(OpenFileKind::Eventfd { count })
    })
}

fn signalfd(taker: &SignalfdCtx<'_>) -> Result<Result<OpenFileKind, String>, KernelError> {
    let mask = SigSet(!taker.others()?);
    let of_libc = SIGNALS_OF_LIBC.into_iter().find(|&signal| mask.contains(signal));
    Ok(match of_libc {
        Some(signal) => Err(format!("a signalfd for signal {signal}, which libc has for itself")),
        None => Ok(OpenFileKind::Signalfd { mask }),
    })
}

/// A timer, or what no image can say of it.
fn timerfd(timer: &TimerfdCtx<'_>) -> Result<Result<OpenFileKind, String>, KernelError> {
    let clock = timer.clock()?;
    // `verify_timerfd()` (`criu/include/timerfd.h`).
    if !matches!(clock, REALTIME | MONOTONIC | BOOTTIME) {
        return Ok(Err(format!("a timerfd on clock {clock}, which CRIU does not take")));
    }
    if timer.is_canceled()? {
        return Ok(Err("a timerfd that has yet to tell that its clock was set".into()));
    }
    let read = read(timer, clock)?;
    let is_off = read.setting.remaining == 0;
    if is_off && read.settime_flags & Timerfd::CANCEL_ON_SET != 0 {
        return Ok(Err("a timerfd that is off but tells when its clock is set".into()));
    }
    Ok(Ok(OpenFileKind::Timerfd { timer: read }))
}

/// What is left, as `timerfd_gettime()` says it. It sets a timer off that has
/// fired and waits to be read, and so counts on.
fn read(timer: &TimerfdCtx<'_>, clock: i32) -> Result<Timerfd, KernelError> {
    let timekeeper = Timekeeper::core(timer.kernel())?;
    let (hrtimer, interval) = (timer.hrtimer()?, timer.interval()?);
    // A relative time of CLOCK_REALTIME is one of CLOCK_MONOTONIC.
    let base = hrtimer.base()?.map_or(Ok(clock), |base| base.clock())?;
    let now = timekeeper.clock(base)?;
    let mut ticks = timer.ticks()?;
    let setting = match hrtimer.armed()? {
        None if timer.expired()? && interval != 0 => {
            let (expires, missed) = forward(hrtimer.expires()?, now, interval);
            // The first one was counted.
            ticks = ticks.saturating_add(missed.saturating_sub(1));
            interval_timer(Some(expires), now, interval)
        }
        None => IntervalTimer { remaining: 0, interval },
        expires => interval_timer(expires, now, interval),
    };
    let settime_flags = timer.settime_flags()?;
    Ok(Timerfd { clock, ticks, settime_flags, setting, now: timekeeper.clock(clock)? })
}
