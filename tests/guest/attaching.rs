//! What `--domain` does when the VM is not as it should be.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Guest, command, guests, ovmigrate};

/// A QMP command through the socket that is kept for tests.
fn qmp(guest: &Guest, command: &str) -> Value {
    let path = guest.info()["test_qmp"].as_str().expect("vm info names the socket").to_owned();
    let mut socket = UnixStream::connect(path).unwrap();
    let mut lines = BufReader::new(socket.try_clone().unwrap()).lines();
    let mut answer = || loop {
        let line = lines.next().expect("QEMU answers").unwrap();
        let value: Value = serde_json::from_str(&line).unwrap();
        if value.get("event").is_none() {
            return value;
        }
    };
    answer();
    for command in ["qmp_capabilities", command] {
        writeln!(socket, "{}", json!({ "execute": command })).unwrap();
        assert!(command != "qmp_capabilities" || answer().get("return").is_some());
    }
    answer()
}

#[test]
fn an_unknown_name_is_answered_with_the_names_there_are() {
    let guests = guests();
    let message = ovmigrate(["ps", "--domain", "no-such-vm"]).error();
    for part in ["no-such-vm", guests.source.name, guests.destination.name] {
        assert!(message.contains(part), "{part} is missing: {message}");
    }
}

#[test]
fn a_qemu_that_must_not_be_traced_is_refused_with_what_to_do() {
    let guests = guests();
    let ps = command(["ps", "--domain", guests.source.name, "--access", "process"]);
    let output = Command::new("setpriv")
        .arg("--bounding-set=-sys_ptrace")
        .arg(ps.get_program())
        .args(ps.get_args())
        .output()
        .expect("util-linux is installed");
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), message.lines().count()), (Some(1), 1), "{message}");
    for part in ["permission denied", "/mem", "CAP_SYS_PTRACE"] {
        assert!(message.contains(part), "{part} is missing: {message}");
    }
}

#[test]
fn a_vm_is_found_by_name_socket_and_pid() {
    let guests = guests();
    let info = guests.source.info();
    let by_socket = format!("qmp:{}", info["qmp"].as_str().unwrap());
    let by_pid = format!("pid:{}", info["pid"]);
    for domain in [guests.source.name, &by_socket, &by_pid] {
        let processes = ovmigrate(["ps", "--json", "--domain", domain]).json();
        assert_eq!(processes[0]["pid"], 1, "{domain}");
    }
}

#[test]
fn a_vm_that_does_not_run_is_said_to_and_left_so() {
    let guests = guests();
    let job = guests.source.spawn(&["sleep", "1000"]);
    qmp(&guests.source, "stop");
    let failure =
        ovmigrate(["freeze", "--domain", guests.source.name, "--pid", &job.pid.to_string()]);
    let status = qmp(&guests.source, "query-status");
    qmp(&guests.source, "cont");
    let message = failure.error();
    assert!(message.contains("paused") && message.contains(guests.source.name), "{message}");
    assert_eq!(status["return"]["status"], "paused");
    assert_eq!(job.states(), "S");
}

#[test]
fn a_process_that_is_not_there_is_named() {
    let guests = guests();
    for command in ["inspect", "freeze", "thaw"] {
        let message =
            ovmigrate([command, "--domain", guests.source.name, "--pid", "4000000"]).error();
        assert!(message.contains("4000000"), "{command}: {message}");
    }
}
