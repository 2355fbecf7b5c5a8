//! Timers of `timer_create()`.

use crate::kernel::{Kernel, KernelError};
use crate::memory::GuestVirt;

use super::hrtimer::{Alarm, CpuTimer, Hrtimer};
use super::pid::Pid;
use super::signal::{SignalStruct, Sigqueue};
use super::view::{Embedded, Ptr, Raw, Struct};

/// Most timers that are read of one process; each counts against
/// `RLIMIT_SIGPENDING`.
const MAX_TIMERS: usize = 65536;

/// `REQUEUE_PENDING` in `it_requeue_pending` (`include/linux/posix-timers.h`).
const REQUEUE_PENDING: u32 = 1;

kernel_struct! {
    /// A timer of `timer_create()`: `struct k_itimer`.
    pub struct PosixTimer: "k_itimer" {
        /// The next one of the process: null at the end of a `hlist`, the
        /// process's list head at the end of the `list_head` that older kernels
        /// have.
        next: GuestVirt = ["list.next"],
        /// Where the link to this one lies: the first word of another's
        /// `list`, or of the head, in both kinds of list.
        back: GuestVirt = ["list.pprev", "list.prev"],
        /// Its ID, counted up for each process.
        id: u32 = ["it_id"],
        /// `CLOCK_*`; negative for a CPU clock.
        clock: i32 = ["it_clock"],
        /// `SIGEV_*`.
        notify: u32 = ["it_sigev_notify"],
        /// Nanoseconds after which it fires again; 0 for once.
        interval: u64 = ["it_interval"],
        /// Expirations since the last signal that had none of their own, less 1.
        overrun: i64 = ["it_overrun"],
        /// What `timer_getoverrun()` says.
        overrun_last: i64 = ["it_overrun_last"],
        /// Whom it signals: a thread for `SIGEV_THREAD_ID`, else the process.
        target: Ptr<Pid<'k>> = ["it_pid"],
        /// Its queue entry: a pointer up to 6.12, embedded later.
        sigqueue: Raw = ["sigq"],
        /// `POSIX_TIMER_*`, since 6.13.
        status: u32 = ?["it_status"],
        /// Whether it is armed, up to 6.12.
        active: u32 = ?["it_active"],
        /// Bit 0: its signal is pending and it runs on once that is taken; up
        /// to 6.12.
        requeue_pending: u32 = ?["it_requeue_pending"],
        /// Counts settings of the timer, since 6.13.
        signal_seq: u32 = ?["it_signal_seq"],
        /// The count as its pending signal was queued, since 6.13.
        sigqueue_seq: u32 = ?["it_sigqueue_seq"],
        /// What a timer on a system clock runs by.
        hrtimer: Embedded<Hrtimer<'k>> = ["it.real.timer"],
        /// What a timer on an alarm clock runs by.
        alarm: Embedded<Alarm<'k>> = ["it.alarm.alarmtimer"],
        /// What a timer on a CPU clock runs by.
        cpu: Embedded<CpuTimer<'k>> = ["it.cpu"],
    }
}

/// What a timer is doing: `POSIX_TIMER_*` (`include/linux/posix-timers.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerState {
    /// It does not run, or is one that only tells the time (`SIGEV_NONE`).
    Disarmed,
    /// It runs.
    Armed,
    /// Its signal is pending; it goes on when that is taken.
    SignalPending,
}

impl<'k> PosixTimer<'k> {
    /// Whether it runs.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for a state that no kernel has.
    pub fn state(&self) -> Result<TimerState, KernelError> {
        if let Some(status) = self.status()? {
            return match status {
                0 => Ok(TimerState::Disarmed),
                1 => Ok(TimerState::Armed),
                2 => Ok(TimerState::SignalPending),
                other => Err(self.place("status")?.corrupt(format!("there is no state {other}"))),
            };
        }
        let pending = self.requeue_pending()?.unwrap_or(0) & REQUEUE_PENDING != 0;
        Ok(match self.active()?.unwrap_or(0) {
            _ if pending => TimerState::SignalPending,
            0 => TimerState::Disarmed,
            _ => TimerState::Armed,
        })
    }

    /// Its queue entry, which holds signal and value all the time.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn entry(&self) -> Result<Sigqueue<'k>, KernelError> {
        let place = self.sigqueue()?;
        let addr = match place.size() {
            8 => GuestVirt::new(place.load()?),
            _ => place.addr(),
        };
        Sigqueue::at(self.kernel(), addr)
    }

    /// Whether the kernel drops the timer's pending signal when it comes to be
    /// taken, as the timer was set anew or deleted since
    /// (`posixtimer_deliver_signal()`, since 6.13).
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn signal_is_stale(&self) -> Result<bool, KernelError> {
        Ok(self.signal_seq()? != self.sigqueue_seq()?)
    }
}

impl<'k> SignalStruct<'k> {
    /// The timers of `timer_create()`, newest first.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for a list that does not end or is torn.
    pub fn posix_timers(&self) -> Result<Vec<PosixTimer<'k>>, KernelError> {
        walk(self.kernel(), self.place("first_posix_timer")?.addr(), self.first_posix_timer()?)
    }
}

/// The list whose head lies at `head`, whichever kind it is.
fn walk(
    kernel: &Kernel,
    head: GuestVirt,
    first: GuestVirt,
) -> Result<Vec<PosixTimer<'_>>, KernelError> {
    let corrupt = |addr, why: String| KernelError::Corrupt {
        what: "the list of POSIX timers".into(),
        addr,
        why,
    };
    let (mut from, mut at) = (head, first);
    let mut timers = Vec::new();
    while !at.is_null() && at != head {
        if timers.len() == MAX_TIMERS {
            return Err(corrupt(head, format!("it has more than {MAX_TIMERS} entries")));
        }
        if !at.is_kernel() {
            return Err(corrupt(from, format!("it links to {at}")));
        }
        let timer = PosixTimer::container_of(kernel, at, "next")?;
        if timer.back()? != from {
            return Err(corrupt(at, format!("it does not link back to {from}")));
        }
        timers.push(timer);
        (from, at) = (at, timer.next()?);
    }
    Ok(timers)
}
