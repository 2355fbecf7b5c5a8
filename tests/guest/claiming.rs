//! Two `ovmigrate` on one VM: one at a time changes it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Stdio};
use std::thread;

use crate::harness::{Guest, command, guests, ovmigrate, wait_for};

/// An `ovmigrate` beside others.
struct Beside {
    child: Child,
    messages: BufReader<ChildStderr>,
}

impl Beside {
    fn start(guest: &Guest, what: &str, pid: i32) -> Self {
        let pid = pid.to_string();
        let mut child = command([what, "--domain", guest.name, "--pid", &pid, "--timeout", "60s"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let messages = BufReader::new(child.stderr.take().unwrap());
        Self { child, messages }
    }

    /// The next line that it prints.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.messages.read_line(&mut line).unwrap();
        line
    }

    /// Waits for its success.
    fn succeed(mut self) {
        let mut rest = String::new();
        self.messages.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success(), "{rest}");
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }
}

#[test]
fn a_second_is_refused_after_a_while_and_readers_are_not() {
    let guests = guests();
    let job = guests.source.spawn(&["sleep", "1000"]);
    let first = guests.source.attach();
    first.domain.claim().unwrap();
    let pid = job.pid.to_string();
    ovmigrate(["inspect", "--domain", guests.source.name, "--pid", &pid]).stdout();
    let failure = ovmigrate(["freeze", "--domain", guests.source.name, "--pid", &pid]).failure();
    let lines: Vec<&str> = failure.lines().collect();
    let holder = format!("{} is in use by process {} (", guests.source.name, std::process::id());
    assert!(lines.iter().all(|line| line.contains(&holder)), "{failure}");
    assert!(lines[0].contains("waiting up to 10s"), "{failure}");
    assert!(lines[1].starts_with("error: ") && lines.len() == 2, "{failure}");
    assert_eq!(job.states(), "S");
    assert!(!guests.source.sh(&format!("cat /proc/{pid}/syscall")).is_empty());
}

#[test]
fn a_second_goes_on_when_the_first_is_done() {
    let guests = guests();
    let job = guests.source.spawn(&["sleep", "1000"]);
    let first = guests.source.attach();
    first.domain.claim().unwrap();
    let mut second = Beside::start(&guests.source, "freeze", job.pid);
    let line = second.line();
    assert!(line.contains(&format!("in use by process {} (", std::process::id())), "{line}");
    drop(first);
    second.succeed();
    let pid = job.pid.to_string();
    let processes = ovmigrate(["ps", "--json", "--domain", guests.source.name]).json();
    let frozen = processes.as_array().unwrap().iter().find(|process| process["pid"] == job.pid);
    assert_eq!(frozen.unwrap()["frozen"], true);
    ovmigrate(["thaw", "--domain", guests.source.name, "--pid", &pid]).stdout();
}

#[test]
fn one_that_is_killed_holds_nobody_up() {
    let guests = guests();
    // Cannot be frozen: the first tries for a minute.
    let stubborn = guests.source.start("vforked", &[], "ready");
    stubborn.wait_for_states(&['D']);
    let job = guests.source.spawn(&["sleep", "1000"]);
    let mut first = Beside::start(&guests.source, "freeze", stubborn.pid);
    wait_for("the first has its claim", || {
        let locks = fs::read_to_string("/proc/locks").unwrap();
        locks.contains(&format!(" {} ", first.pid())).then_some(())
    });
    let mut second = Beside::start(&guests.source, "freeze", job.pid);
    let line = second.line();
    assert!(line.contains(&format!("in use by process {} (ovmigrate)", first.pid())), "{line}");
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    second.succeed();
    // Without its child it comes out of its wait, and into the trap.
    let path = format!("/proc/{0}/task/{0}/children", stubborn.pid);
    guests.source.sh(&format!("kill -KILL $(cat {path})"));
    stubborn.wait_for_states(&['S']);
    for pid in [job.pid, stubborn.pid] {
        let pid = pid.to_string();
        ovmigrate(["thaw", "--domain", guests.source.name, "--pid", &pid]).stdout();
    }
}

#[test]
fn two_at_once_take_turns() {
    let guests = guests();
    let jobs = [(); 2].map(|()| guests.source.spawn(&["sleep", "1000"]));
    let (name, pids) = (guests.source.name, jobs.each_ref().map(|job| job.pid.to_string()));
    thread::scope(|scope| {
        for pid in &pids {
            scope.spawn(move || {
                for command in ["freeze", "thaw"].iter().cycle().take(20) {
                    ovmigrate([*command, "--domain", name, "--pid", pid.as_str()]).stdout();
                }
            });
        }
    });
    for job in &jobs {
        assert_eq!(job.states(), "S");
    }
}
