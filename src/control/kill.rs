//! Ending what is held still.

use crate::domain::Domain;
use crate::kernel::KernelError;
use crate::linux::{Struct, Task, TaskFlags, TaskState};

use super::error::ControlError;
use super::intervention::{intervene, is_free};
use super::jobctl::Jobctl;
use super::pending::{SIGKILL, make_pending, set_jobctl, set_sigpending};
use super::target::{Deadline, Target, describe, is_trapped};
use super::tree::{Member, Tree};
use super::wake::nudge;

/// Kills a tree that is held by the freezer trap or by stop signals, so that no
/// thread executes another user instruction: SIGKILL is made pending for all
/// processes in one pause, and one thread of each is let go; the others die by
/// the group exit that this thread begins. `has_run` tells in that pause whether
/// anything has run that was to be held.
///
/// # Errors
///
/// [`ControlError::Unsuitable`] where a thread is not held any more, or something
/// has run since; nothing is killed then.
pub fn kill_held(
    domain: &Domain,
    tree: &Tree<'_>,
    has_run: &dyn Fn() -> bool,
    deadline: Deadline,
) -> Result<(), ControlError> {
    let mut dying = Dying { ordered: false, threads: Vec::new() };
    loop {
        if !dying.ordered || !dying.asleep()?.is_empty() {
            intervene(domain, tree.kernel(), |intervention| {
                if !dying.ordered && !dying.order(tree, has_run)? {
                    return Ok(());
                }
                for leader in dying.asleep()? {
                    let thread = leader.leader();
                    // A lock that is taken now is free in the next pause.
                    if is_free(&leader)? {
                        let holds = Jobctl::TRAP_FREEZE | Jobctl::STOPPED;
                        set_jobctl(&thread, |jobctl| jobctl - holds)?;
                        set_sigpending(&thread)?;
                        nudge(
                            intervention,
                            &thread,
                            TaskState::INTERRUPTIBLE | TaskState::STOPPED,
                        )?;
                    }
                }
                Ok(())
            })?;
        }
        let (target, thread) = match dying.first_alive()? {
            Some(alive) => alive,
            None if dying.ordered => return Ok(()),
            None => (tree.root().clone(), tree.root().leader()),
        };
        deadline.wait(&target, "die", || describe(&thread))?;
    }
}

/// A tree on its way out.
struct Dying<'k> {
    /// Whether SIGKILL is pending for all.
    ordered: bool,
    /// The threads of all processes with their start times.
    threads: Vec<(Target<'k>, Task<'k>, u64)>,
}

impl<'k> Dying<'k> {
    /// Makes SIGKILL pending for all processes, or for none where a lock is
    /// taken or a thread awake at this moment. The VM is paused.
    fn order(&mut self, tree: &Tree<'k>, has_run: &dyn Fn() -> bool) -> Result<bool, ControlError> {
        let members = tree.look()?;
        if members.len() != tree.members().len() || has_run() {
            return Err(tree.root().unsuitable(RAN));
        }
        for member in &members {
            if !is_held(member)? || !is_free(&member.target)? {
                return Ok(false);
            }
        }
        for member in members {
            make_pending(&member.target.leader(), SIGKILL)?;
            for thread in member.threads {
                self.threads.push((member.target.clone(), thread, thread.start_boottime()?));
            }
        }
        self.ordered = true;
        Ok(true)
    }

    /// Processes whose first thread has yet to see its signal, and sleeps.
    fn asleep(&self) -> Result<Vec<Target<'k>>, KernelError> {
        let mut asleep = Vec::new();
        for (target, thread, _) in &self.threads {
            if thread.addr() != target.leader().addr() || !target.is_alive()? {
                continue;
            }
            let state = thread.state()?;
            let leaves = thread.on_cpu()? != 0
                || state.is_empty()
                || state.contains(TaskState::WAKING)
                || thread.flags()?.contains(TaskFlags::EXITING);
            if !leaves {
                asleep.push(target.clone());
            }
        }
        Ok(asleep)
    }

    /// A thread that lives.
    fn first_alive(&self) -> Result<Option<(Target<'k>, Task<'k>)>, KernelError> {
        for (target, thread, started) in &self.threads {
            // What was freed keeps its exit state until it is another's.
            let lives = thread.exit_state()? == 0
                && thread.tgid()? == target.pid()
                && thread.start_boottime()? == *started;
            if lives {
                return Ok(Some((target.clone(), *thread)));
            }
        }
        Ok(None)
    }
}

/// What is wrong with a process that was to be held.
const RAN: &str = "ran again while it was to be frozen: something in the guest undid it";

/// Whether all threads of a process are held at this moment. Not where a signal
/// has just come: it wakes a thread in the trap, which looks at the trap again
/// before it looks at signals (`get_signal()`), and sleeps on.
///
/// # Errors
///
/// [`ControlError::Unsuitable`] where a thread was let go.
fn is_held(member: &Member<'_>) -> Result<bool, ControlError> {
    let mut all = true;
    for thread in &member.threads {
        let stopped = thread.state()?.contains(TaskState::STOPPED);
        if thread.exit_state()? != 0 || stopped || is_trapped(thread)? {
            continue;
        }
        let trap = Jobctl::from_bits_retain(thread.jobctl()?).contains(Jobctl::TRAP_FREEZE);
        if !trap {
            return Err(member.target.unsuitable(RAN));
        }
        all = false;
    }
    Ok(all)
}
