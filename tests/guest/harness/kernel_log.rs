//! What a guest's kernel complains of.

use std::collections::BTreeSet;

use super::Guest;

/// What a line has that tells of a fault in the kernel.
const COMPLAINTS: [&str; 19] = [
    "WARNING:",
    "BUG:",
    "BUG at",
    "Oops",
    "general protection fault",
    "unable to handle",
    "blocked for more than",
    "lockup",
    "LOCKUP",
    "rcu: INFO",
    "detected stall",
    "kthread starved",
    "scheduling while atomic",
    "corruption",
    "refcount_t:",
    "Bad page",
    "bad rss-counter",
    "UBSAN",
    "Kernel panic",
];

/// A guest's kernel log at some moment.
#[derive(Debug)]
pub struct KernelLog(Vec<String>);

impl KernelLog {
    pub fn of(guest: &Guest) -> Self {
        Self(guest.sh("dmesg").lines().map(str::to_owned).collect())
    }

    /// Lines that tell of a fault.
    pub fn complaints(&self) -> Vec<&str> {
        complaints(self.0.iter().map(String::as_str))
    }

    /// Lines that tell of a fault and came after `before`.
    pub fn new_since<'a>(&'a self, before: &Self) -> Vec<&'a str> {
        // By the last line and not by their number: the log is a ring.
        let seen = before.0.last().and_then(|last| self.0.iter().rposition(|line| line == last));
        complaints(self.0.iter().skip(seen.map_or(0, |at| at + 1)).map(String::as_str))
    }

    /// The same without their figures, each once.
    pub fn kinds_since(&self, before: &Self) -> BTreeSet<String> {
        self.new_since(before).into_iter().map(kind).collect()
    }
}

/// A message without its figures.
fn kind(message: &str) -> String {
    message.chars().filter(|letter| letter.is_alphabetic() || *letter == ' ').collect()
}

fn complaints<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    lines.filter(|line| COMPLAINTS.iter().any(|sign| line.contains(sign))).collect()
}

#[test]
fn complaints_are_told_from_boot_messages() {
    let log = KernelLog(vec![
        "[    0.1] rcu: Hierarchical RCU implementation.".into(),
        "[    0.2] sched_clock: Marking stable (1, 2)->(3, -4)".into(),
        "[    9.0] WARNING: CPU: 0 PID: 1 at kernel/sched/core.c:1".into(),
        "[    9.1] rcu: INFO: rcu_preempt self-detected stall on CPU".into(),
    ]);
    assert_eq!(log.complaints().len(), 2);
    let later =
        KernelLog(log.0.iter().skip(1).cloned().chain(["[ 10.0] Oops: 0".into()]).collect());
    assert_eq!(later.new_since(&log), ["[ 10.0] Oops: 0"]);
}
