//! Open files of every kind are as they were.

use crate::harness::{Guest, Guests, Job, guests, kept};

/// What the program `files` expects in its folder.
fn prepare(guest: &Guest, folder: &str) {
    guest.sh(&format!(
        "rm -rf {folder}; mkdir -p {folder}; cd {folder}; mkfifo -m 644 fifo; \
         seq 1 20000 | head -c 65536 >data"
    ));
}

fn folder(kind: &str) -> String {
    format!("/var/tmp/ovmigrate-tests/open/{kind}")
}

/// The program, with files of a kind open.
pub fn start<'g>(guests: &'g Guests, kind: &str) -> Job<'g> {
    let folder = folder(kind);
    prepare(&guests.source, &folder);
    prepare(&guests.destination, &folder);
    guests.destination.program("files");
    guests.source.start_for_criu("files", &[&folder, kind], "ready")
}

/// `made`: files that the program makes in its folder.
fn are_as_they_were(kind: &str, made: &[&str]) {
    let guests = guests();
    let job = start(&guests, kind);
    let made: Vec<_> = made.iter().map(|name| format!("{}/{name}", folder(kind))).collect();
    let made: Vec<_> = made.iter().map(String::as_str).collect();
    guests.destination.sh(&format!("ln -s nowhere {}/link", folder(kind)));
    let restored = job.migrate(&guests, &made);
    let said = restored.ask();
    assert!(said.ends_with("done, 0 failures\n"), "{said}");
}

#[test]
fn pipes_and_fifos_are_as_they_were() {
    are_as_they_were("pipes", &[]);
    kept(&["pipes and FIFOs, with data and size", "signal-driven I/O of a pipe"]);
}

#[test]
fn locks_are_as_they_were() {
    are_as_they_were("locks", &["posix", "flock", "ofd", "leased", "alone"]);
    kept(&["file locks: POSIX, flock, OFD, leases"]);
}

#[test]
fn files_by_path_are_as_they_were() {
    are_as_they_were("paths", &["append", "far"]);
    kept(&[
        "files of O_APPEND, O_PATH, O_DIRECT and with large offsets",
        "files of /proc and /sys",
    ]);
}

#[test]
fn deleted_files_are_as_they_were() {
    are_as_they_were("deleted", &[]);
    kept(&["deleted files, O_TMPFILE too"]);
}
