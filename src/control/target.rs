//! The process that is acted on.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::kernel::{Kernel, KernelError};
use crate::linux::{MAX_ENTRIES, Struct, Task, TaskFlags, TaskState, settled};
use crate::memory::GuestVirt;

use super::error::ControlError;
use super::jobctl::{Jobctl, SignalFlags};

/// What is the matter with a process whose first thread alone has ended.
const LEADERLESS: &str = "has lost its first thread, which is not supported";

/// What no two processes have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    task: GuestVirt,
    started: u64,
}

/// A process of the guest, told from a later one that gets the same ID by the
/// time it started.
#[derive(Clone, Debug)]
pub struct Target<'k> {
    leader: Task<'k>,
    pid: i32,
    comm: String,
    started: u64,
}

impl<'k> Target<'k> {
    /// The user process whose ID in the initial PID namespace is `pid`.
    ///
    /// # Errors
    ///
    /// [`ControlError::NoProcess`], [`ControlError::NotALeader`], or
    /// [`ControlError::Unsuitable`] for kernel threads, zombies, the guest's
    /// init and processes that are ending, executing or traced.
    pub fn find(kernel: &'k Kernel, pid: i32) -> Result<Self, ControlError> {
        let Some(leader) = Task::find(kernel, pid)? else {
            return Err(settled(|| Self::missing(kernel, pid))?);
        };
        let target = Self::of(leader)?;
        match settled(|| target.obstacle())? {
            None => Ok(target),
            Some(why) => Err(target.unsuitable(why)),
        }
    }

    /// The process of this first thread.
    fn of(leader: Task<'k>) -> Result<Self, KernelError> {
        Ok(Self {
            leader,
            pid: leader.tgid()?,
            comm: leader.comm()?,
            started: leader.start_boottime()?,
        })
    }

    /// A child of a process that is acted on; `None` for one that has ended.
    ///
    /// # Errors
    ///
    /// [`ControlError::Unsuitable`] where only its first thread has ended, as
    /// for a moment in each process that is ending.
    pub(super) fn child(leader: Task<'k>) -> Result<Option<Self>, ControlError> {
        let target = Self::of(leader)?;
        if leader.exit_state()? == 0 {
            return Ok(Some(target));
        }
        match leader.signal()? {
            Some(signal) if signal.nr_threads()? > 1 => Err(target.unsuitable(LEADERLESS)),
            _ => Ok(None),
        }
    }

    /// Why there is no process `pid`: the number may be a thread's.
    fn missing(kernel: &'k Kernel, pid: i32) -> Result<ControlError, KernelError> {
        let mut looked_at = 0;
        for process in Task::processes(kernel)? {
            let process = process?;
            for thread in process.threads()? {
                // Lists that are short each can lead to one another without end.
                looked_at += 1;
                if looked_at > MAX_ENTRIES {
                    return Ok(ControlError::NoProcess(pid));
                }
                if thread?.pid()? == pid {
                    return Ok(ControlError::NotALeader { tid: pid, tgid: process.tgid()? });
                }
            }
        }
        Ok(ControlError::NoProcess(pid))
    }

    fn obstacle(&self) -> Result<Option<String>, KernelError> {
        let task = self.leader;
        if task.flags()?.contains(TaskFlags::KTHREAD) {
            return Ok(Some("is a kernel thread".into()));
        }
        if self.pid == 1 {
            return Ok(Some("is the guest's init".into()));
        }
        let signal = task.signal_struct()?;
        if task.exit_state()? != 0 {
            // The first thread waits for the others, if there are any.
            return Ok(Some(match signal.nr_threads()? {
                0 | 1 => "is a zombie: its parent has yet to reap it".into(),
                _ => LEADERLESS.into(),
            }));
        }
        if SignalFlags::from_bits_retain(signal.flags()?).contains(SignalFlags::GROUP_EXIT) {
            return Ok(Some("is ending".into()));
        }
        if !signal.group_exec_task()?.is_null() {
            return Ok(Some("is in execve()".into()));
        }
        Ok(self.traced_thread()?.map(|tid| format!("is traced (thread {tid})")))
    }

    /// A thread of it that a debugger traces.
    ///
    /// # Errors
    ///
    /// Errors of the walk.
    pub fn traced_thread(&self) -> Result<Option<i32>, KernelError> {
        for thread in self.threads()? {
            if thread.ptrace()? != 0 {
                return thread.pid().map(Some);
            }
        }
        Ok(None)
    }

    /// Its first thread.
    pub fn leader(&self) -> Task<'k> {
        self.leader
    }

    /// Its ID in the initial PID namespace.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Its name.
    pub fn comm(&self) -> &str {
        &self.comm
    }

    /// Its threads now, the first thread first.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] where the process has ended; errors of the walk.
    pub fn threads(&self) -> Result<Vec<Task<'k>>, KernelError> {
        let threads = settled(|| {
            if !self.is_alive()? {
                return Ok(None);
            }
            self.leader.threads()?.collect::<Result<Vec<_>, _>>().map(Some)
        })?;
        threads.ok_or_else(|| KernelError::Corrupt {
            what: "the list of threads".into(),
            addr: self.leader.addr(),
            why: format!("process {} has ended", self.pid),
        })
    }

    /// Whether the process lives: its first thread is the one that was found and
    /// has not exited. A task that was freed keeps its exit state until its
    /// memory becomes another task's, which started later.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn is_alive(&self) -> Result<bool, KernelError> {
        let task = self.leader;
        Ok(task.exit_state()? == 0
            && task.tgid()? == self.pid
            && task.start_boottime()? == self.started)
    }

    /// Whether it has ended or is on its way, when it lacks one thing after the
    /// other.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn is_ending(&self) -> Result<bool, KernelError> {
        Ok(!self.is_alive()? || self.leader.flags()?.contains(TaskFlags::EXITING))
    }

    /// Whether a signal has stopped all its threads.
    ///
    /// # Errors
    ///
    /// Errors of the walk.
    pub fn is_stopped(&self) -> Result<bool, KernelError> {
        for thread in self.threads()? {
            if !thread.state()?.contains(TaskState::STOPPED) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What tells it from all other processes of the guest, now and later.
    pub(super) fn identity(&self) -> Identity {
        Identity { task: self.leader.addr(), started: self.started }
    }

    /// An error that says what is the matter with this process.
    pub fn unsuitable(&self, why: impl Into<String>) -> ControlError {
        ControlError::Unsuitable { pid: self.pid, comm: self.comm.clone(), why: why.into() }
    }

    pub(super) fn gone(&self) -> ControlError {
        ControlError::Gone { pid: self.pid, comm: self.comm.clone() }
    }
}

/// Whether a thread is held by the freezer trap: parked in it, or stopped by a
/// signal and bound to enter it when continued.
///
/// # Errors
///
/// Where guest memory cannot be read.
pub fn is_trapped(thread: &Task<'_>) -> Result<bool, KernelError> {
    let jobctl = Jobctl::from_bits_retain(thread.jobctl()?);
    if !jobctl.contains(Jobctl::TRAP_FREEZE) || thread.on_cpu()? != 0 {
        return Ok(false);
    }
    let state = thread.state()?;
    if state.contains(TaskState::STOPPED) {
        return Ok(true);
    }
    Ok(state.contains(TaskState::INTERRUPTIBLE) && thread.frozen()? && thread.on_rq()? == 0)
}

/// How long something may take, and how long it has taken.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    started: Instant,
    within: Duration,
}

impl Deadline {
    /// A deadline `within` from now.
    pub fn within(within: Duration) -> Self {
        Self { started: Instant::now(), within }
    }

    /// Waits before looking again: a tenth of the time waited so far, between
    /// 50 µs and 5 ms, so that what is quick is seen at once.
    ///
    /// # Errors
    ///
    /// [`ControlError::TimedOut`] once the time is over; `why` says what the
    /// process does instead.
    pub fn wait(
        &self,
        target: &Target<'_>,
        goal: &'static str,
        why: impl FnOnce() -> String,
    ) -> Result<(), ControlError> {
        let waited = self.started.elapsed();
        if waited >= self.within {
            return Err(ControlError::TimedOut {
                pid: target.pid,
                comm: target.comm.clone(),
                goal,
                why: why(),
                within: self.within,
            });
        }
        sleep((waited / 10).clamp(Duration::from_micros(50), Duration::from_millis(5)));
        Ok(())
    }
}

/// Where in the kernel a thread sleeps, for an error message.
fn place(thread: &Task<'_>) -> String {
    match thread.sleeps_in() {
        Ok(functions) if !functions.is_empty() => format!(" in {}", functions.join(" < ")),
        Ok(_) => String::new(),
        Err(error) => {
            tracing::debug!("where thread {:#x} sleeps: {error}", thread.addr().get());
            String::new()
        }
    }
}

/// What a thread does, in the words of an error message.
pub(super) fn describe(thread: &Task<'_>) -> String {
    let describe = || -> Result<String, KernelError> {
        let (tid, state) = (thread.pid()?, thread.state()?);
        let what = if thread.on_cpu()? != 0 {
            format!("runs on CPU {}", thread.cpu()?)
        } else if state.is_empty() {
            "waits for a CPU".into()
        } else if thread.on_rq()? != 0 {
            "is on its way to sleep".into()
        } else if state.contains(TaskState::UNINTERRUPTIBLE) {
            format!("is in an uninterruptible sleep (state D){}", place(thread))
        } else if state.contains(TaskState::STOPPED) {
            "is stopped".into()
        } else if state.contains(TaskState::TRACED) {
            "is stopped by its debugger".into()
        } else {
            format!("sleeps (state {:#x})", state.bits())
        };
        Ok(format!("thread {tid} {what}"))
    };
    describe().unwrap_or_else(|error| error.to_string())
}
