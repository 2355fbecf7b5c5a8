//! Memory that processes share is as it was, and still shared.

use crate::harness::{Guests, Job, guests, kept};

const FOLDER: &str = "/var/tmp/ovmigrate-tests/sharing";

/// The program, which shares memory of a kind with a child.
pub fn start<'g>(guests: &'g Guests, kind: &str) -> Job<'g> {
    for guest in [&guests.source, &guests.destination] {
        guest.sh(&format!(
            "rm -rf {FOLDER}; mkdir -p {FOLDER}; head -c 65536 /dev/zero >{FOLDER}/mapped"
        ));
    }
    guests.destination.program("shared");
    guests.source.start_for_criu("shared", &[FOLDER, kind], "ready")
}

fn is_as_it_was(kind: &str, files: &[&str]) {
    let guests = guests();
    let restored = start(&guests, kind).migrate(&guests, files);
    let said = restored.ask();
    assert!(said.ends_with("done, 0 failures\n"), "{said}");
}

#[test]
fn shared_anonymous_memory_is_as_it_was() {
    is_as_it_was("anonymous", &[]);
    kept(&["shared anonymous memory"]);
}

#[test]
fn memfds_are_as_they_were() {
    is_as_it_was("memfd", &[]);
    kept(&["memfd, sealed too, open and mapped"]);
}

#[test]
fn files_that_are_mapped_are_as_they_were() {
    is_as_it_was("files", &[&format!("{FOLDER}/mapped")]);
    kept(&["shared writable file mappings", "mappings of deleted files, in tmpfs too"]);
}

#[test]
fn huge_pages_are_as_they_were() {
    let guests = guests();
    let restored = start(&guests, "huge").migrate(&guests, &[]);
    let said = restored.ask();
    assert!(said.ends_with("done, 0 failures\n"), "{said}");
    kept(&["huge pages: private, shared and of memfds"]);
}
