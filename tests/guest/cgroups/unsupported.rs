//! What of cgroups no image can hold.

use super::{Cleared, PLACE, make_place};
use crate::harness::{guests, refused};

#[test]
fn what_of_cgroups_cannot_be_saved_is_named() {
    let guests = guests();
    let _cleared = Cleared::before(&guests);
    make_place(&guests.source);
    let args = [PLACE, "cgroup.subtree_control=+pids", "inner/pids.max=20"];
    let job = guests.start("cgroups", &args, "ready");
    let refuse = |pid: i32, state: &str, script: &str, words: &str, undo: &str| {
        guests.source.sh(script);
        let message = guests.save(pid, &[]).failure();
        assert!(message.contains(words), "{message}");
        guests.source.sh(undo);
        refused(state, words);
    };
    refuse(
        job.pid,
        "a cgroup that was handed over to a user",
        &format!("chown 1000 {PLACE}/inner/cgroup.procs"),
        "is delegated: its cgroup.procs belongs to user 1000",
        &format!("chown 0 {PLACE}/inner/cgroup.procs"),
    );
    let threaded = format!("{PLACE}-threads");
    let make = format!(
        "mkdir {threaded} {threaded}/one {threaded}/two; \
         for name in one two; do echo threaded >{threaded}/$name/cgroup.type; done"
    );
    refuse(
        job.pid,
        "a threaded cgroup",
        &format!("{make}; echo {} >{threaded}/one/cgroup.procs", job.pid),
        "is threaded",
        &format!("echo {} >{PLACE}/inner/cgroup.procs", job.pid),
    );
    let threads = guests.source.start("threads", &[], "round");
    refuse(
        threads.pid,
        "threads in other cgroups than their process",
        &format!(
            "echo {0} >{threaded}/one/cgroup.procs; \
             ls /proc/{0}/task | tail -n 1 >{threaded}/two/cgroup.threads",
            threads.pid
        ),
        "is in other cgroups than its process",
        &format!("kill -KILL {}", threads.pid),
    );
    // All that cannot be saved of cgroups can be left out.
    guests.save(job.pid, &["--ignore-cgroups", "--leave-running"]).stdout();
    guests.source.end_all("cgroups");
}

#[test]
fn a_cgroup_with_programs_is_refused() {
    let guests = guests();
    // systemd restricts devices by a program.
    let unit = "ovmigrate-programs";
    guests.source.sh(&format!(
        "systemd-run --unit {unit} -p DevicePolicy=closed sleep 10000; \
         systemctl show -p MainPID --value {unit} >/run/{unit}"
    ));
    let pid: i32 = guests.source.sh(&format!("cat /run/{unit}")).trim().parse().expect("a PID");
    let message = guests.save(pid, &[]).failure();
    guests.source.sh(&format!("systemctl stop {unit}"));
    let words = "has BPF programs";
    assert!(message.contains(words), "{message}");
    refused("a cgroup with BPF programs, as systemd has for DevicePolicy", words);
}
