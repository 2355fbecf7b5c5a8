//! What a save does not keep is told by name.

use serde_json::Value;

use crate::harness::{guests, not_kept, ovmigrate};

/// Python statements that give a process what is not kept, and what it is called.
const NOT_KEPT: [(&str, &str, &str); 3] = [
    (
        "CPUs that a thread may not run on",
        "os.sched_setaffinity(0, {0})",
        "1 of its threads may not run on all CPUs (sched_setaffinity)",
    ),
    (
        "a timer slack",
        "ctypes.CDLL(None).prctl(29, 12345)",
        "1 of its threads have a timer slack of their own (PR_SET_TIMERSLACK)",
    ),
    (
        "what a core dump holds",
        "open('/proc/self/coredump_filter', 'w').write('0x7f')",
        "its core dumps hold other memory than is usual (coredump_filter)",
    ),
];

#[test]
fn what_is_not_kept_is_told_before_and_after_a_save() {
    let guests = guests();
    let statements: String = NOT_KEPT.iter().map(|(_, code, _)| format!("{code}\n")).collect();
    let script = format!(
        "import ctypes, os, signal\n{statements}print('ready\\n', flush=True)\n\
         while True: signal.pause()\n"
    );
    let job = guests.source.spawn(&["python3", "-c", &script]).once_it_prints("ready");
    let pid = job.pid.to_string();
    let at = ["--domain", guests.source.name, "--pid", &pid];
    let check = ovmigrate(["check", "--json"].iter().chain(&at)).stdout();
    let check: Value = serde_json::from_str(&check).expect("JSON");
    let words = NOT_KEPT.map(|(_, _, what)| what);
    let told_before: Vec<&str> = check["not_kept"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|one| one["what"].as_str())
        .collect();
    assert_eq!(told_before, words);
    let saved = guests.save(job.pid, &["--leave-running"]).stdout();
    for (state, _, what) in NOT_KEPT {
        let line = format!("note: process {pid} (python3): {what}, which is not kept\n");
        assert!(saved.contains(&line), "{line:?} is not in {saved}");
        not_kept(&[state]);
    }
}
