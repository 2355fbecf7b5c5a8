//! Two `ovmigrate` on one VM: one at a time changes it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Stdio};

use crate::harness::{Guest, command, guests, ovmigrate};

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
