//! The freezer trap, set from outside.
//!
//! The cgroup-v2 freezer stops a thread by setting `JOBCTL_TRAP_FREEZE` and
//! waking it; the thread then parks in `do_freezer_trap()` (`kernel/signal.c`)
//! and stays there whatever signals it gets, but for a fatal one. Nobody is
//! told. Setting the bit without a cgroup that asks for it does the same, and
//! clearing it and waking the thread lets it go on: the kernel keeps its own
//! counts.
//!
//! A tree is frozen in rounds: all that there is gets the trap in one pause,
//! and what was forked before its parent fell into it gets it in the next one.
//! A process that is held starts none, so that rounds end where two looks at a
//! tree that is held find the same.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::domain::Domain;
use crate::kernel::KernelError;
use crate::linux::{Struct, Task, TaskState};
use crate::memory::GuestVirt;

use super::error::ControlError;
use super::intervention::{Intervention, intervene, is_free};
use super::jobctl::Jobctl;
use super::pending::{set_jobctl, set_sigpending};
use super::target::{Deadline, Identity, Target, describe, is_trapped};
use super::tree::{Member, Tree};
use super::wake::{Nudge, nudge};

/// Freezes all threads of all processes of a tree, which has its members as
/// they are then.
///
/// # Errors
///
/// [`ControlError::Unsuitable`] where a process is frozen already, and
/// [`ControlError::TimedOut`] where a thread does not reach the trap before
/// `deadline`, for example because it waits for a device; all processes then
/// run on as before.
pub fn freeze(
    domain: &Domain,
    tree: &mut Tree<'_>,
    deadline: Deadline,
) -> Result<(), ControlError> {
    for member in tree.look_settled()? {
        for thread in &member.threads {
            if Jobctl::from_bits_retain(thread.jobctl()?).contains(Jobctl::TRAP_FREEZE) {
                return Err(member.target.unsuitable(
                    "is frozen already: by its cgroup, or by an earlier save or freeze (see `ovmigrate thaw`)",
                ));
            }
        }
    }
    freeze_rest(domain, tree, deadline)
}

/// The same, where some of the tree may be frozen already.
///
/// # Errors
///
/// As [`freeze`].
pub fn freeze_rest(
    domain: &Domain,
    tree: &mut Tree<'_>,
    deadline: Deadline,
) -> Result<(), ControlError> {
    let mut freezer = Freezer { domain, tree, touched: HashMap::new() };
    match freezer.run(deadline) {
        Ok(()) => Ok(()),
        Err(error) => {
            // The first error says what is wrong; that a process could not be
            // let go either is what an operator must hear beside it.
            if let Err(thaw_error) = freezer.let_all_go() {
                tracing::error!("process {} is still frozen: {thaw_error}", tree.root().pid());
            }
            Err(error)
        }
    }
}

/// How long a process may take to go on after a failed freeze.
const THAW_WITHIN: Duration = Duration::from_secs(5);

struct Freezer<'a, 'k> {
    domain: &'a Domain,
    tree: &'a mut Tree<'k>,
    /// All that got the trap. One whose parent ends may leave the tree.
    touched: HashMap<Identity, Target<'k>>,
}

impl<'k> Freezer<'_, 'k> {
    fn run(&mut self, deadline: Deadline) -> Result<(), ControlError> {
        let mut held_before = None;
        loop {
            let members = match self.tree.look() {
                Ok(members) => members,
                // Torn, or a process is ending.
                Err(error @ (ControlError::Kernel(_) | ControlError::Unsuitable { .. })) => {
                    deadline.wait(self.tree.root(), "freeze", || error.to_string())?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let loose = loose_threads(&members)?;
            if let Some((member, thread)) = loose.first() {
                held_before = None;
                if needs_nudge(&members, &loose)? {
                    self.set_traps()?;
                }
                deadline.wait(&member.target, "freeze", || reason(&members, &loose, thread))?;
                continue;
            }
            // What a thread began before it was held is there at a second look.
            let held = addresses(&members);
            if held_before.as_ref() == Some(&held) {
                self.tree.set_members(members);
                return self.let_strays_go();
            }
            held_before = Some(held);
            deadline.wait(self.tree.root(), "freeze", || "its tree keeps changing".into())?;
        }
    }

    /// One pause: sets the trap for each thread and makes it look.
    fn set_traps(&mut self) -> Result<(), ControlError> {
        let Self { domain, tree, touched, .. } = self;
        intervene(domain, tree.kernel(), |intervention| {
            // Where a vCPU is in the middle of a fork or an exit, the next
            // pause will do.
            let Ok(members) = tree.look() else { return Ok(()) };
            let pids = pids(&members);
            for (member, thread) in loose_threads(&members)? {
                if is_held_up(&pids, &thread)? || !is_free(&member.target)? {
                    continue;
                }
                set_jobctl(&thread, |jobctl| jobctl | Jobctl::TRAP_FREEZE)?;
                set_sigpending(&thread)?;
                nudge(intervention, &thread, TaskState::INTERRUPTIBLE)?;
                touched.insert(member.target.identity(), member.target.clone());
            }
            Ok(())
        })
    }

    /// Thaws whatever was given the trap, now and in earlier calls.
    fn let_all_go(&mut self) -> Result<(), ControlError> {
        for member in self.tree.members() {
            self.touched.insert(member.identity(), member.clone());
        }
        self.thaw_touched()
    }

    /// Thaws what belongs to the tree no more: the parent of a process that was
    /// given the trap has ended.
    fn let_strays_go(&mut self) -> Result<(), ControlError> {
        for member in self.tree.members() {
            self.touched.remove(&member.identity());
        }
        self.thaw_touched()
    }

    fn thaw_touched(&mut self) -> Result<(), ControlError> {
        let mut touched = Vec::new();
        for target in std::mem::take(&mut self.touched).into_values() {
            if target.is_alive()? {
                touched.push(target);
            }
        }
        if touched.is_empty() {
            return Ok(());
        }
        match thaw(self.domain, &Tree::some(touched), Deadline::within(THAW_WITHIN)) {
            Err(ControlError::Gone { .. }) => Ok(()),
            result => result,
        }
    }
}

type Loose<'a, 'k> = (&'a Member<'k>, Task<'k>);

/// Threads that the trap does not hold.
fn loose_threads<'a, 'k>(members: &'a [Member<'k>]) -> Result<Vec<Loose<'a, 'k>>, KernelError> {
    let mut loose = Vec::new();
    for member in members {
        for thread in &member.threads {
            // A thread that has ended stays in the list until it is reaped.
            if thread.exit_state()? == 0 && !is_trapped(thread)? {
                loose.push((member, *thread));
            }
        }
    }
    Ok(loose)
}

/// Why a tree is not frozen: the first thread that runs on, unless it waits for
/// one that cannot be frozen yet.
fn reason(members: &[Member<'_>], loose: &[Loose<'_, '_>], first: &Task<'_>) -> String {
    let pids = pids(members);
    let held_up = |(_, thread): &&Loose<'_, '_>| is_held_up(&pids, thread).unwrap_or(false);
    match loose.iter().find(held_up) {
        Some((child, _)) => format!(
            "{}, in vfork() until process {} ({}) executes a program or ends",
            describe(first),
            child.target.pid(),
            child.target.comm()
        ),
        None => describe(first),
    }
}

fn addresses(members: &[Member<'_>]) -> Vec<GuestVirt> {
    members.iter().flat_map(|member| &member.threads).map(Struct::addr).collect()
}

/// Whether a thread is new, or has fallen asleep in between.
fn needs_nudge(members: &[Member<'_>], loose: &[Loose<'_, '_>]) -> Result<bool, KernelError> {
    let pids = pids(members);
    for (_, thread) in loose {
        let untouched = !Jobctl::from_bits_retain(thread.jobctl()?).contains(Jobctl::TRAP_FREEZE);
        // One that is still on its run queue looks by itself or leaves it soon.
        let asleep = thread.is_off_queue()? && thread.state()?.contains(TaskState::INTERRUPTIBLE);
        if (untouched || asleep) && !is_held_up(&pids, thread)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a thread must not be held yet: its parent, which is to be held, too,
/// waits in `vfork()` for it to execute a program or to exit. A task that is
/// not yet started may become one.
fn is_held_up(members: &HashSet<i32>, thread: &Task<'_>) -> Result<bool, KernelError> {
    if thread.state()?.contains(TaskState::NEW) {
        return Ok(true);
    }
    if thread.vfork_done()?.is_null() {
        return Ok(false);
    }
    let Some(parent) = thread.real_parent()? else { return Ok(false) };
    Ok(members.contains(&parent.tgid()?))
}

fn pids(members: &[Member<'_>]) -> HashSet<i32> {
    members.iter().map(|member| member.target.pid()).collect()
}

/// Lets all threads of a tree go on that the trap holds.
///
/// # Errors
///
/// [`ControlError::TimedOut`] where a thread does not leave the trap before
/// `deadline`: its cgroup is frozen, too. [`ControlError::Gone`] where none is
/// left.
pub fn thaw(domain: &Domain, tree: &Tree<'_>, deadline: Deadline) -> Result<(), ControlError> {
    loop {
        let members = tree.look_settled()?;
        let Some((target, held)) = first_held(&members)? else { return Ok(()) };
        clear_traps(domain, tree)?;
        deadline.wait(target, "thaw", || describe(&held))?;
    }
}

/// A thread that is to enter the trap or has yet to leave it.
fn first_held<'a, 'k>(
    members: &'a [Member<'k>],
) -> Result<Option<(&'a Target<'k>, Task<'k>)>, KernelError> {
    for member in members {
        for thread in &member.threads {
            let trap = Jobctl::from_bits_retain(thread.jobctl()?).contains(Jobctl::TRAP_FREEZE);
            if thread.exit_state()? == 0 && (trap || is_parked(thread)?) {
                return Ok(Some((&member.target, *thread)));
            }
        }
    }
    Ok(None)
}

/// Whether the kernel counts a thread as frozen other than by a stop, a tracer's
/// trap or the wait in `vfork()`, which are counted, too (`do_signal_stop()`,
/// `ptrace_stop()`, `wait_for_vfork_done()`).
fn is_parked(thread: &Task<'_>) -> Result<bool, KernelError> {
    let others = TaskState::STOPPED | TaskState::TRACED | TaskState::UNINTERRUPTIBLE;
    Ok(thread.frozen()? && !thread.state()?.intersects(others))
}

fn clear_traps(domain: &Domain, tree: &Tree<'_>) -> Result<(), ControlError> {
    intervene(domain, tree.kernel(), |intervention| {
        let Ok(members) = tree.look() else { return Ok(()) };
        for member in &members {
            if is_free(&member.target)? {
                for thread in &member.threads {
                    release(intervention, thread)?;
                }
            }
        }
        Ok(())
    })
}

/// Clears a thread's trap and wakes it, unless a signal keeps it stopped. One
/// that has left the trap by now is let alone: with a flag that says that a
/// signal is pending and nothing to wake it, no signal would wake it either
/// (`wants_signal()`, `kernel/signal.c`).
fn release(intervention: &mut Intervention<'_, '_>, thread: &Task<'_>) -> Result<(), KernelError> {
    let has_trap = Jobctl::from_bits_retain(thread.jobctl()?).contains(Jobctl::TRAP_FREEZE);
    if !has_trap && !is_parked(thread)? {
        return Ok(());
    }
    // It may be on its way into the trap, past the look at the bit and not yet
    // asleep: with this flag it does not fall asleep.
    set_sigpending(thread)?;
    let nudged = nudge(intervention, thread, TaskState::INTERRUPTIBLE)?;
    // One that cannot be woken now keeps its trap for the next pause.
    if nudged == Nudge::Done || !thread.state()?.contains(TaskState::INTERRUPTIBLE) {
        set_jobctl(thread, |jobctl| jobctl - Jobctl::TRAP_FREEZE)?;
    }
    Ok(())
}
