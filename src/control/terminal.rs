//! Controlling terminals of processes that do not lead their session.
//!
//! They have it from a fork after the leader got it (`copy_process()`), and in no other
//! way. So it is given from outside to those that were forked before, as that would
//! have done it: a reference more to the terminal, and a pointer to it.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::domain::Domain;
use crate::kernel::{Kernel, KernelError};
use crate::linux::{PidType, SignalStruct, Struct, Task, Tty};

use super::error::ControlError;
use super::intervention::is_unlocked;

/// Before a lock is looked at again.
const PAUSE: Duration = Duration::from_millis(2);

/// Gives processes, which nothing lets run meanwhile, the controlling terminal of the
/// leader of their session.
///
/// # Errors
///
/// [`ControlError::NoProcess`]; [`ControlError::NoTerminal`] where the leader has none, a
/// process has one already, or a lock stays taken for longer than `within`. None of them
/// has got it then.
pub fn give_terminals(
    domain: &Domain,
    kernel: &Kernel,
    pids: &[i32],
    within: Duration,
) -> Result<(), ControlError> {
    let started = Instant::now();
    loop {
        let pause = domain.pause()?;
        let busy = try_to_give(kernel, pids);
        pause.resume()?;
        match busy? {
            None => return Ok(()),
            Some(pid) if started.elapsed() > within => {
                return Err(ControlError::NoTerminal { pid, why: "its signal lock stays taken" });
            }
            Some(_) => sleep(PAUSE),
        }
    }
}

/// The VM is paused. A process whose lock is taken, where none has got anything.
fn try_to_give(kernel: &Kernel, pids: &[i32]) -> Result<Option<i32>, ControlError> {
    let gifts = pids.iter().map(|pid| Gift::of(kernel, *pid)).collect::<Result<Vec<_>, _>>()?;
    for gift in &gifts {
        if !gift.is_free()? {
            return Ok(Some(gift.pid));
        }
    }
    gifts.iter().try_for_each(Gift::give)?;
    Ok(None)
}

/// A terminal that a process is to get.
struct Gift<'k> {
    pid: i32,
    task: Task<'k>,
    signal: SignalStruct<'k>,
    tty: Tty<'k>,
}

impl<'k> Gift<'k> {
    fn of(kernel: &'k Kernel, pid: i32) -> Result<Self, ControlError> {
        let find = |pid| Task::find(kernel, pid)?.ok_or(ControlError::NoProcess(pid));
        let task = find(pid)?;
        let signal = task.signal_struct()?;
        let none = |why| Err(ControlError::NoTerminal { pid, why });
        if !signal.tty()?.is_null() {
            return none("it has one already");
        }
        let leader = find(signal.id(PidType::Sid)?)?;
        let tty = leader.signal_struct()?.tty()?;
        if tty.is_null() {
            return none("the leader of its session has none");
        }
        let tty = Tty::at(kernel, tty)?;
        // Neither freed nor saturated: `include/linux/refcount.h`.
        if !(1..1 << 30).contains(&tty.references()?) {
            return none("the terminal is not in use");
        }
        Ok(Self { pid, task, signal, tty })
    }

    /// No vCPU is in the middle of changing it.
    fn is_free(&self) -> Result<bool, KernelError> {
        is_unlocked(&self.task.sighand_struct()?.siglock()?)
    }

    /// Each sees the references that those before it have added.
    fn give(&self) -> Result<(), KernelError> {
        let references = self.tty.references()?.saturating_add(1);
        self.tty.place("references")?.store(references.into())?;
        self.signal.place("tty")?.store(self.tty.addr().get())
    }
}
