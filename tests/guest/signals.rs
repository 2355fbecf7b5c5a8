//! `signal` on tasks that run, sleep, are stopped and have many threads.

use crate::harness::{Guest, Job, guests, ovmigrate, wait_for, works};

fn signal(job: &Job<'_>, signal: &str) -> String {
    let pid = job.pid.to_string();
    ovmigrate(["signal", "--domain", job.guest.name, "--pid", &pid, "--timeout", "60s", signal])
        .stdout()
}

/// One of each kind: asleep in a call, woken all the time, many threads, busy.
fn one_of_each(guest: &Guest) -> Vec<Job<'_>> {
    vec![
        guest.start("sleepers", &["pause", "0"], "1 begin"),
        guest.start("counter", &["20"], "1\n"),
        guest.start("threads", &[], "ready"),
        guest.spawn(&["sh", "-c", "while :; do :; done"]),
    ]
}

#[test]
fn a_signal_is_taken_or_said_to_wait() {
    let guests = guests();
    let job = guests.source.start("sleepers", &["pause", "0"], "1 begin");
    assert!(signal(&job, "USR1").contains("has taken the signal"));
    wait_for("the handler runs", || job.log().contains("2 begin").then_some(()));
    // It blocks this one.
    assert!(signal(&job, "USR2").contains("pending"));
    assert!(signal(&job, "WINCH").contains("ignores"));
    assert!(signal(&job, "STOP").contains("is stopped"));
    assert_eq!(job.states(), "T");
    assert!(signal(&job, "CONT").contains("is not stopped any more"));
    assert_eq!(job.states(), "S");
    assert!(signal(&job, "TERM").contains("has ended"));
    job.wait_for_end();
    works(&["signal"]);
}

#[test]
fn a_stopped_process_can_be_killed() {
    let guests = guests();
    for job in one_of_each(&guests.source) {
        signal(&job, "STOP");
        job.wait_for_states(&['T']);
        signal(&job, "KILL");
        job.wait_for_end();
    }
}
