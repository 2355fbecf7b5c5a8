//! `freeze` and `thaw`, which nobody in the guest is to notice.

use std::thread::sleep;
use std::time::Duration;

use crate::harness::{Guest, guests, ovmigrate, wait_for, works};

fn control(command: &str, guest: &Guest, pid: i32) -> String {
    ovmigrate([command, "--domain", guest.name, "--pid", &pid.to_string()]).stdout()
}

fn is_frozen(guest: &Guest, pid: i32) -> bool {
    let processes = ovmigrate(["ps", "--json", "--domain", guest.name]).json();
    let process = processes.as_array().unwrap().iter().find(|process| process["pid"] == pid);
    process.expect("the process is listed")["frozen"].as_bool().unwrap()
}

#[test]
fn a_frozen_process_does_nothing_and_goes_on_after_the_thaw() {
    let guests = guests();
    let guest = &guests.source;
    for (program, ready) in [("counter", "2\n"), ("threads", "round")] {
        let job = guest.start(program, &[], ready);
        let said = control("freeze", guest, job.pid);
        assert!(
            said.contains(&format!("ovmigrate thaw --domain {} --pid {}", guest.name, job.pid))
        );
        let (before, states) = (job.log(), job.states());
        assert!(states.chars().all(|state| state == 'S'), "{states}");
        assert!(is_frozen(guest, job.pid));
        sleep(Duration::from_secs(3));
        assert_eq!(job.log(), before, "it ran while it was frozen");
        control("thaw", guest, job.pid);
        assert!(!is_frozen(guest, job.pid));
        job.wait_for_output();
        assert!(!job.log().contains("FAIL"), "{}", job.log());
    }
    works(&["freeze"]);
}

#[test]
fn signals_wait_for_the_thaw() {
    let guests = guests();
    let guest = &guests.source;
    let job = guest.start("sleepers", &["pause", "0"], "1 begin");
    control("freeze", guest, job.pid);
    job.kill("CONT");
    job.kill("USR1");
    sleep(Duration::from_secs(2));
    assert!(is_frozen(guest, job.pid));
    assert!(!job.log().contains("returned"), "a signal thawed it: {}", job.log());
    control("thaw", guest, job.pid);
    wait_for("the handler runs", || job.log().contains("1 returned -1 EINTR").then_some(()));
}

#[test]
fn the_parent_is_not_told() {
    let guests = guests();
    let guest = &guests.source;
    let script = "import os, signal, time\n\
        signal.signal(signal.SIGCHLD, lambda *_: print('SIGCHLD', flush=True))\n\
        child = os.fork()\n\
        if child == 0:\n\
        \x20   while True: signal.pause()\n\
        print('child', child, flush=True)\n\
        while True: signal.pause()\n";
    let parent = guest.spawn(&["python3", "-c", script]);
    let child: i32 =
        wait_for("the child starts", || parent.log().strip_prefix("child ")?.trim().parse().ok());
    guest.adopt(child);
    control("freeze", guest, child);
    control("thaw", guest, child);
    sleep(Duration::from_secs(1));
    assert!(!parent.log().contains("SIGCHLD"), "the parent was told");
    // A stop by a signal is what it would be told of.
    ovmigrate(["signal", "--domain", guest.name, "--pid", &child.to_string(), "STOP"]).stdout();
    wait_for("the parent is told of a stop", || parent.log().contains("SIGCHLD").then_some(()));
}

#[test]
fn a_frozen_process_can_be_killed() {
    let guests = guests();
    let guest = &guests.source;
    for program in ["counter", "threads"] {
        let job = guest.start(program, &[], "\n");
        control("freeze", guest, job.pid);
        let said =
            ovmigrate(["signal", "--domain", guest.name, "--pid", &job.pid.to_string(), "KILL"])
                .stdout();
        assert!(said.contains("has ended"), "{said}");
        job.wait_for_end();
    }
}
