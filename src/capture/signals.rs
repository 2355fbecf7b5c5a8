//! Signal handlers and pending signals.

use crate::control::Target;
use crate::linux::{SigPending, Struct, Task};
use crate::snapshot::{SIGINFO_SIZE, SigAction, SigHand, SigInfo, SigSet};

use super::error::CaptureError;
use super::system_call::Handler;
use super::timers::PosixTimers;

/// `SI_USER` with sender 0, as `collect_signal()` makes up for a signal whose
/// queue entry could not be allocated, is all zeros but for the number.
const SI_SIGNO: usize = 0;

/// `SIG_IGN`; `SIG_DFL` is 0.
const SIG_IGN: u64 = 1;
/// `SA_RESTART` (`arch/x86/include/uapi/asm/signal.h`).
const SA_RESTART: u64 = 0x1000_0000;

/// What the process does on each signal.
pub(super) fn handlers(target: &Target<'_>) -> Result<SigHand, CaptureError> {
    let actions = target.leader().sighand_struct()?.action()?;
    let mut sighand = SigHand::default();
    for (index, slot) in sighand.actions.iter_mut().enumerate() {
        let action = actions.get(index as u64)?;
        *slot = SigAction {
            handler: action.handler()?,
            flags: action.flags()?,
            restorer: action.restorer()?,
            mask: SigSet(action.mask()?),
        };
    }
    Ok(sighand)
}

/// Pending signals: the queued ones, and those whose queue entry could not be
/// allocated or was never made (a pseudo-signal).
pub(super) fn pending(
    set: SigPending<'_>,
    timers: &PosixTimers,
) -> Result<Vec<SigInfo>, CaptureError> {
    let mut bits = SigSet(set.signal()?);
    let mut pending = Vec::new();
    for entry in set.queued()? {
        bits.remove(u32::from(entry.siginfo()?[SI_SIGNO]));
        pending.extend(timers.siginfo(&entry)?.map(SigInfo));
    }
    for signal in (1..=64u8).filter(|&signal| bits.contains(u32::from(signal))) {
        let mut info = [0; SIGINFO_SIZE];
        info[SI_SIGNO] = signal;
        pending.push(SigInfo(info));
    }
    Ok(pending)
}

/// Which signals that are pending a thread takes when it goes on.
pub(super) struct Deliveries<'k> {
    /// All threads, the leader first.
    threads: Vec<Task<'k>>,
    /// Signals pending for the process.
    shared: SigSet,
    handlers: SigHand,
}

impl<'k> Deliveries<'k> {
    pub(super) fn of(target: &Target<'k>) -> Result<Self, CaptureError> {
        let shared = target.leader().signal_struct()?.shared_pending()?.signal()?;
        Ok(Self { threads: target.threads()?, shared: SigSet(shared), handlers: handlers(target)? })
    }

    /// What the thread runs first when it goes on: a system call that it is in
    /// ends by it. Where the call has put a mask of its own in place, signals
    /// that only the mask before it blocks do not count: made again, the call
    /// takes them.
    pub(super) fn handler(&self, thread: &Task<'_>) -> Result<Option<Handler>, CaptureError> {
        let own = SigSet(thread.pending()?.signal()?);
        let before_call =
            if thread.restore_sigmask()?.unwrap_or(false) { thread.saved_sigmask()? } else { 0 };
        let blocked = SigSet(thread.blocked()? | before_call);
        // `dequeue_signal()`: its own first.
        for (pending, is_own) in [(own, true), (self.shared, false)] {
            for (signal, action) in (1..).zip(&self.handlers.actions) {
                let caught = action.handler > SIG_IGN;
                if !caught || !pending.contains(signal) || blocked.contains(signal) {
                    continue;
                }
                if is_own || self.takes(thread, signal)? {
                    let restarts = action.flags & SA_RESTART != 0;
                    return Ok(Some(if restarts {
                        Handler::Restarts
                    } else {
                        Handler::Interrupts
                    }));
                }
            }
        }
        Ok(None)
    }

    /// Whether it is this thread that takes a signal to the process. Any may
    /// that does not block it; `complete_signal()` prefers the leader.
    fn takes(&self, thread: &Task<'_>, signal: u32) -> Result<bool, CaptureError> {
        for other in &self.threads {
            if !SigSet(other.blocked()?).contains(signal) {
                return Ok(other.addr() == thread.addr());
            }
        }
        Ok(false)
    }
}
