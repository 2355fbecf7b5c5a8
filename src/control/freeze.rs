//! The freezer trap, set from outside.
//!
//! The cgroup-v2 freezer stops a thread by setting `JOBCTL_TRAP_FREEZE` and
//! waking it; the thread then parks in `do_freezer_trap()` (`kernel/signal.c`)
//! and stays there whatever signals it gets, but for a fatal one. Nobody is
//! told. Setting the bit without a cgroup that asks for it does the same, and
//! clearing it and waking the thread lets it go on: the kernel keeps its own
//! counts.

use std::time::Duration;

use crate::domain::Domain;
use crate::kernel::KernelError;
use crate::linux::{Task, TaskState};

use super::error::ControlError;
use super::intervention::{Intervention, intervene};
use super::jobctl::Jobctl;
use super::pending::{SIGKILL, make_pending, set_jobctl, set_sigpending};
use super::target::{Deadline, Target, describe, is_trapped};
use super::wake::nudge;

/// Freezes all threads of a process. Returns how long the VM was paused in
/// all.
///
/// # Errors
///
/// [`ControlError::Unsuitable`] where it is frozen already, and
/// [`ControlError::TimedOut`] where a thread does not reach the trap before
/// `deadline`, for example because it waits for a device; the process then
/// runs on as before.
pub fn freeze(
    domain: &Domain,
    target: &Target<'_>,
    deadline: Deadline,
) -> Result<Duration, ControlError> {
    for thread in target.threads()? {
        if Jobctl::from_bits_retain(thread.jobctl()?).contains(Jobctl::TRAP_FREEZE) {
            return Err(target.unsuitable(
                "is frozen already: by its cgroup, or by an earlier save or freeze (see `ovmigrate thaw`)",
            ));
        }
    }
    let mut paused = Duration::ZERO;
    match trap_all(domain, target, deadline, &mut paused).map_err(|error| target.explain(error)) {
        Ok(()) => Ok(paused),
        Err(error) => {
            // The first error says what is wrong; that the process could not be
            // let go either is what an operator must hear beside it.
            if !matches!(error, ControlError::Gone { .. })
                && let Err(thaw_error) = thaw(domain, target, Deadline::within(THAW_WITHIN))
            {
                tracing::error!("process {} is still frozen: {thaw_error}", target.pid());
            }
            Err(error)
        }
    }
}

/// How long a process may take to go on after a failed freeze.
const THAW_WITHIN: Duration = Duration::from_secs(5);

fn trap_all(
    domain: &Domain,
    target: &Target<'_>,
    deadline: Deadline,
    paused: &mut Duration,
) -> Result<(), ControlError> {
    loop {
        let loose = not_trapped(target)?;
        let Some(first) = loose.first() else { return Ok(()) };
        if needs_nudge(&loose)? {
            *paused += set_traps(domain, target)?;
        }
        deadline.wait(target, "freeze", || describe(first))?;
        if !target.is_alive()? {
            return Err(target.gone());
        }
    }
}

fn not_trapped<'k>(target: &Target<'k>) -> Result<Vec<Task<'k>>, KernelError> {
    let mut loose = Vec::new();
    for thread in target.threads()? {
        // A thread that has ended stays in the list until it is reaped.
        if thread.exit_state()? == 0 && !is_trapped(&thread)? {
            loose.push(thread);
        }
    }
    Ok(loose)
}

/// Whether a thread is new, or has fallen asleep in between.
fn needs_nudge(loose: &[Task<'_>]) -> Result<bool, KernelError> {
    for thread in loose {
        let untouched = !Jobctl::from_bits_retain(thread.jobctl()?).contains(Jobctl::TRAP_FREEZE);
        // One that is still on its run queue looks by itself or leaves it soon.
        let asleep = thread.is_off_queue()? && thread.state()?.contains(TaskState::INTERRUPTIBLE);
        if untouched || asleep {
            return Ok(true);
        }
    }
    Ok(false)
}

/// One pause: sets the trap for each thread and makes it look.
fn set_traps(domain: &Domain, target: &Target<'_>) -> Result<Duration, ControlError> {
    intervene(domain, target, |intervention| {
        for thread in not_trapped(target)? {
            set_jobctl(&thread, |jobctl| jobctl | Jobctl::TRAP_FREEZE)?;
            set_sigpending(&thread)?;
            nudge(intervention, &thread, TaskState::INTERRUPTIBLE)?;
        }
        Ok(())
    })
}

/// Lets all threads of a process go on that the trap holds. Returns how long
/// the VM was paused in all.
///
/// # Errors
///
/// [`ControlError::TimedOut`] where a thread does not leave the trap before
/// `deadline`: its cgroup is frozen, too.
pub fn thaw(
    domain: &Domain,
    target: &Target<'_>,
    deadline: Deadline,
) -> Result<Duration, ControlError> {
    let mut paused = Duration::ZERO;
    loop {
        let held = held(target).map_err(|error| target.explain(error.into()))?;
        let Some(held) = held else { return Ok(paused) };
        paused += clear_traps(domain, target).map_err(|error| target.explain(error))?;
        let waited = deadline.wait(target, "thaw", || describe(&held));
        if !target.is_alive()? {
            return Err(target.gone());
        }
        waited?;
    }
}

/// A thread that is to enter the trap or has yet to leave it.
fn held<'k>(target: &Target<'k>) -> Result<Option<Task<'k>>, KernelError> {
    for thread in target.threads()? {
        let trap = Jobctl::from_bits_retain(thread.jobctl()?).contains(Jobctl::TRAP_FREEZE);
        if trap || is_parked(&thread)? && thread.exit_state()? == 0 {
            return Ok(Some(thread));
        }
    }
    Ok(None)
}

/// Whether the kernel counts a thread as frozen other than by a stop or a
/// tracer's trap, which are counted, too (`do_signal_stop()`, `ptrace_stop()`).
fn is_parked(thread: &Task<'_>) -> Result<bool, KernelError> {
    let stopped = thread.state()?.intersects(TaskState::STOPPED | TaskState::TRACED);
    Ok(thread.frozen()? && !stopped)
}

fn clear_traps(domain: &Domain, target: &Target<'_>) -> Result<Duration, ControlError> {
    intervene(domain, target, |intervention| {
        for thread in target.threads()? {
            release(intervention, &thread)?;
        }
        Ok(())
    })
}

/// Clears a thread's trap and wakes it, unless a signal keeps it stopped.
fn release(intervention: &mut Intervention<'_, '_>, thread: &Task<'_>) -> Result<(), KernelError> {
    set_jobctl(thread, |jobctl| jobctl - Jobctl::TRAP_FREEZE)?;
    if is_parked(thread)? {
        nudge(intervention, thread, TaskState::INTERRUPTIBLE)?;
    } else {
        // It may be on its way into the trap, past the look at the bit and not
        // yet asleep: with this flag it does not fall asleep.
        set_sigpending(thread)?;
    }
    Ok(())
}

/// Kills a frozen process so that no thread executes another user instruction:
/// SIGKILL is made pending for the process and one thread's trap is cleared;
/// the others die by the group exit that this thread begins. Returns how long
/// the VM was paused in all.
///
/// # Errors
///
/// [`ControlError::Unsuitable`] where a thread is not held by the trap any
/// more, so that the process may have run since; nothing is killed then.
pub fn kill_frozen(
    domain: &Domain,
    target: &Target<'_>,
    deadline: Deadline,
) -> Result<Duration, ControlError> {
    let mut paused = Duration::ZERO;
    let mut ordered = false;
    while target.is_alive()? {
        if !ordered || !is_leaving(&target.leader())? {
            match order_death(domain, target, &mut ordered) {
                Ok(pause) => paused += pause,
                // It ended between the look at it and the pause.
                Err(_) if ordered && !target.is_alive()? => return Ok(paused),
                Err(error) => return Err(error),
            }
        }
        let waited = deadline.wait(target, "die", || describe(&target.leader()));
        if target.is_alive()? {
            waited?;
        }
    }
    Ok(paused)
}

/// Whether a thread needs no further nudge on its way out.
fn is_leaving(thread: &Task<'_>) -> Result<bool, KernelError> {
    let state = thread.state()?;
    Ok(thread.on_cpu()? != 0 || state.is_empty() || state.contains(TaskState::WAKING))
}

/// One pause: makes SIGKILL pending, once, and lets the first thread see it.
fn order_death(
    domain: &Domain,
    target: &Target<'_>,
    ordered: &mut bool,
) -> Result<Duration, ControlError> {
    intervene(domain, target, |intervention| {
        let leader = target.leader();
        if !*ordered {
            if !not_trapped(target)?.is_empty() {
                return Err(target.unsuitable(
                    "ran again while it was to be frozen: something in the guest undid it",
                ));
            }
            make_pending(&leader, SIGKILL)?;
            *ordered = true;
        }
        set_jobctl(&leader, |jobctl| jobctl - Jobctl::TRAP_FREEZE - Jobctl::STOPPED)?;
        set_sigpending(&leader)?;
        nudge(intervention, &leader, TaskState::INTERRUPTIBLE | TaskState::STOPPED)?;
        Ok(())
    })
}
