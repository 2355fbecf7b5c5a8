//! Pseudo-signals: sending a signal by writing it into pending state.
//!
//! The signal's bit is set in `signal->shared_pending` and one thread is made
//! to look; the kernel does the rest when that thread next returns to user
//! mode. As from `kill()` without information about the sender, the handler
//! sees `SI_USER` with PID and UID 0 (`collect_signal()`, `kernel/signal.c`).

use nix::sys::signal::Signal;
use serde::Serialize;

use crate::domain::Domain;
use crate::kernel::KernelError;
use crate::linux::{Struct, Task, TaskFlags, TaskState};

use super::error::ControlError;
use super::intervention::{Intervention, intervene, is_free};
use super::jobctl::{Jobctl, SignalFlags};
use super::pending::{SIGKILL, bit, make_pending, set_jobctl, set_sigpending};
use super::target::{Deadline, Target, describe, is_trapped};
use super::wake::{Nudge, nudge};

const SIGCONT: u32 = Signal::SIGCONT as u32;
/// `SIG_KERNEL_STOP_MASK` (`include/linux/signal.h`).
const STOP_SIGNALS: [Signal; 4] =
    [Signal::SIGSTOP, Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU];
/// `SIG_KERNEL_IGNORE_MASK`: ignored unless there is a handler.
const IGNORED_BY_DEFAULT: [Signal; 4] =
    [Signal::SIGCONT, Signal::SIGCHLD, Signal::SIGWINCH, Signal::SIGURG];
const SIG_DFL: u64 = 0;
const SIG_IGN: u64 = 1;

/// What a signal did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// All threads are stopped.
    Stopped,
    /// The process goes on, or was not stopped.
    Continued,
    /// The process has ended.
    Killed,
    /// A thread has taken the signal.
    Delivered,
    /// The process ignores the signal; nothing was changed.
    Ignored,
    /// The signal is pending until a thread can take it: all block it, or are
    /// frozen or stopped.
    Pending,
}

/// Sends `signal` (1 to 64) to a process and waits until it took effect.
/// Returns what it did.
///
/// # Errors
///
/// [`ControlError::TimedOut`] where it did not take effect before `deadline`;
/// it may still do so.
pub fn send(
    domain: &Domain,
    target: &Target<'_>,
    signal: u32,
    deadline: Deadline,
) -> Result<Effect, ControlError> {
    match send_and_wait(domain, target, signal, deadline) {
        // What it ended with or what it was looked at with in that moment.
        Err(_) if !target.is_alive()? => Ok(Effect::Killed),
        result => result,
    }
}

fn send_and_wait(
    domain: &Domain,
    target: &Target<'_>,
    signal: u32,
    deadline: Deadline,
) -> Result<Effect, ControlError> {
    if signal != SIGCONT && is_ignored(target, signal)? {
        return Ok(Effect::Ignored);
    }
    let fatal = is_fatal(target, signal)?;
    let mut sent = false;
    loop {
        if !sent || must_look_again(target, signal)? {
            intervene(domain, target.leader().kernel(), |intervention| {
                // Its memory may be another's.
                if !target.is_alive()? {
                    return Err(target.gone());
                }
                if !is_free(target)? {
                    return Ok(());
                }
                if !sent {
                    sent = prepare(target, signal)?;
                }
                if sent {
                    make_a_thread_look(intervention, target, signal)?;
                }
                Ok(())
            })?;
        }
        if sent && let Some(effect) = effect(target, signal, fatal)? {
            return Ok(effect);
        }
        let thread = target.leader();
        let waited = deadline.wait(target, goal(signal), || describe(&thread));
        if sent && let Some(effect) = effect(target, signal, fatal)? {
            return Ok(effect);
        }
        waited?;
    }
}

fn goal(signal: u32) -> &'static str {
    match signal {
        SIGKILL => "die",
        SIGCONT => "continue",
        _ if is_stop(signal) => "stop",
        _ => "take the signal",
    }
}

fn is_stop(signal: u32) -> bool {
    STOP_SIGNALS.iter().any(|&stop| stop as u32 == signal)
}

fn action(target: &Target<'_>, signal: u32) -> Result<u64, KernelError> {
    target.leader().sighand_struct()?.action()?.get(u64::from(signal - 1))?.handler()
}

/// `sig_ignored()`: by choice or by default, while no thread blocks it.
fn is_ignored(target: &Target<'_>, signal: u32) -> Result<bool, KernelError> {
    let by_default = IGNORED_BY_DEFAULT.iter().any(|&ignored| ignored as u32 == signal);
    let ignored = match action(target, signal)? {
        SIG_DFL => by_default,
        handler => handler == SIG_IGN,
    };
    Ok(ignored && target.leader().blocked()? & bit(signal) == 0)
}

/// Whether the process dies of the signal: by default, unless it is the init of
/// a PID namespace, which signals without a handler do not reach.
fn is_fatal(target: &Target<'_>, signal: u32) -> Result<bool, KernelError> {
    let flags = SignalFlags::from_bits_retain(target.leader().signal_struct()?.flags()?);
    let harmless = IGNORED_BY_DEFAULT.iter().any(|&ignored| ignored as u32 == signal);
    let fatal = !harmless && !is_stop(signal) && action(target, signal)? == SIG_DFL;
    Ok(signal == SIGKILL || fatal && !flags.contains(SignalFlags::UNKILLABLE))
}

/// Changes signal state as `prepare_signal()` and `send_signal()` do. Returns
/// whether that was possible at this moment.
fn prepare(target: &Target<'_>, signal: u32) -> Result<bool, KernelError> {
    let stops = STOP_SIGNALS.iter().fold(0, |set, &stop| set | bit(stop as u32));
    let opposite = match signal {
        SIGCONT => stops,
        _ if is_stop(signal) => bit(SIGCONT),
        _ => 0,
    };
    if !drop_pending(target, opposite)? {
        return Ok(false);
    }
    if signal == SIGCONT {
        end_group_stop(target)?;
        if is_ignored(target, signal)? {
            return Ok(true);
        }
    }
    make_pending(&target.leader(), signal)?;
    Ok(true)
}

/// `flush_sigqueue_mask()` for all threads and the process. An entry of a queue
/// cannot be freed from outside: where there is one, nothing is dropped and the
/// answer is false.
fn drop_pending(target: &Target<'_>, signals: u64) -> Result<bool, KernelError> {
    let mut sets = vec![target.leader().signal_struct()?.shared_pending()?];
    for thread in target.threads()? {
        sets.push(thread.pending()?);
    }
    sets.retain(|set| set.signal().is_ok_and(|pending| pending & signals != 0));
    for set in &sets {
        for entry in set.queued()? {
            let info = entry.siginfo()?;
            let signo = u32::from_le_bytes([info[0], info[1], info[2], info[3]]);
            if (1..=64).contains(&signo) && signals & bit(signo) != 0 {
                return Ok(false);
            }
        }
    }
    for set in &sets {
        let pending = set.signal()?;
        set.place("signal")?.store(pending & !signals)?;
    }
    Ok(true)
}

/// The SIGCONT half of `prepare_signal()`, but for the wake-ups.
fn end_group_stop(target: &Target<'_>) -> Result<(), KernelError> {
    for thread in target.threads()? {
        let stop = Jobctl::STOP_PENDING | Jobctl::STOP_CONSUME | Jobctl::STOP_DEQUEUED;
        set_jobctl(&thread, |jobctl| jobctl - stop)?;
    }
    let signal = target.leader().signal_struct()?;
    let flags = SignalFlags::from_bits_retain(signal.flags()?);
    let tell = if flags.contains(SignalFlags::STOP_STOPPED) {
        SignalFlags::CLD_CONTINUED
    } else if signal.group_stop_count()? != 0 {
        SignalFlags::CLD_STOPPED
    } else {
        return Ok(());
    };
    let flags = (flags - SignalFlags::STOP_MASK) | tell | SignalFlags::STOP_CONTINUED;
    signal.place("flags")?.store(u64::from(flags.bits()))?;
    signal.place("group_stop_count")?.store(0)?;
    signal.place("group_exit_code")?.store(0)
}

/// Whether the process is stopped or about to stop.
fn is_stopping(target: &Target<'_>) -> Result<bool, KernelError> {
    let signal = target.leader().signal_struct()?;
    let flags = SignalFlags::from_bits_retain(signal.flags()?);
    Ok(flags.contains(SignalFlags::STOP_STOPPED) || signal.group_stop_count()? != 0)
}

/// Wakes the threads that a group stop has left behind. One that had yet to
/// fall asleep when SIGCONT came is woken once it has. A later stop is not
/// undone.
fn continue_threads(
    intervention: &mut Intervention<'_, '_>,
    target: &Target<'_>,
) -> Result<(), KernelError> {
    if is_stopping(target)? {
        return Ok(());
    }
    for thread in target.threads()? {
        if thread.state()?.contains(TaskState::STOPPED) {
            set_jobctl(&thread, |jobctl| jobctl - Jobctl::STOPPED)?;
            nudge(intervention, &thread, TaskState::STOPPED)?;
        }
    }
    Ok(())
}

/// `complete_signal()`: the first thread that wants the signal is made to look.
fn make_a_thread_look(
    intervention: &mut Intervention<'_, '_>,
    target: &Target<'_>,
    signal: u32,
) -> Result<(), KernelError> {
    if signal == SIGCONT {
        continue_threads(intervention, target)?;
    }
    for thread in target.threads()? {
        if !wants(&thread, signal)? {
            continue;
        }
        set_sigpending(&thread)?;
        let mut asleep = TaskState::INTERRUPTIBLE;
        if signal == SIGKILL {
            asleep |= TaskState::STOPPED;
            set_jobctl(&thread, |jobctl| jobctl - Jobctl::STOPPED - Jobctl::TRAP_FREEZE)?;
        }
        if nudge(intervention, &thread, asleep)? == Nudge::Done {
            break;
        }
    }
    Ok(())
}

/// `wants_signal()`. A thread in the freezer trap takes nothing but SIGKILL.
fn wants(thread: &Task<'_>, signal: u32) -> Result<bool, KernelError> {
    let dying = thread.exit_state()? != 0 || thread.flags()?.contains(TaskFlags::EXITING);
    let stopped = thread.state()?.intersects(TaskState::STOPPED | TaskState::TRACED);
    let blocked = thread.blocked()? & bit(signal) != 0;
    Ok(!dying && (signal == SIGKILL || !stopped && !blocked && !is_trapped(thread)?))
}

/// Whether a thread that ought to take the signal has gone to sleep without.
fn must_look_again(target: &Target<'_>, signal: u32) -> Result<bool, KernelError> {
    if signal == SIGCONT && !is_stopping(target)? {
        for thread in target.threads()? {
            if thread.state()?.contains(TaskState::STOPPED) {
                return Ok(true);
            }
        }
    }
    if target.leader().signal_struct()?.shared_pending()?.signal()? & bit(signal) == 0 {
        return Ok(false);
    }
    for thread in target.threads()? {
        if thread.is_off_queue()? && wants(&thread, signal)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What the signal has done, once it has.
fn effect(target: &Target<'_>, signal: u32, fatal: bool) -> Result<Option<Effect>, KernelError> {
    if !target.is_alive()? {
        return Ok(Some(Effect::Killed));
    }
    let shared = target.leader().signal_struct()?;
    let pending = shared.shared_pending()?.signal()? & bit(signal) != 0;
    let flags = SignalFlags::from_bits_retain(shared.flags()?);
    let (mut stopped, mut running, mut willing) = (0, 0, false);
    for thread in target.threads()? {
        match thread.state()?.contains(TaskState::STOPPED) {
            true => stopped += 1,
            false => running += 1,
        }
        willing |= wants(&thread, signal)?;
    }
    Ok(match signal {
        SIGKILL => None,
        SIGCONT if stopped == 0 && !flags.contains(SignalFlags::STOP_STOPPED) => {
            Some(Effect::Continued)
        }
        SIGCONT => None,
        _ if is_stop(signal) && running == 0 => Some(Effect::Stopped),
        _ if pending && !willing && stopped == 0 => Some(Effect::Pending),
        // A stop signal with a handler, or one sent to an orphaned group.
        _ if is_stop(signal) && (pending || action(target, signal)? == SIG_DFL) => None,
        _ if !pending => (!fatal).then_some(Effect::Delivered),
        // A stopped process takes it when it is continued.
        _ if running == 0 => Some(Effect::Pending),
        _ => None,
    })
}
