//! Timers of a process.

use std::collections::BTreeSet;

use crate::criu::findings::ImageFindings;
use crate::criu::proto::{ItimerEntry, PosixTimerEntry, TaskTimersEntry};
use crate::criu::set::ProcessImages;
use crate::criu::timers::notify;
use crate::snapshot::SIGNALS;

const NANOSECONDS: u64 = 1_000_000_000;
/// Clocks that `timer_create()` takes (`include/uapi/linux/time.h`): real time,
/// monotonic, boot time, both that wake a suspended machine, and TAI.
const SYSTEM_CLOCKS: [i32; 6] = [0, 1, 7, 8, 9, 11];

pub fn check(timers: &TaskTimersEntry, process: &ProcessImages, found: &mut ImageFindings<'_>) {
    for (field, timer) in [
        ("tc.timers.real", &timers.real),
        ("tc.timers.virt", &timers.virt),
        ("tc.timers.prof", &timers.prof),
    ] {
        check_itimer(timer, field, found);
    }
    let mut ids = BTreeSet::new();
    for timer in &timers.posix {
        let id = timer.it_id;
        let mut wrong = |problem: String| {
            found.add("tc.timers.posix", format!("has timer {id}, which {problem}"));
        };
        // `criu restore` would wait for an ID that does not come again.
        if !ids.insert(id) {
            wrong("is there twice".into());
        }
        for problem in problems(timer, process) {
            wrong(problem);
        }
    }
}

fn check_itimer(timer: &ItimerEntry, field: &str, found: &mut ImageFindings<'_>) {
    found.require(timer.iusec < 1_000_000 && timer.vusec < 1_000_000, field, || {
        "has a million microseconds or more".into()
    });
}

/// What makes `criu restore` refuse a timer, or give it another meaning.
fn problems(timer: &PosixTimerEntry, process: &ProcessImages) -> Vec<String> {
    let mut problems = Vec::new();
    if timer.it_id > i32::MAX.cast_unsigned() {
        problems.push("has no ID that a kernel gives".into());
    }
    for (seconds, nanoseconds) in [(timer.isec, timer.insec), (timer.vsec, timer.vnsec)] {
        if nanoseconds >= NANOSECONDS || i64::try_from(seconds).is_err() {
            problems.push(format!("has {seconds} s and {nanoseconds} ns"));
        }
    }
    // `decode_posix_timer()` arms such a timer.
    if (timer.vsec, timer.vnsec) == (0, 0) && (timer.isec, timer.insec) != (0, 0) {
        problems.push("is off but has an interval".into());
    }
    let is_thread = |tid: i32| process.cores.contains_key(&tid.cast_unsigned());
    match timer.it_sigev_notify {
        notify::NONE => {}
        notify::SIGNAL | notify::THREAD | notify::THREAD_ID => {
            if !(1..=SIGNALS as u32).contains(&timer.si_signo) {
                problems.push(format!("raises signal {}", timer.si_signo));
            }
        }
        other => problems.push(format!("notifies in the unknown way {other}")),
    }
    let tid = timer.notify_thread_id.unwrap_or_default();
    if timer.it_sigev_notify == notify::THREAD_ID && !is_thread(tid) {
        problems.push(format!("notifies thread {tid}, which is not one of the process"));
    }
    let clock = timer.clock_id.cast_signed();
    if !SYSTEM_CLOCKS.contains(&clock) && !is_cpu_clock(clock, process.pstree.pid, is_thread) {
        problems.push(format!("runs on clock {clock}"));
    }
    problems
}

/// Whether it is a CPU clock of the process: above three bits that say which,
/// the complement of the PID, or of a TID where bit 2 is set; 0 for the leader.
fn is_cpu_clock(clock: i32, pid: u32, is_thread: impl Fn(i32) -> bool) -> bool {
    const PER_THREAD: i32 = 4;
    let owner = !(clock >> 3);
    let is_own = owner == 0
        || if clock & PER_THREAD == 0 { owner == pid.cast_signed() } else { is_thread(owner) };
    clock < 0 && clock & 3 != 3 && is_own
}
