//! Processes that are in a system call when they are saved. What the call
//! returns is compared with what it returns after `criu dump` and `criu
//! restore`.

use std::collections::BTreeMap;

use crate::harness::{Guest, Job, WITHOUT_RSEQ, guests, kept, wait_for};

/// How long the calls take that take a time, in seconds.
const LIMIT: u32 = 30;

/// It was told that a signal came.
const INTERRUPTED: &str = "-1 EINTR";
/// It ended in its own time, which it measured.
const IN_TIME: &str = "0 - late";
/// It waits until a signal comes.
const WAITS: &str = "waits";

/// What becomes of each call of `sleepers`, and what after CRIU alone.
const CALLS: [(&str, &str, &str); 17] = [
    ("nanosleep", IN_TIME, INTERRUPTED),
    ("nanosleep_remainder", IN_TIME, INTERRUPTED),
    ("clock_nanosleep_boottime", IN_TIME, INTERRUPTED),
    ("sleep", IN_TIME, INTERRUPTED),
    ("clock_nanosleep", IN_TIME, IN_TIME),
    ("futex", WAITS, WAITS),
    ("futex_timeout", INTERRUPTED, INTERRUPTED),
    ("futex_until", "-1 ETIMEDOUT late", INTERRUPTED),
    ("poll", IN_TIME, INTERRUPTED),
    ("poll_for_ever", WAITS, INTERRUPTED),
    ("ppoll", IN_TIME, IN_TIME),
    ("select", IN_TIME, IN_TIME),
    ("sigwaitinfo", INTERRUPTED, INTERRUPTED),
    ("sigtimedwait", INTERRUPTED, INTERRUPTED),
    ("epoll_wait", INTERRUPTED, INTERRUPTED),
    ("sigsuspend", WAITS, WAITS),
    ("pause", WAITS, WAITS),
];

/// What the calls returned so far.
fn results(job: &Job<'_>) -> BTreeMap<String, String> {
    let log = job.log();
    let lines = log.lines().filter_map(|line| line.split_once(" returned "));
    lines.map(|(call, result)| (call.to_owned(), result.to_owned())).collect()
}

/// Waits until all have returned that are to, and ends the others.
fn end_all(job: &Job<'_>, expected: &BTreeMap<&str, &str>) {
    let count = |wanted: bool| expected.values().filter(|end| (**end == WAITS) == wanted).count();
    wait_for("the calls return", || (results(job).len() >= count(false)).then_some(()));
    let results = results(job);
    for (call, end) in expected {
        let result = results.get(*call).map_or(WAITS, String::as_str);
        assert!(result.starts_with(end), "{call} returned {result}, expected {end}: {results:?}");
    }
    job.kill("USR1");
    wait_for("the others end", || {
        let ended = self::results(job);
        let interrupted = expected.iter().filter(|(call, end)| {
            **end == WAITS && ended.get(**call).is_some_and(|it| it.starts_with(INTERRUPTED))
        });
        (interrupted.count() == count(true)).then_some(())
    });
}

/// Moves a process by CRIU alone, within a guest.
fn moved_by_criu(guest: &Guest, job: &Job<'_>) {
    let images = format!("{}.criu", job.log);
    guest.sh(&format!("mkdir {images} && criu dump -t {} -D {images} -o dump.log", job.pid));
    // Its PID is free once init has reaped it.
    guest.sh(&format!("while test -d /proc/{}; do sleep 0.1; done", job.pid));
    guest.sh(&format!(
        "{WITHOUT_RSEQ} criu restore -d -D {images} -o restore.log </dev/null >/dev/null 2>&1 \
         && rm -r {images}"
    ));
}

/// The call that a thread is in, and its first three arguments.
fn system_call(job: &Job<'_>, call: &str) -> Vec<u64> {
    let log = job.log();
    let tid = log.lines().find_map(|line| line.strip_prefix(call)?.strip_prefix(" is "));
    let tid = tid.expect("each says its TID");
    let shown = job.guest.sh(&format!("cat /proc/{}/task/{tid}/syscall", job.pid));
    let mut words = shown.split_whitespace();
    let number = words.next().and_then(|word| word.parse().ok()).expect("a call");
    let arguments = words
        .take(3)
        .map(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).expect("an argument"));
    std::iter::once(number).chain(arguments).collect()
}

fn asleep_in_all_calls<'a>(start: impl FnOnce(&[&str]) -> Job<'a>) -> Job<'a> {
    let job = start(&["all", &LIMIT.to_string()]);
    job.wait_for_states(&['S']);
    assert_eq!(job.states().len(), CALLS.len() + 1);
    job
}

#[test]
fn calls_go_on_with_the_time_they_have_left() {
    const POLL: u64 = 7;
    let guests = guests();
    let job = asleep_in_all_calls(|args| guests.start("sleepers", args, "ready"));
    let restored = job.migrate(&guests, &[]);
    for call in ["nanosleep", "poll"] {
        let [number, descriptors, count, left] = system_call(&restored, call)[..] else {
            panic!("{call} has no arguments")
        };
        assert_eq!((number, descriptors, count), (POLL, 0, 0), "{call}");
        assert!(left > 0 && left < u64::from(LIMIT) * 1000, "{call} has {left} ms left");
    }
    end_all(&restored, &CALLS.map(|(call, ours, _)| (call, ours)).into());

    let job = asleep_in_all_calls(|args| guests.source.start_for_criu("sleepers", args, "ready"));
    moved_by_criu(&guests.source, &job);
    end_all(&job, &CALLS.map(|(call, _, theirs)| (call, theirs)).into());
    kept(&["system calls in progress"]);
}

/// A signal that comes while a process is held ends its call as it would have
/// ended there; made again, the call would wait for another signal.
#[test]
fn a_signal_that_waits_ends_the_call() {
    let guests = guests();
    for call in ["pause", "nanosleep", "sigsuspend"] {
        let job = guests.start("sleepers", &[call, "3000"], "1 begin");
        job.wait_for_states(&['S']);
        job.kill("STOP");
        job.wait_for_states(&['T']);
        job.kill("USR1");
        let restored = job.migrate(&guests, &[]);
        restored.wait_for_states(&['T']);
        restored.kill("CONT");
        let returned = format!("1 returned {INTERRUPTED}");
        wait_for(&format!("{call} ends"), || restored.log().contains(&returned).then_some(()));
        std::fs::remove_dir_all(guests.images()).unwrap();
    }
}
