//! A running guest for tests.

use std::env;
use std::path::Path;
use std::process::{Command, Output};

/// Names a running VM to use; else one is started and left running for the
/// tests that follow.
const VM_VARIABLE: &str = "OVMIGRATE_TEST_VM";
/// Scales the tests that repeat; 10 gives the full figures (`make test-all`).
const REPEATS_VARIABLE: &str = "OVMIGRATE_TEST_REPEATS";

/// Lines of a kernel's log that must not appear.
const COMPLAINTS: [&str; 10] = [
    "WARNING",
    "BUG",
    "Oops",
    "blocked for more than",
    "lockup",
    "rcu_sched",
    "rcu_preempt",
    "rcu: INFO",
    "scheduling while atomic",
    "Call Trace",
];

/// A VM with kernel 6.1.
pub struct Guest {
    name: String,
}

impl Guest {
    /// The VM that all tests share.
    pub fn shared() -> Self {
        let name = env::var(VM_VARIABLE).unwrap_or_else(|_| "test-a".to_owned());
        let guest = Self { name };
        if !guest.vm(&["info", &guest.name]).status.success() {
            let up = guest.vm(&["up", &guest.name, "--kernel", "6.1"]);
            assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
        }
        guest
    }

    /// What `--domain` takes.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn vm(&self, args: &[&str]) -> Output {
        let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("qemu-scripts/vm");
        Command::new(tool).args(args).output().expect("qemu-scripts/vm runs")
    }

    /// The output of a shell command in the guest, which must succeed.
    pub fn sh(&self, command: &str) -> String {
        let output = self.vm(&["exec", &self.name, "--", "sh", "-c", command]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts a shell command in the guest, which becomes the process of the
    /// PID returned where it begins with `exec`.
    pub fn spawn(&self, command: &str) -> i32 {
        let output = self.vm(&["spawn", &self.name, "--", "sh", "-c", command]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    }

    /// The state letters of a process's threads, as the guest sees them.
    pub fn states(&self, pid: i32) -> String {
        self.sh(&format!("sed -n 's/^State:.\\(.\\).*/\\1/p' /proc/{pid}/task/*/status"))
            .split_whitespace()
            .collect()
    }

    /// Lines of the kernel's log that tell of something gone wrong.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.sh("dmesg");
        let bad = |line: &&str| COMPLAINTS.iter().any(|complaint| line.contains(complaint));
        log.lines().filter(bad).map(str::to_owned).collect()
    }
}

/// How often to do what `full` times is enough for.
pub fn rounds(full: u32) -> u32 {
    let repeats =
        env::var(REPEATS_VARIABLE).map_or(1, |repeats| repeats.parse().expect("a number"));
    (full * repeats).div_ceil(10)
}
