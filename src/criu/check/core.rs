//! Cores: what a thread and its process have besides memory and files.

use super::{Findings, ImageFindings, registers, timers};
use crate::criu::container::ImageKind;
use crate::criu::core::{ROBUST_LIST_HEAD, task_state};
use crate::criu::proto::{
    CoreEntry, CredsEntry, SeccompMode, SignalQueueEntry, TaskCoreEntry, ThreadCoreEntry,
    core_entry::March,
};
use crate::criu::set::{ImageSet, ProcessImages};
use crate::snapshot::{RESOURCES, SIGINFO_SIZE, SIGNALS};

/// All signals but SIGKILL and SIGSTOP.
const SIGACTIONS: usize = SIGNALS - 2;

pub fn check(set: &ImageSet, process: &ProcessImages, findings: &mut Findings) {
    for (tid, core) in &process.cores {
        let mut found = findings.of(ImageKind::Core, *tid, Some(*tid));
        let is_leader = *tid == process.pstree.pid;
        check_core(set, process, core, is_leader, &mut found);
    }
}

fn check_core(
    set: &ImageSet,
    process: &ProcessImages,
    core: &CoreEntry,
    is_leader: bool,
    found: &mut ImageFindings<'_>,
) {
    found.require(core.mtype == March::X8664 as i32, "mtype", || "is not x86-64".into());
    match &core.thread_info {
        Some(info) => registers::check(info, &process.mm, found),
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
    check_len(task.sigactions.len(), SIGACTIONS, "tc.sigactions", found);
    check_signals(task.signals_s.as_ref(), "tc.signals_s", found);
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
            filter.is_some_and(|filter| filter < set.seccomp_filters),
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
