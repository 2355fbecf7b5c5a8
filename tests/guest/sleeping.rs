//! Processes that sleep in a system call when they are saved. What the call
//! returns is what it returns after `criu dump` and `criu restore`, which the
//! tests do as well.

use crate::harness::{Guests, Job, WITHOUT_RSEQ, guests, wait_for};

/// What the first call returned, once it has.
fn first_result(job: &Job<'_>) -> String {
    wait_for("the call returns", || {
        job.log().lines().find_map(|line| line.strip_prefix("1 returned ").map(str::to_owned))
    })
}

/// What the call returns after CRIU alone moved the process, within the source.
fn after_criu(guests: &Guests, mode: &str, seconds: &str, poke: bool) -> String {
    let guest = &guests.source;
    let job = guest.start_for_criu("sleepers", &[mode, seconds], "1 begin");
    job.wait_for_states(&['S']);
    let images = format!("{}.criu", job.log);
    guest.sh(&format!("mkdir {images} && criu dump -t {} -D {images} -o dump.log", job.pid));
    // Its PID is free once init has reaped it.
    guest.sh(&format!("while test -d /proc/{}; do sleep 0.1; done", job.pid));
    guest.sh(&format!(
        "{WITHOUT_RSEQ} criu restore -d -D {images} -o restore.log </dev/null >/dev/null 2>&1"
    ));
    if poke {
        job.kill("USR1");
    }
    let result = first_result(&job);
    job.kill("KILL");
    guest.sh(&format!("rm -r {images}"));
    result
}

/// `poke`: end the call by a signal after the restore, as nothing else does.
fn survives(mode: &str, seconds: &str, poke: bool, expected: &str) {
    let guests = guests();
    let job = guests.start("sleepers", &[mode, seconds], "1 begin");
    job.wait_for_states(&['S']);
    let restored = job.migrate(&guests, &[]);
    if poke {
        restored.wait_for_states(&['S']);
        assert!(!restored.log().contains("returned"), "the call ended: {}", restored.log());
        restored.kill("USR1");
    }
    assert_eq!(first_result(&restored), expected);
    wait_for("it sleeps again", || restored.log().contains("2 begin").then_some(()));
    assert!(restored.is_alive());
    assert_eq!(after_criu(&guests, mode, seconds, poke), expected, "CRIU's own result");
}

/// A call that the kernel restarts from a restart block, which no image holds.
const INTERRUPTED: &str = "-1 EINTR";

#[test]
fn nanosleep() {
    survives("nanosleep", "30", false, INTERRUPTED);
}

#[test]
fn clock_nanosleep_until_a_time() {
    survives("clock_nanosleep", "20", false, "0 -");
}

#[test]
fn futex_without_a_time_limit() {
    survives("futex", "0", true, INTERRUPTED);
}

#[test]
fn futex_with_a_time_limit() {
    survives("futex_timeout", "30", false, INTERRUPTED);
}

#[test]
fn poll_without_descriptors() {
    survives("poll", "30", false, INTERRUPTED);
}

#[test]
fn sigwaitinfo() {
    survives("sigwaitinfo", "0", false, INTERRUPTED);
}

#[test]
fn sigsuspend() {
    survives("sigsuspend", "0", true, INTERRUPTED);
}

#[test]
fn pause() {
    survives("pause", "0", true, INTERRUPTED);
}
