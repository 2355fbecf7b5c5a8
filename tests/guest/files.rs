//! Open files of every kind are as they were.

use crate::harness::{Guest, Guests, Job, guests};

const FOLDER: &str = "/var/tmp/ovmigrate-tests/open";

/// What the program `files` expects in its folder.
fn prepare(guest: &Guest) {
    guest.sh(&format!(
        "rm -rf {FOLDER}; mkdir -p {FOLDER}; cd {FOLDER}; mkfifo -m 644 fifo; \
         seq 1 20000 | head -c 65536 >data"
    ));
}

/// The program, with files of a kind open.
pub fn start<'g>(guests: &'g Guests, kind: &str) -> Job<'g> {
    prepare(&guests.source);
    prepare(&guests.destination);
    guests.destination.program("files");
    guests.source.start_for_criu("files", &[FOLDER, kind], "ready")
}

fn are_as_they_were(kind: &str, made: &[&str]) {
    let guests = guests();
    let job = start(&guests, kind);
    let made: Vec<_> = made.iter().map(|name| format!("{FOLDER}/{name}")).collect();
    let made: Vec<_> = made.iter().map(String::as_str).collect();
    let restored = job.migrate(&guests, &made);
    let said = restored.ask();
    assert!(said.ends_with("done, 0 failures\n"), "{said}");
}

#[test]
fn pipes_and_fifos_are_as_they_were() {
    are_as_they_were("pipes", &[]);
}

#[test]
fn locks_are_as_they_were() {
    are_as_they_were("locks", &["posix", "flock", "ofd", "leased", "alone"]);
}
