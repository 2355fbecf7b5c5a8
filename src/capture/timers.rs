//! Timers of a process: `setitimer()` and `timer_create()`.

use std::collections::{HashMap, HashSet};

use crate::control::Target;
use crate::kernel::KernelError;
use crate::linux::{
    Pid, PosixTimer as View, SIGINFO_SIZE, SignalStruct, Sigqueue, Struct, Task, Timekeeper,
    TimerState, settled,
};
use crate::memory::GuestVirt;
use crate::snapshot::{IntervalTimer, IntervalTimers, PosixTimer, TimerNotification};

use super::error::CaptureError;
use super::obstacle::Obstacles;

/// `CLOCK_*` that timers can be made on (`include/uapi/linux/time.h`).
pub(super) const REALTIME: i32 = 0;
pub(super) const MONOTONIC: i32 = 1;
pub(super) const BOOTTIME: i32 = 7;
const REALTIME_ALARM: i32 = 8;
const BOOTTIME_ALARM: i32 = 9;
const TAI: i32 = 11;

/// Parts of the number of a CPU clock (`include/linux/posix-timers_types.h`):
/// the complement of a PID, 0 for the caller, above these bits.
const PER_THREAD: i32 = 4;
const WHICH: i32 = 3;
const PID_SHIFT: u32 = 3;

/// Versions of CRIU before 4.2, and all on kernels before 6.15, make and delete
/// one timer for each lower ID: some seconds for this many.
const MAX_ID: u32 = 1 << 20;

/// `SI_TIMER` and `SIGQUEUE_PREALLOC`: a pending signal that belongs to a timer.
const SI_TIMER: i32 = -2;
const PREALLOCATED: u32 = 1;
/// `si_overrun` and `si_sys_private` in a `siginfo_t` of a timer; the value
/// lies between them.
const SI_OVERRUN: usize = 20;
const SI_VALUE: usize = 24;
const SI_SYS_PRIVATE: usize = 32;

/// Notes the timers that cannot be saved. The process may run on.
pub(super) fn survey(target: &Target<'_>, obstacles: &mut Obstacles) -> Result<(), CaptureError> {
    let signal = target.leader().signal_struct()?;
    let tids = tids(target)?;
    for timer in settled(|| signal.posix_timers())? {
        let id = timer.id()?;
        let mut note = |what: String| obstacles.add(format!("its POSIX timer {id} {what}"));
        if id > MAX_ID {
            note(format!("has an ID that CRIU takes long to count up to (more than {MAX_ID})"));
        }
        if let Err(what) = clock(&timer, target.pid(), &tids)? {
            note(what);
        }
        if let Err(what) = notification(&timer, &tids)? {
            note(what);
        }
    }
    Ok(())
}

fn tids(target: &Target<'_>) -> Result<HashSet<i32>, KernelError> {
    target.threads()?.iter().map(Task::pid).collect()
}

/// The clock as the process's leader has to name it, or what is wrong with it.
fn clock(
    timer: &View<'_>,
    pid: i32,
    tids: &HashSet<i32>,
) -> Result<Result<i32, String>, KernelError> {
    let clock = timer.clock()?;
    if matches!(clock, REALTIME | MONOTONIC | BOOTTIME | REALTIME_ALARM | BOOTTIME_ALARM | TAI) {
        return Ok(Ok(clock));
    }
    if clock >= 0 || clock & WHICH == WHICH {
        return Ok(Err(format!("runs on clock {clock}")));
    }
    let owner = timer.cpu()?.pid()?.map_or(Ok(0), |pid| pid.global())?;
    if clock & PER_THREAD == 0 {
        let own = (owner == pid).then_some(clock);
        return Ok(own.ok_or_else(|| format!("runs on the CPU time of process {owner}")));
    }
    if !tids.contains(&owner) {
        return Ok(Err(format!("runs on the CPU time of thread {owner}, which is not its own")));
    }
    // A thread that names itself by 0 is another than the one that restores.
    Ok(Ok(if owner == pid { clock } else { !owner << PID_SHIFT | clock & (PER_THREAD | WHICH) }))
}

/// Whom it signals, or what is wrong with that.
fn notification(
    timer: &View<'_>,
    tids: &HashSet<i32>,
) -> Result<Result<TimerNotification, String>, KernelError> {
    // `SIGEV_*` (`include/uapi/asm-generic/siginfo.h`).
    Ok(Ok(match timer.notify()? {
        0 => TimerNotification::Process,
        1 => TimerNotification::Nobody,
        2 => TimerNotification::Function,
        4 => {
            let tid = timer.target()?.as_ref().map_or(Ok(0), Pid::global)?;
            if !tids.contains(&tid) {
                return Ok(Err(format!("signals thread {tid}, which has ended")));
            }
            TimerNotification::Thread(tid.cast_unsigned())
        }
        other => return Ok(Err(format!("notifies in an unknown way ({other})"))),
    }))
}

/// The POSIX timers of a frozen process, and what is to be told with the
/// signals of theirs that are pending.
pub(super) struct PosixTimers {
    /// By ID.
    timers: Vec<PosixTimer>,
    /// By queue entry.
    pending: HashMap<GuestVirt, PendingSignal>,
}

/// What a timer's queue entry is good for.
struct PendingSignal {
    is_stale: bool,
    /// Expirations that will have had no signal of their own; `None` for a
    /// timer that has no signal pending or fires once.
    overrun: Option<i64>,
}

impl PosixTimers {
    /// Reads them; the survey has found nothing against them.
    pub(super) fn read(target: &Target<'_>, now: &Now<'_, '_>) -> Result<Self, CaptureError> {
        let tids = tids(target)?;
        let unfit = |what| CaptureError::Timer { pid: target.pid(), what };
        let signal = target.leader().signal_struct()?;
        let (mut timers, mut pending) = (Vec::new(), HashMap::new());
        for timer in signal.posix_timers()? {
            let clock = clock(&timer, target.pid(), &tids)?.map_err(unfit)?;
            let notification = notification(&timer, &tids)?.map_err(unfit)?;
            let (known, signal) = read(&timer, clock, notification, now)?;
            timers.push(known);
            pending.insert(timer.entry()?.addr(), signal);
        }
        timers.sort_by_key(|timer| timer.id);
        Ok(Self { timers, pending })
    }

    /// What a pending signal tells when it is taken; `None` for one that the
    /// kernel drops then.
    pub(super) fn siginfo(
        &self,
        queued: &Sigqueue<'_>,
    ) -> Result<Option<[u8; SIGINFO_SIZE]>, KernelError> {
        let mut info = queued.siginfo()?;
        let code = i32::from_le_bytes([info[8], info[9], info[10], info[11]]);
        if code != SI_TIMER || queued.flags()? & PREALLOCATED == 0 {
            return Ok(Some(info));
        }
        // The entry of a timer that is there no more is dropped, too: where it
        // is not, `sigqueue_free()` has cleared the flag.
        let Some(pending) = self.pending.get(&queued.addr()) else { return Ok(None) };
        if pending.is_stale {
            return Ok(None);
        }
        if let Some(overrun) = pending.overrun {
            info[SI_OVERRUN..][..4].copy_from_slice(&clamped(overrun).to_le_bytes());
        }
        info[SI_SYS_PRIVATE..][..4].fill(0);
        Ok(Some(info))
    }

    /// The timers themselves, by ID.
    pub(super) fn into_timers(self) -> Vec<PosixTimer> {
        self.timers
    }
}

/// `timer_overrun_to_int()`: what user space is told.
fn clamped(overrun: i64) -> u32 {
    overrun.clamp(0, i64::from(i32::MAX)) as u32
}

fn read(
    timer: &View<'_>,
    clock: i32,
    notification: TimerNotification,
    now: &Now<'_, '_>,
) -> Result<(PosixTimer, PendingSignal), CaptureError> {
    let entry = timer.entry()?;
    let info = entry.siginfo()?;
    let mut value = [0; 8];
    value.copy_from_slice(&info[SI_VALUE..][..8]);
    let expires = timer_expires(timer, clock)?;
    let state = match timer.state()? {
        // Of CPU timers the kernel keeps no other sign of being armed.
        TimerState::Disarmed if clock < 0 && expires != 0 => TimerState::Armed,
        state => state,
    };
    let (setting, missed) = setting(
        Moment { expires, now: now.of_timer(timer, clock)? },
        timer.interval()?,
        state,
        notification == TimerNotification::Nobody,
    );
    let waits = state == TimerState::SignalPending && setting.interval != 0;
    let pending = PendingSignal {
        is_stale: timer.signal_is_stale()?,
        overrun: waits.then_some(timer.overrun()?.saturating_add_unsigned(missed)),
    };
    let timer = PosixTimer {
        id: timer.id()?,
        clock,
        signal: u32::from(info[0]),
        notification,
        value: u64::from_le_bytes(value),
        overrun: clamped(timer.overrun_last()?),
        setting,
    };
    Ok((timer, pending))
}

fn timer_expires(timer: &View<'_>, clock: i32) -> Result<u64, KernelError> {
    match clock {
        REALTIME_ALARM | BOOTTIME_ALARM => timer.alarm()?.expires(),
        clock if clock < 0 => timer.cpu()?.expires(),
        _ => timer.hrtimer()?.expires(),
    }
}

/// When a timer fires, and what its clock shows, both in nanoseconds.
#[derive(Clone, Copy)]
struct Moment {
    expires: u64,
    now: u64,
}

/// What `timer_gettime()` says (`common_timer_get()` and
/// `posix_cpu_timer_get()`), and how many intervals went by since the timer
/// fired last.
fn setting(
    moment: Moment,
    interval: u64,
    state: TimerState,
    tells_only: bool,
) -> (IntervalTimer, u64) {
    let Moment { expires, now } = moment;
    let off = (IntervalTimer::default(), 0);
    match state {
        // It is never armed, but goes by its time of expiry.
        _ if tells_only && expires == 0 => off,
        _ if tells_only && interval == 0 => {
            (IntervalTimer { remaining: expires.saturating_sub(now), interval }, 0)
        }
        TimerState::Disarmed if !tells_only => off,
        // It fires once, and has.
        TimerState::SignalPending if interval == 0 => off,
        TimerState::Armed if !tells_only => (interval_timer(Some(expires), now, interval), 0),
        _ => {
            let (expires, missed) = forward(expires, now, interval);
            (interval_timer(Some(expires), now, interval), missed)
        }
    }
}

/// `hrtimer_forward()`: the first expiry after now, and how many intervals away
/// it is. The interval is not 0.
pub(super) fn forward(expires: u64, now: u64, interval: u64) -> (u64, u64) {
    match now.checked_sub(expires) {
        Some(late) => {
            let missed = (late / interval.max(1)).saturating_add(1);
            (expires.saturating_add(missed.saturating_mul(interval)), missed)
        }
        None => (expires, 0),
    }
}

/// The clocks of a frozen process while its VM is paused.
pub(super) struct Now<'a, 'k> {
    target: &'a Target<'k>,
    timekeeper: Timekeeper<'k>,
}

impl<'a, 'k> Now<'a, 'k> {
    pub(super) fn new(target: &'a Target<'k>) -> Result<Self, KernelError> {
        Ok(Self { target, timekeeper: Timekeeper::core(target.leader().kernel())? })
    }

    /// What the clock shows that a timer's expiry is a time of.
    fn of_timer(&self, timer: &View<'_>, clock: i32) -> Result<u64, KernelError> {
        match clock {
            REALTIME_ALARM => self.timekeeper.clock(REALTIME),
            BOOTTIME_ALARM => self.timekeeper.clock(BOOTTIME),
            clock if clock >= 0 => {
                // A relative time of CLOCK_REALTIME is one of CLOCK_MONOTONIC.
                let base = timer.hrtimer()?.base()?;
                self.timekeeper.clock(base.map_or(Ok(clock), |base| base.clock())?)
            }
            clock if clock & PER_THREAD == 0 => self.process_cpu(clock & WHICH),
            clock => {
                let tid = timer.cpu()?.pid()?.map_or(Ok(0), |pid| pid.global())?;
                let threads = self.target.threads()?;
                for thread in &threads {
                    if thread.pid()? == tid {
                        return thread_cpu(thread, clock & WHICH);
                    }
                }
                Ok(0)
            }
        }
    }

    /// `cpu_clock_sample_group()`: kept apart while a timer is set, which may
    /// be ahead of the sum.
    fn process_cpu(&self, which: i32) -> Result<u64, KernelError> {
        let signal = self.target.leader().signal_struct()?;
        if signal.cpu_timers_active()? {
            return cpu_clock(which, || {
                Ok([signal.timer_utime()?, signal.timer_stime()?, signal.timer_runtime()?])
            });
        }
        let mut sum = cpu_clock(which, || {
            Ok([signal.utime()?, signal.stime()?, signal.sum_sched_runtime()?])
        })?;
        for thread in &self.target.threads()? {
            sum = sum.saturating_add(thread_cpu(thread, which)?);
        }
        Ok(sum)
    }
}

/// `cpu_clock_sample()`
fn thread_cpu(thread: &Task<'_>, which: i32) -> Result<u64, KernelError> {
    cpu_clock(which, || Ok([thread.utime()?, thread.stime()?, thread.sum_exec_runtime()?]))
}

/// Of user time, kernel time and what the scheduler counts, what a CPU clock
/// shows: `CPUCLOCK_PROF`, `CPUCLOCK_VIRT` or `CPUCLOCK_SCHED`.
fn cpu_clock(
    which: i32,
    times: impl FnOnce() -> Result<[u64; 3], KernelError>,
) -> Result<u64, KernelError> {
    let [user, system, scheduler] = times()?;
    Ok(match which {
        0 => user.saturating_add(system),
        1 => user,
        _ => scheduler,
    })
}

/// Timers of `setitimer()`; `now` is `CLOCK_MONOTONIC` in nanoseconds.
pub(super) fn itimers(signal: &SignalStruct<'_>, now: u64) -> Result<IntervalTimers, CaptureError> {
    // `enum { CPUCLOCK_PROF, CPUCLOCK_VIRT }` (`include/linux/posix-timers.h`).
    let (prof, virt) = (signal.it()?.get(0)?, signal.it()?.get(1)?);
    let (utime, stime) = (signal.timer_utime()?, signal.timer_stime()?);
    let interval = signal.it_real_incr()?;
    let real = match signal.real_timer()?.armed()? {
        // Its signal is pending, and lets it run on when it is taken
        // (`dequeue_signal()`).
        None if interval != 0 => Some(forward(signal.real_timer()?.expires()?, now, interval).0),
        expires => expires,
    };
    Ok(IntervalTimers {
        real: interval_timer(real, now, interval),
        virt: interval_timer(set(virt.expires()?), utime, virt.incr()?),
        prof: interval_timer(set(prof.expires()?), utime.wrapping_add(stime), prof.incr()?),
    })
}

/// A CPU timer that expires at 0 is not set (`struct cpu_itimer`).
fn set(expires: u64) -> Option<u64> {
    (expires != 0).then_some(expires)
}

pub(super) fn interval_timer(expires: Option<u64>, now: u64, interval: u64) -> IntervalTimer {
    match expires {
        Some(expires) => IntervalTimer { remaining: expires.saturating_sub(now).max(1), interval },
        None => IntervalTimer { remaining: 0, interval },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(
        (expires, now): (u64, u64),
        interval: u64,
        state: TimerState,
        tells_only: bool,
    ) -> (u64, u64, u64) {
        let (timer, missed) = setting(Moment { expires, now }, interval, state, tells_only);
        (timer.remaining, timer.interval, missed)
    }

    #[test]
    fn an_armed_timer_has_what_is_left() {
        let armed = |moment, interval| shown(moment, interval, TimerState::Armed, false);
        assert_eq!(armed((500, 200), 0), (300, 0, 0));
        assert_eq!(armed((500, 200), 70), (300, 70, 0));
        // Due: the kernel never says 0 of one that has yet to fire.
        assert_eq!(armed((500, 900), 0), (1, 0, 0));
    }

    #[test]
    fn a_timer_that_is_off_has_nothing() {
        assert_eq!(shown((500, 200), 70, TimerState::Disarmed, false), (0, 0, 0));
        assert_eq!(shown((500, 900), 0, TimerState::SignalPending, false), (0, 0, 0));
    }

    #[test]
    fn a_timer_whose_signal_is_pending_runs_on_in_step() {
        let pending = |moment| shown(moment, 100, TimerState::SignalPending, false);
        assert_eq!(pending((500, 500)), (100, 100, 1));
        assert_eq!(pending((500, 599)), (1, 100, 1));
        assert_eq!(pending((500, 730)), (70, 100, 3));
        // `timer_gettime()` has moved it.
        assert_eq!(pending((800, 730)), (70, 100, 0));
    }

    #[test]
    fn a_timer_that_tells_only_the_time_is_never_armed() {
        let tells = |moment, interval| shown(moment, interval, TimerState::Disarmed, true);
        assert_eq!(tells((0, 900), 0), (0, 0, 0));
        assert_eq!(tells((500, 200), 0), (300, 0, 0));
        assert_eq!(tells((500, 900), 0), (0, 0, 0));
        assert_eq!(tells((500, 730), 100), (70, 100, 3));
    }

    #[test]
    fn overruns_are_told_as_the_kernel_tells_them() {
        assert_eq!(clamped(-1), 0);
        assert_eq!(clamped(7), 7);
        assert_eq!(clamped(i64::MAX), i32::MAX as u32);
    }
}
