//! Cores: what a thread and its process have besides memory and files.

use super::{registers, timers};
use crate::criu::container::ImageKind;
use crate::criu::core::{ROBUST_LIST_HEAD, task_state};
use crate::criu::findings::{Findings, ImageFindings};
use crate::criu::proto::{
    CoreEntry, CredsEntry, SeccompMode, SignalQueueEntry, TaskCoreEntry, ThreadCoreEntry, VmaEntry,
    core_entry::March,
};
use crate::criu::set::{ImageSet, ProcessImages};
use crate::criu::vma::areas_and_guards;
use crate::snapshot::{RESOURCES, SIGINFO_SIZE, SIGNALS};

/// All signals but SIGKILL and SIGSTOP.
const SIGACTIONS: usize = SIGNALS - 2;

pub fn check(set: &ImageSet, process: &ProcessImages, findings: &mut Findings) {
    let (areas, _) = areas_and_guards(&process.mm);
    for (tid, core) in &process.cores {
        let mut found = findings.of(ImageKind::Core, *tid, Some(*tid));
        let is_leader = *tid == process.pstree.pid;
        check_core(set, process, areas, core, is_leader, &mut found);
    }
}

fn check_core(
    set: &ImageSet,
    process: &ProcessImages,
    areas: &[VmaEntry],
    core: &CoreEntry,
    is_leader: bool,
    found: &mut ImageFindings<'_>,
) {
    found.require(core.mtype == March::X8664 as i32, "mtype", || "is not x86-64".into());
    match &core.thread_info {
        Some(info) => registers::check(info, areas, found),
        None => found.absent("thread_info"),
    }
    match &core.thread_core {
        Some(thread) => check_thread(set, thread, found),
        // `criu restore` crashes.
        None => found.absent("thread_core"),
    }
    match &core.tc {
        Some(task) if is_leader => check_task(task, process, found),
        None if is_leader => found.absent("tc"),
        Some(_) => found.add("tc", "is there, but this thread is not the leader"),
        None => {}
    }
    found.require(is_leader || core.ids.is_none(), "ids", || {
        "is there, but this thread is not the leader".into()
    });
}

fn check_task(task: &TaskCoreEntry, process: &ProcessImages, found: &mut ImageFindings<'_>) {
    match task.task_state {
        task_state::ALIVE => {}
        // Versions before 4.0 know no stop_signo and stop by SIGSTOP.
        task_state::STOPPED => {
            let stop_signo = task.stop_signo.unwrap_or(19);
            found.require((19..=22).contains(&stop_signo), "tc.stop_signo", || {
                format!("{stop_signo} is no signal that stops")
            });
        }
        other => found.add("tc.task_state", format!("{other} is not known")),
    }
    match &task.timers {
        Some(entry) => timers::check(entry, process, found),
        None => found.absent("tc.timers"),
    }
    match &task.rlimits {
        Some(limits) => {
            check_len(limits.rlimits.len(), RESOURCES, "tc.rlimits", found);
            for (resource, limit) in limits.rlimits.iter().enumerate() {
                found.require(limit.cur <= limit.max, "tc.rlimits", || {
                    format!(
                        "has resource {resource} limited to {} above its {}",
                        limit.cur, limit.max
                    )
                });
            }
        }
        None => found.absent("tc.rlimits"),
    }
    check_queue_limit(task, process, found);
    check_child_signals(task, process, found);
    check_len(task.sigactions.len(), SIGACTIONS, "tc.sigactions", found);
    check_signals(task.signals_s.as_ref(), "tc.signals_s", found);
}

/// Restored limits are in force when signals are queued and timers made, each
/// of which takes an entry (`restore_rlims()`, `criu/pie/restorer.c`). A limit
/// that was lowered since makes `criu restore` fail.
fn check_queue_limit(task: &TaskCoreEntry, process: &ProcessImages, found: &mut ImageFindings<'_>) {
    /// `RLIMIT_SIGPENDING` and `SIGRTMIN`.
    const RESOURCE: usize = 11;
    const REAL_TIME: u8 = 32;
    let threads = process.cores.values().filter_map(|core| core.thread_core.as_ref());
    let queues = threads.filter_map(|thread| thread.signals_p.as_ref()).chain(&task.signals_s);
    // Others are sent without one.
    let signals = queues
        .flat_map(|queue| &queue.signals)
        .filter(|signal| signal.siginfo.first().is_some_and(|&number| number >= REAL_TIME));
    let timers = task.timers.as_ref().map_or(0, |timers| timers.posix.len());
    let entries = signals.count().saturating_add(timers) as u64;
    let limit = task.rlimits.as_ref().and_then(|limits| limits.rlimits.get(RESOURCE));
    found.require(limit.is_none_or(|limit| entries <= limit.cur), "tc.rlimits", || {
        format!("allows fewer queued signals (RLIMIT_SIGPENDING) than the {entries} there are, with timers")
    });
}

/// The leader sets what happens on SIGCHLD when the other threads have their
/// signals back; one that is ignored is dropped by that, even where it is
/// blocked (`__export_restore_task()`, `criu/pie/restorer.c`).
fn check_child_signals(
    task: &TaskCoreEntry,
    process: &ProcessImages,
    found: &mut ImageFindings<'_>,
) {
    const SIGCHLD: u8 = 17;
    /// Its place among the actions, behind that of SIGKILL which has none.
    const ACTION: usize = SIGCHLD as usize - 2;
    const SIG_IGN: u64 = 1;
    let ignored = task.sigactions.get(ACTION).is_none_or(|action| action.sigaction <= SIG_IGN);
    for (tid, core) in process.cores.iter().filter(|(tid, _)| **tid != process.pstree.pid) {
        let queue = core.thread_core.as_ref().and_then(|thread| thread.signals_p.as_ref());
        let mut signals = queue.iter().flat_map(|queue| &queue.signals);
        let pending = signals.any(|signal| signal.siginfo.first() == Some(&SIGCHLD));
        found.require(!(ignored && pending), "tc.sigactions", || {
            format!("ignores SIGCHLD, so that the one pending for thread {tid} would be lost")
        });
    }
}

fn check_thread(set: &ImageSet, thread: &ThreadCoreEntry, found: &mut ImageFindings<'_>) {
    found.require(thread.futex_rla_len == ROBUST_LIST_HEAD, "thread_core.futex_rla_len", || {
        format!("is {} instead of {ROBUST_LIST_HEAD}", thread.futex_rla_len)
    });
    check_signals(thread.signals_p.as_ref(), "thread_core.signals_p", found);
    match &thread.creds {
        Some(creds) => check_creds(creds, found),
        None => found.absent("thread_core.creds"),
    }
    check_scheduling(thread, found);
    if thread.seccomp_mode == Some(SeccompMode::Filter as i32) {
        let filter = thread.seccomp_filter.map(|filter| filter as usize);
        found.require(
            filter.is_some_and(|filter| filter < set.seccomp_filters.len()),
            "thread_core.seccomp_filter",
            || "is no filter of seccomp.img".into(),
        );
    }
}

fn check_creds(creds: &CredsEntry, found: &mut ImageFindings<'_>) {
    for (field, words) in [
        ("thread_core.creds.cap_inh", &creds.cap_inh),
        ("thread_core.creds.cap_prm", &creds.cap_prm),
        ("thread_core.creds.cap_eff", &creds.cap_eff),
        ("thread_core.creds.cap_bnd", &creds.cap_bnd),
    ] {
        check_len(words.len(), 2, field, found);
    }
    // Unknown before 4.0.
    if !creds.cap_amb.is_empty() {
        check_len(creds.cap_amb.len(), 2, "thread_core.creds.cap_amb", found);
    }
}

/// What `sched_setscheduler()` and `setpriority()` take.
fn check_scheduling(thread: &ThreadCoreEntry, found: &mut ImageFindings<'_>) {
    const SCHED_FIFO: u32 = 1;
    const SCHED_RR: u32 = 2;
    const SCHED_DEADLINE: u32 = 6;
    let policy = thread.sched_policy.unwrap_or_default();
    let priority = thread.sched_prio.unwrap_or_default();
    let nice = thread.sched_nice.unwrap_or_default();
    found.require(policy < SCHED_DEADLINE, "thread_core.sched_policy", || {
        format!("{policy} has no form in images")
    });
    let priorities = if matches!(policy, SCHED_FIFO | SCHED_RR) { 1..=99 } else { 0..=0 };
    found.require(priorities.contains(&priority), "thread_core.sched_prio", || {
        format!("is {priority} with policy {policy}")
    });
    found.require((-20..=19).contains(&nice), "thread_core.sched_nice", || format!("is {nice}"));
}

fn check_signals(queue: Option<&SignalQueueEntry>, field: &str, found: &mut ImageFindings<'_>) {
    for signal in queue.iter().flat_map(|queue| &queue.signals) {
        check_len(signal.siginfo.len(), SIGINFO_SIZE, field, found);
    }
}

fn check_len(len: usize, expected: usize, field: &str, found: &mut ImageFindings<'_>) {
    found.require(len == expected, field, || format!("has {len} elements instead of {expected}"));
}
