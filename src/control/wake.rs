//! Pseudo-scheduling: waking a sleeping thread without touching a run queue.
//!
//! A CPU wakes a task of another CPU by adding `task->wake_entry` to that CPU's
//! `call_single_queue`, a lock-free list, and sending an interrupt;
//! `sched_ttwu_pending()` on the other side does the rest. This does what
//! `try_to_wake_up()` and `__ttwu_queue_wakelist()` (`kernel/sched/core.c`) do
//! up to there.

use crate::kernel::KernelError;
use crate::linux::{Rq, Struct, Task, TaskState, per_cpu};
use crate::memory::GuestVirt;

use super::intervention::{Intervention, is_unlocked};

/// `CSD_TYPE_TTWU` (`include/linux/smp_types.h`): what `wake_entry.u_flags` is
/// set to when a task is made.
const CSD_TYPE_TTWU: u64 = 0x30;

/// What became of an attempt to make a thread look at its signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nudge {
    /// It runs, will run, or is on its way to: it will look.
    Done,
    /// Not possible at this moment; continue the VM and try again.
    NotYet,
}

/// Makes `thread` return to the place where it looks at its signals: wakes it
/// if it sleeps in one of `states`, interrupts its CPU if it runs.
///
/// The VM is paused. `TIF_SIGPENDING` is set already, so that a thread about to
/// sleep does not.
pub(super) fn nudge(
    intervention: &mut Intervention<'_, '_>,
    thread: &Task<'_>,
    states: TaskState,
) -> Result<Nudge, KernelError> {
    if thread.on_cpu()? != 0 {
        intervention.reschedule(thread.cpu()?);
        return Ok(Nudge::Done);
    }
    let state = thread.state()?;
    if state.is_empty() || state.contains(TaskState::WAKING) {
        return Ok(Nudge::Done);
    }
    if !state.intersects(states) {
        return Ok(Nudge::NotYet);
    }
    // Still on a run queue: preempted on its way to sleep (it will look), or,
    // since 6.12, asleep until its lag is spent (it will leave the queue).
    if thread.on_rq()? != 0 || !is_unlocked(&thread.pi_lock()?)? {
        return Ok(Nudge::NotYet);
    }
    wake(intervention, thread)
}

fn wake(intervention: &mut Intervention<'_, '_>, thread: &Task<'_>) -> Result<Nudge, KernelError> {
    let kernel = thread.kernel();
    let cpu = thread.cpu()?;
    let rq = Rq::of_cpu(kernel, cpu)?;
    let entry = thread.wake_entry()?;
    if entry.flags()?.load()? & 0xf0 != CSD_TYPE_TTWU {
        return Err(entry.flags()?.corrupt("the task's wake entry is of another kind".into()));
    }
    // The wake-up list runs on the task's last CPU. Where that is gone or no
    // longer allowed, the kernel has yet to choose another: let it.
    if rq.online()? == 0 || !is_allowed(thread, cpu)? {
        return Ok(Nudge::NotYet);
    }
    thread.place("raw_state")?.store(u64::from(TaskState::WAKING.bits()))?;
    thread.place("sched_remote_wakeup")?.store(0)?;
    rq.place("ttwu_pending")?.store(1)?;
    push(thread, entry.llist()?.addr(), per_cpu(kernel, "call_single_queue", cpu)?)?;
    intervention.call_function(cpu);
    Ok(Nudge::Done)
}

/// `llist_add()`: a list of one pointer from the head to the newest entry.
fn push(thread: &Task<'_>, entry: GuestVirt, head: GuestVirt) -> Result<(), KernelError> {
    let kernel = thread.kernel();
    let mut first = [0; 8];
    kernel.read(head, &mut first)?;
    kernel.write(entry, &first)?;
    kernel.write(head, &entry.get().to_le_bytes())
}

fn is_allowed(thread: &Task<'_>, cpu: u32) -> Result<bool, KernelError> {
    let word = u64::from(cpu / 64) * 8;
    let mut bits = [0; 8];
    thread.kernel().read(thread.cpus_ptr()?.wrapping_add(word), &mut bits)?;
    Ok(u64::from_le_bytes(bits) >> (cpu % 64) & 1 == 1)
}
