//! What the threads of a process share, but for memory and files.

use crate::control::{Jobctl, Target, Tree};
use crate::kernel::KernelError;
use crate::linux::{PidType, Task, TaskState};
use crate::snapshot::{
    CgroupSet, FdTable, FsContext, Id, Mm, Process, ProcessState, ResourceLimit, SigHand,
};

use super::error::CaptureError;
use super::obstacle::Obstacles;
use super::seccomp::{self, Filters};
use super::timers::{self, Now, PosixTimers};
use super::{Context, confinement, not_kept, signals, thread};

/// `SCHED_DEADLINE` (`include/uapi/linux/sched.h`).
const SCHED_DEADLINE: u32 = 6;
/// `__USER32_CS`.
const USER32_CS: u16 = 0x23;

/// Notes what of a process cannot be saved, memory and files aside.
pub(super) fn survey(
    context: &Context<'_>,
    target: &Target<'_>,
    obstacles: &mut Obstacles,
) -> Result<(), CaptureError> {
    let leader = target.leader();
    namespaces(context, leader, obstacles)?;
    timers::survey(target, obstacles)?;
    let reaps_itself = leader.signal_struct()?.autoreap()?.unwrap_or(false);
    obstacles.add_if(reaps_itself, "nobody is to wait for it (CLONE_AUTOREAP)");
    for thread in target.threads()? {
        survey_thread(&thread, obstacles)?;
    }
    Ok(())
}

fn survey_thread(thread: &Task<'_>, obstacles: &mut Obstacles) -> Result<(), CaptureError> {
    let tid = thread.pid()?;
    let mut note = |present, what: &str| obstacles.add_if(present, format!("thread {tid} {what}"));
    note(thread.exit_state()? != 0, "has ended, but its process has not");
    let seccomp = seccomp::survey(thread)?;
    note(seccomp.is_some(), seccomp.as_deref().unwrap_or_default());
    confinement::survey(thread, &mut note)?;
    note(!thread.io_uring()?.is_null(), "uses io_uring");
    note(undoes_semaphores(thread)?, "has SysV semaphore adjustments to undo");
    note(thread.policy()? == SCHED_DEADLINE, "has a deadline scheduling policy");
    not_kept::survey(thread, &mut note)?;
    note(thread.user_regs()?.cs()? == USER32_CS, "runs 32-bit code");
    Ok(())
}

fn undoes_semaphores(thread: &Task<'_>) -> Result<bool, KernelError> {
    match thread.sysv_undo()? {
        Some(undo) => Ok(!undo.list_proc()?.is_empty()?),
        None => Ok(false),
    }
}

fn namespaces(
    context: &Context<'_>,
    leader: Task<'_>,
    obstacles: &mut Obstacles,
) -> Result<(), CaptureError> {
    let pid = leader.pid()?;
    let missing = |what| CaptureError::Missing { pid, what };
    let own = leader.nsproxy()?.ok_or_else(|| missing("namespaces"))?;
    let init = context.init.nsproxy()?.ok_or_else(|| missing("namespaces"))?;
    let own_cred = leader.cred()?.ok_or_else(|| missing("credentials"))?;
    let init_cred = context.init.cred()?.ok_or_else(|| missing("credentials"))?;
    let own_pid = leader.thread_pid()?.ok_or_else(|| missing("PID"))?;
    for (differs, name) in [
        (own.uts()? != init.uts()?, "UTS"),
        (own.ipc()? != init.ipc()?, "IPC"),
        (own.mnt()? != init.mnt()?, "mount"),
        (own.net()? != init.net()?, "network"),
        (own.time()? != context.time || own.time_for_children()? != context.time, "time"),
        (own.cgroup()? != init.cgroup()?, "cgroup"),
        (own_pid.level()? != 0 || own.pid_for_children()? != init.pid_for_children()?, "PID"),
        (own_cred.user_ns()? != init_cred.user_ns()?, "user"),
    ] {
        obstacles.add_if(differs, format!("it is in a {name} namespace of its own"));
    }
    Ok(())
}

/// References to what other processes might share.
pub(super) struct Shared {
    pub(super) mm: Id<Mm>,
    pub(super) files: Id<FdTable>,
    pub(super) fs: Id<FsContext>,
    pub(super) sighand: Id<SigHand>,
    pub(super) cgroups: Option<Id<CgroupSet>>,
}

/// Whether it has the controlling terminal of a leader of its session in the tree.
fn has_terminal_of_leader(tree: &Tree<'_>, target: &Target<'_>) -> Result<bool, KernelError> {
    let signal = target.leader().signal_struct()?;
    let session = signal.id(PidType::Sid)?;
    Ok(tree.member(session).is_some() && session != target.pid() && !signal.tty()?.is_null())
}

/// Reads a frozen process of a tree; `now` is `CLOCK_MONOTONIC` in nanoseconds. Its filters go
/// to those of the others.
pub(super) fn read(
    tree: &Tree<'_>,
    target: &Target<'_>,
    shared: Shared,
    now: u64,
    filters: &mut Filters,
) -> Result<Process, CaptureError> {
    let leader = target.leader();
    let signal = leader.signal_struct()?;
    let timers = PosixTimers::read(target, &Now::new(target)?)?;
    let reader = thread::Reader::new(target, &timers, now)?;
    let threads = target
        .threads()?
        .iter()
        .map(|thread| reader.read(thread, filters))
        .collect::<Result<Vec<_>, _>>()?;
    let parent = leader.real_parent()?.map_or(Ok(0), |parent| parent.tgid())?;
    Ok(Process {
        pid: target.pid().cast_unsigned(),
        ppid: parent.cast_unsigned(),
        pgid: signal.id(PidType::Pgid)?.cast_unsigned(),
        sid: signal.id(PidType::Sid)?.cast_unsigned(),
        has_terminal: has_terminal_of_leader(tree, target)?,
        state: state(target)?,
        exit_code: leader.exit_code()?,
        personality: leader.personality()?,
        flags: leader.raw_flags()?,
        threads,
        mm: shared.mm,
        files: shared.files,
        fs: shared.fs,
        sighand: shared.sighand,
        pending: signals::pending(signal.shared_pending()?, &timers)?,
        itimers: timers::itimers(&signal, now)?,
        posix_timers: timers.into_timers(),
        rlimits: signal.rlimits()?.map(|(cur, max)| ResourceLimit { cur, max }),
        oom_score_adj: signal.oom_score_adj()?,
        child_subreaper: signal.is_child_subreaper()?,
        login_uid: leader.login_uid()?.filter(|&uid| uid != u32::MAX),
        cgroups: shared.cgroups,
    })
}

/// Stopped, when a group stop has reached all threads.
fn state(target: &Target<'_>) -> Result<ProcessState, CaptureError> {
    for thread in target.threads()? {
        if !thread.state()?.contains(TaskState::STOPPED) {
            return Ok(ProcessState::Alive);
        }
        if Jobctl::from_bits_retain(thread.jobctl()?).contains(Jobctl::STOP_PENDING) {
            return Ok(ProcessState::Alive);
        }
    }
    // `signal_struct.group_exit_code` is 0 again once the parent was told
    // (`wait_task_stopped()`, `kernel/exit.c`).
    let stopped_by = target.leader().jobctl()? & Jobctl::STOP_SIGNAL.bits();
    let signal = match stopped_by as u32 {
        0 => nix::libc::SIGSTOP.cast_unsigned(),
        signal => signal,
    };
    Ok(ProcessState::Stopped { signal })
}
