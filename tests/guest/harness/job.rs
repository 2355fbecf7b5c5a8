//! A process that a test started in a guest.

use super::{Guest, Guests, wait_for};

/// A process that a test started, with the file that takes its output.
#[derive(Debug)]
pub struct Job<'a> {
    pub guest: &'a Guest,
    pub pid: i32,
    /// Path in the guest.
    pub log: String,
}

impl Job<'_> {
    /// What it has printed.
    pub fn log(&self) -> String {
        self.guest.sh(&format!("cat {}", self.log))
    }

    /// Waits until it has printed `ready`.
    #[track_caller]
    pub fn once_it_prints(self, ready: &str) -> Self {
        wait_for(&format!("{} prints {ready:?}", self.pid), || {
            let prints = || self.log().contains(ready);
            let found = prints();
            let may_still = found || self.is_alive() || prints();
            assert!(may_still, "{} ended without {ready:?}: {}", self.pid, self.log());
            found.then_some(())
        });
        self
    }

    /// Whether it is there and no zombie.
    pub fn is_alive(&self) -> bool {
        !matches!(self.states().as_str(), "" | "Z")
    }

    /// The states of its threads, one letter each; empty if it is gone.
    pub fn states(&self) -> String {
        let script =
            format!("sed -n 's/^State:\\t\\(.\\).*/\\1/p' /proc/{}/task/*/status", self.pid);
        let output = self.guest.try_sh(&format!("{script} 2>/dev/null"));
        String::from_utf8_lossy(&output.stdout).split_whitespace().collect()
    }

    /// Waits until all threads are in one of these states.
    #[track_caller]
    pub fn wait_for_states(&self, wanted: &[char]) {
        wait_for(&format!("{} is in one of {wanted:?}", self.pid), || {
            let states = self.states();
            (!states.is_empty() && states.chars().all(|state| wanted.contains(&state)))
                .then_some(())
        });
    }

    /// Waits until it is gone.
    #[track_caller]
    pub fn wait_for_end(&self) {
        wait_for(&format!("{} is gone", self.pid), || (!self.is_alive()).then_some(()));
    }

    /// Sends a signal from within the guest.
    #[track_caller]
    pub fn kill(&self, signal: &str) {
        self.guest.sh(&format!("kill -{signal} {}", self.pid));
    }

    /// Waits until it prints something after what it has printed by now.
    #[track_caller]
    pub fn wait_for_output(&self) {
        let before = self.log();
        wait_for("more output", || (self.log().len() > before.len()).then_some(()));
    }

    /// Sends SIGUSR1 and returns what it prints, to the line that begins with
    /// `done`.
    #[track_caller]
    pub fn ask(&self) -> String {
        let before = self.log().len();
        self.kill("USR1");
        wait_for("the program answers SIGUSR1", || {
            let log = self.log();
            let new = log.get(before..)?.to_owned();
            new.lines().any(|line| line.starts_with("done")).then_some(new)
        })
    }

    /// The lines of `/proc/PID/stat` of all processes of the guest that run a
    /// program of `tests/programs`.
    pub fn running(&self, program: &str) -> String {
        self.guest.running(program)
    }

    /// Ends all processes that run a program of `tests/programs`.
    #[track_caller]
    pub fn end_all(&self, program: &str) {
        self.guest.end_all(program);
    }

    /// Saves it in the source, restores it in the destination, and returns it
    /// there. `files` are those it has open or mapped, besides its output.
    #[track_caller]
    pub fn migrate<'g>(&self, guests: &'g Guests, files: &[&str]) -> Job<'g> {
        self.migrate_by(guests, &[], files)
    }

    /// The same with these options of `save`.
    #[track_caller]
    pub fn migrate_by<'g>(&self, guests: &'g Guests, options: &[&str], files: &[&str]) -> Job<'g> {
        guests.save(self.pid, options).stdout();
        assert!(!self.is_alive(), "the source still runs");
        guests.copy(files);
        guests.copy(&[&self.log]);
        guests.restore().stdout();
        guests.destination.adopt(self.pid);
        Job { guest: &guests.destination, pid: self.pid, log: self.log.clone() }
    }
}
