//! Signals, freezes and kills on processes of a loaded guest, by the library.

use std::collections::{BTreeSet, HashSet};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::libc::{SIGCONT, SIGKILL, SIGSTOP, SIGTERM, SIGUSR1};
use ovmigrate::attach::Attachment;
use ovmigrate::control::{Deadline, Effect, Target, Tree, freeze, kill_held, send, thaw};
use ovmigrate::inspect::{Process, processes};

use crate::harness::{Guest, Guests, KernelLog, PATIENCE, guests, rounds, wait_for};

/// How long anything may take in a guest under load.
const WITHIN: Duration = Duration::from_secs(30);

/// A program with threads that run and threads that sleep often.
const THREADS: &str = "exec python3 -c '
import threading, time
def spin():
    while True: pass
def doze():
    while True: time.sleep(0.002)
for work in (spin, doze, doze, doze, doze): threading.Thread(target=work, daemon=True).start()
time.sleep(1e6)'";
const LOAD: &str = "exec stress-ng --cpu 2 --pipe 2 --vm 1 --vm-bytes 64M";

/// Starts a shell command, which becomes the process of the PID returned where
/// it begins with `exec`.
fn start(guest: &Guest, command: &str) -> i32 {
    guest.spawn(&["sh", "-c", command]).pid
}

struct Load<'g> {
    guest: &'g Guest,
    pid: i32,
}

impl<'g> Load<'g> {
    fn start(guest: &'g Guest) -> Self {
        Self { guest, pid: start(guest, LOAD) }
    }
}

/// What the kernel complains of while there is the load and nothing else: TCG
/// on a busy host has noise of its own.
fn noise(guest: &Guest) -> BTreeSet<String> {
    let before = KernelLog::of(guest);
    let load = Load::start(guest);
    sleep(Duration::from_secs(rounds(120).into()));
    drop(load);
    KernelLog::of(guest).kinds_since(&before)
}

/// Nothing but `noise` is new in the kernel's log.
fn assert_no_more_than(noise: &BTreeSet<String>, guests: &mut Guests, before: &KernelLog) {
    let complaints = KernelLog::of(&guests.source).kinds_since(before);
    let new: Vec<_> = complaints.difference(noise).collect();
    assert!(new.is_empty(), "the kernel complains: {new:#?}");
    guests.excuse_log();
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        self.guest.sh(&format!(
            "kill -TERM {0}; while kill -0 {0} 2>/dev/null; do sleep 0.1; done",
            self.pid
        ));
    }
}

/// The state letters of a process's threads, as the guest sees them.
fn thread_states(guest: &Guest, pid: i32) -> String {
    guest
        .sh(&format!("sed -n 's/^State:.\\(.\\).*/\\1/p' /proc/{pid}/task/*/status"))
        .split_whitespace()
        .collect()
}

fn signal(vm: &Attachment, pid: i32, signal: i32) -> Effect {
    let target = Target::find(&vm.kernel, pid).unwrap();
    send(&vm.domain, &target, signal as u32, Deadline::within(WITHIN)).unwrap()
}

fn process(vm: &Attachment, pid: i32) -> Option<Process> {
    processes(&vm.kernel, true).unwrap().into_iter().find(|process| process.pid == pid)
}

/// The state letters of a process's threads, as they are seen from outside.
fn states(vm: &Attachment, pid: i32) -> String {
    process(vm, pid).unwrap().thread_list.iter().map(|thread| thread.state).collect()
}

/// Waits until a process shows what is expected of it.
fn await_process(vm: &Attachment, pid: i32, expected: impl Fn(&Process) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !process(vm, pid).is_some_and(|process| expected(&process)) {
        assert!(Instant::now() < deadline, "process {pid}: {:?}", process(vm, pid));
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn stop_and_continue_take_effect_under_load() {
    let mut guests = guests();
    let guest = &guests.source;
    let vm = guest.attach();
    let noise = noise(guest);
    let before = KernelLog::of(guest);
    let load = Load::start(guest);
    let victims = [
        start(guest, "exec sleep 1000000"),
        start(guest, "exec yes >/dev/null"),
        start(guest, THREADS),
        start(guest, "while :; do /bin/true; done"),
    ];
    await_process(&vm, victims[2], |process| process.threads == 6);
    for round in 0..rounds(200) {
        let pid = victims[round as usize % victims.len()];
        // Asking the guest takes seconds under this load.
        let states = || {
            if round % 10 < 4 { thread_states(guest, pid) } else { states(&vm, pid) }
        };
        assert_eq!(signal(&vm, pid, SIGSTOP), Effect::Stopped, "round {round}");
        let stopped = states();
        assert!(stopped.chars().all(|state| state == 'T'), "round {round}: {pid} is {stopped}");
        assert_eq!(signal(&vm, pid, SIGCONT), Effect::Continued, "round {round}");
        let continued = states();
        assert!(!continued.contains('T'), "round {round}: {pid} is {continued}");
    }
    drop(load);
    for pid in victims {
        assert_eq!(signal(&vm, pid, SIGKILL), Effect::Killed);
    }
    assert_no_more_than(&noise, &mut guests, &before);
}

#[test]
fn kills_take_effect_under_load() {
    let mut guests = guests();
    let guest = &guests.source;
    let vm = guest.attach();
    let noise = noise(guest);
    let before = KernelLog::of(guest);
    let load = Load::start(guest);
    let victims = ["exec sleep 1000000", "exec yes >/dev/null", THREADS];
    for round in 0..rounds(50) {
        let pid = start(guest, victims[round as usize % victims.len()]);
        await_process(&vm, pid, |process| process.comm != "sh");
        if round % 2 == 0 {
            assert_eq!(signal(&vm, pid, SIGKILL), Effect::Killed, "round {round}");
        } else {
            let mut tree = Tree::alone(Target::find(&vm.kernel, pid).unwrap());
            freeze(&vm.domain, &mut tree, Deadline::within(WITHIN)).unwrap();
            kill_held(&vm.domain, &tree, &|| false, Deadline::within(WITHIN)).unwrap();
        }
        guest.sh(&format!("while [ -d /proc/{pid} ]; do sleep 0.1; done"));
    }
    drop(load);
    assert_no_more_than(&noise, &mut guests, &before);
}

#[test]
fn a_frozen_process_stays_frozen_and_goes_on_after_the_thaw() {
    let guests = guests();
    let guest = &guests.source;
    let vm = guest.attach();
    for (command, threads) in [("exec sleep 1000000", 1), ("exec yes >/dev/null", 1), (THREADS, 6)]
    {
        let pid = start(guest, command);
        await_process(&vm, pid, |process| process.threads == threads && process.comm != "sh");
        let mut tree = Tree::alone(Target::find(&vm.kernel, pid).unwrap());
        let deadline = || Deadline::within(WITHIN);
        // Where each thread is, or that it runs. Its times tell less: a signal
        // makes a frozen thread look in the kernel, which costs time, too.
        let places = || guest.sh(&format!("cat /proc/{pid}/task/*/syscall"));
        freeze(&vm.domain, &mut tree, deadline()).unwrap();
        assert!(process(&vm, pid).unwrap().frozen);
        assert!(freeze(&vm.domain, &mut tree, deadline()).is_err(), "it is frozen already");
        // Nor does it move when the guest itself would have it.
        let before = places();
        guest.sh(&format!("kill -CONT {pid}; kill -STOP {pid}; kill -CONT {pid}; sleep 0.5"));
        assert_eq!(thread_states(guest, pid), "S".repeat(threads as usize));
        assert!(process(&vm, pid).unwrap().frozen);
        assert_eq!(places(), before);
        thaw(&vm.domain, &tree, deadline()).unwrap();
        assert!(!process(&vm, pid).unwrap().frozen);
        if command != "exec sleep 1000000" {
            wait_for("it runs again", || (places() != before).then_some(()));
        }
        assert_eq!(signal(&vm, pid, SIGKILL), Effect::Killed);
    }
}

#[test]
fn a_timer_ticks_on_after_each_thaw() {
    let guests = guests();
    let guest = &guests.source;
    let vm = guest.attach();
    let job = guest.start("counter", &["20"], "1\n");
    let mut tree = Tree::alone(Target::find(&vm.kernel, job.pid).unwrap());
    let load = Load::start(guest);
    for _ in 0..rounds(200) {
        freeze(&vm.domain, &mut tree, Deadline::within(WITHIN)).unwrap();
        thaw(&vm.domain, &tree, Deadline::within(WITHIN)).unwrap();
        // Several ticks come meanwhile.
        job.wait_for_output();
    }
    drop(load);
}

#[test]
fn a_stopped_process_can_be_frozen_and_thawed() {
    let guests = guests();
    let guest = &guests.source;
    let vm = guest.attach();
    let pid = start(guest, THREADS);
    await_process(&vm, pid, |process| process.threads == 6);
    assert_eq!(signal(&vm, pid, SIGSTOP), Effect::Stopped);
    let mut tree = Tree::alone(Target::find(&vm.kernel, pid).unwrap());
    freeze(&vm.domain, &mut tree, Deadline::within(WITHIN)).unwrap();
    thaw(&vm.domain, &tree, Deadline::within(WITHIN)).unwrap();
    assert_eq!(thread_states(guest, pid), "TTTTTT");
    assert!(!process(&vm, pid).unwrap().frozen);
    assert_eq!(signal(&vm, pid, SIGCONT), Effect::Continued);
    assert_eq!(signal(&vm, pid, SIGTERM), Effect::Killed);
}

#[test]
fn what_a_handler_gets_and_what_is_ignored_is_told() {
    let guests = guests();
    let guest = &guests.source;
    let vm = guest.attach();
    let pid = start(
        guest,
        "exec python3 -uc '
import signal, time
signal.signal(signal.SIGUSR1, lambda *_: print(\"handled\", file=open(\"/var/tmp/handled\", \"w\")))
signal.signal(signal.SIGUSR2, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
open(\"/var/tmp/ready\", \"w\")
while True: time.sleep(1000)'",
    );
    guest.sh("while [ ! -e /var/tmp/ready ]; do sleep 0.1; done; rm -f /var/tmp/ready");
    assert_eq!(signal(&vm, pid, SIGUSR1), Effect::Delivered);
    guest.sh("while [ ! -s /var/tmp/handled ]; do sleep 0.1; done; rm -f /var/tmp/handled");
    assert_eq!(signal(&vm, pid, nix::libc::SIGUSR2), Effect::Ignored);
    assert_eq!(signal(&vm, pid, nix::libc::SIGHUP), Effect::Pending);
    let status = guest.sh(&format!("grep ShdPnd /proc/{pid}/status"));
    assert!(status.trim().ends_with('1'), "{status}");
    assert_eq!(signal(&vm, pid, SIGKILL), Effect::Killed);
}

#[test]
fn processes_that_come_and_go_are_listed_whole() {
    let guests = guests();
    let guest = &guests.source;
    let vm = guest.attach();
    let storm = start(guest, "while :; do /bin/true & /bin/true & wait; done");
    let steady: HashSet<i32> = [1, 2, storm]
        .into_iter()
        .chain((0..3).map(|_| start(guest, "exec sleep 1000000")))
        .collect();
    for _ in 0..rounds(5000) {
        let seen: HashSet<i32> =
            processes(&vm.kernel, true).unwrap().iter().map(|process| process.pid).collect();
        assert!(steady.is_subset(&seen), "{:?} are missing", &steady - &seen);
    }
    for pid in steady.into_iter().filter(|&pid| pid > 2) {
        assert_eq!(signal(&vm, pid, SIGKILL), Effect::Killed);
    }
}
