//! `ps` and `inspect` against the guest's own `/proc`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::harness::{Guest, guests, ovmigrate, works};

/// The fields of `/proc/PID/status`.
fn status(guest: &Guest, pid: i32) -> BTreeMap<String, String> {
    guest
        .sh(&format!("cat /proc/{pid}/status"))
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

fn by_pid(processes: &Value) -> BTreeMap<i64, &Value> {
    let list = processes.as_array().expect("ps prints a list");
    list.iter().map(|process| (process["pid"].as_i64().unwrap(), process)).collect()
}

#[test]
fn ps_lists_what_proc_lists() {
    compare_ps_with_proc(&guests().source);
}

/// Checks `ps` of a guest.
pub fn compare_ps_with_proc(guest: &Guest) {
    let threads = guest.start("threads", &[], "ready");
    let stopped = guest.spawn(&["sleep", "1000"]);
    stopped.kill("STOP");
    stopped.wait_for_states(&['T']);

    let read =
        "for d in /proc/[0-9]*; do read -r line <$d/stat && echo \"$line\"; done 2>/dev/null; true";
    let proc_of = |text: String| -> BTreeMap<i64, (String, String, i64, i64)> {
        let parse = |line: &str| {
            let (pid, rest) = line.split_once(" (")?;
            let (comm, rest) = rest.rsplit_once(") ")?;
            let fields: Vec<&str> = rest.split(' ').collect();
            let number = |index: usize| fields.get(index)?.parse().ok();
            Some((
                pid.parse().ok()?,
                (comm.to_owned(), fields[0].to_owned(), number(1)?, number(17)?),
            ))
        };
        text.lines().filter_map(parse).collect()
    };
    // What is there before and after must be in between as well.
    let before = proc_of(guest.sh(read));
    let seen = ovmigrate(["ps", "--json", "--domain", guest.name]).json();
    let after = proc_of(guest.sh(read));
    let seen = by_pid(&seen);
    let mut compared = 0;
    for (pid, (comm, _, ppid, count)) in before {
        if after.get(&pid).is_none_or(|(name, ..)| *name != comm) || comm.starts_with("kworker") {
            continue;
        }
        let process = seen.get(&pid).unwrap_or_else(|| panic!("{pid} ({comm}) is not listed"));
        // `/proc` shows kernel threads by a longer name that they keep elsewhere.
        assert_eq!(process["comm"], comm.chars().take(15).collect::<String>(), "{pid}");
        assert_eq!(process["ppid"], ppid, "{pid} ({comm})");
        assert_eq!(process["threads"], count, "{pid} ({comm})");
        compared += 1;
    }
    assert!(compared > 30, "only {compared} processes were compared");
    assert_eq!(seen[&i64::from(threads.pid)]["threads"], 8);
    assert_eq!(seen[&i64::from(stopped.pid)]["state"], "T");

    let resident =
        status(guest, stopped.pid)["VmRSS"].trim_end_matches(" kB").parse::<u64>().unwrap() * 1024;
    let told = seen[&i64::from(stopped.pid)]["resident"].as_u64().unwrap();
    // The kernel's counter lags by some pages a thread.
    assert!(told.abs_diff(resident) < 512 << 10, "{told} for {resident}");
    works(&["ps"]);
}

#[test]
fn inspect_shows_what_proc_shows() {
    compare_inspect_with_proc(&guests().source);
}

/// Checks `inspect` of a process in a guest.
pub fn compare_inspect_with_proc(guest: &Guest) {
    let job = guest.start("attributes", &[], "ready");
    let pid = job.pid.to_string();
    let details = ovmigrate(["inspect", "--json", "--domain", guest.name, "--pid", &pid]).json();
    let status = status(guest, job.pid);

    let ids = |name: &str| -> Vec<u64> {
        status[name].split_whitespace().map(|id| id.parse().unwrap()).collect()
    };
    let numbers = |value: &Value| -> Vec<u64> {
        value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect()
    };
    let hex = |name: &str| u64::from_str_radix(&status[name], 16).unwrap();
    let credentials = &details["credentials"];
    assert_eq!(numbers(&credentials["uids"]), ids("Uid"));
    assert_eq!(numbers(&credentials["gids"]), ids("Gid"));
    assert_eq!(numbers(&credentials["groups"]), ids("Groups"));
    assert_eq!(credentials["cap_permitted"], hex("CapPrm"));
    assert_eq!(credentials["cap_effective"], hex("CapEff"));
    assert_eq!(credentials["cap_bounding"], hex("CapBnd"));
    assert_eq!(details["umask"], u64::from_str_radix(&status["Umask"], 8).unwrap());
    assert_eq!(details["cwd"], "/var/tmp");
    assert_eq!(details["comm"], "odd (name) \\ x");

    let text = ovmigrate(["inspect", "--domain", guest.name, "--pid", &pid]).stdout();
    for line in guest.sh(&format!("cat /proc/{pid}/maps")).lines() {
        assert!(text.contains(line.trim_end()), "{line:?} is not in {text}");
    }
    for name in ["SigBlk", "SigIgn", "SigCgt", "ShdPnd"] {
        assert!(text.contains(&status[name]), "{name} {} is not in {text}", status[name]);
    }
    let files = details["files"].as_array().unwrap();
    let names: Vec<&str> = files.iter().map(|file| file["name"].as_str().unwrap()).collect();
    let links = guest.sh(&format!("for fd in 0 1 2; do readlink /proc/{pid}/fd/$fd; done"));
    assert_eq!(names, links.lines().collect::<Vec<_>>());
    works(&["inspect"]);
}

#[test]
fn a_second_attach_takes_the_stored_profile() {
    let guests = guests();
    let show = || {
        let text = ovmigrate(["profile", "show", "--domain", guests.source.name]).stdout();
        text.lines()
            .filter(|line| !line.starts_with("attach"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    show();
    let second = show();
    assert!(second.iter().any(|line| line.ends_with("(cached)")), "{second:#?}");
    let release = guests.source.sh("uname -r");
    assert!(second[0].ends_with(release.trim()), "{second:#?}");
    assert_eq!(show(), second);
}
