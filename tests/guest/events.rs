//! Descriptors that tell of events are as they were.

use crate::harness::{Guests, Job, TestKernel, guests, kept};

/// What the program watches lies here.
const FOLDER: &str = "/var/tmp/ovmigrate-tests/events.d";

/// The program, with descriptors of these kinds.
pub fn start<'g>(guests: &'g Guests, kinds: &[&str]) -> Job<'g> {
    guests.destination.program("events");
    let program = guests.source.program("events");
    // Other inodes in each of both.
    for (guest, before) in [(&guests.source, ""), (&guests.destination, "touch $(seq 20);")] {
        guest.sh(&format!(
            "rm -rf {FOLDER}; mkdir -p {FOLDER}; cd {FOLDER}; {before} mkdir directory; \
             touch file directory/ignored"
        ));
    }
    let script = format!("cd {FOLDER} && exec \"$0\" \"$@\"");
    let command = [&["sh", "-c", &script, &program], kinds].concat();
    let command = TestKernel::chosen().for_criu(&command);
    guests.source.spawn(&command).once_it_prints("ready")
}

fn are_as_they_were(kinds: &[&str]) {
    let guests = guests();
    let job = start(&guests, kinds);
    assert!(job.ask().ends_with("done, 0 failures\n"), "{}", job.log());
    let restored = job.migrate(&guests, &[]);
    for time in ["first", "second"] {
        let said = restored.ask();
        assert!(said.ends_with("done, 0 failures\n"), "the {time} time: {said}");
    }
    restored.end_all("events");
}

#[test]
fn eventfds_are_as_they_were() {
    are_as_they_were(&["eventfd"]);
    kept(&["eventfds, shared by fork too"]);
}

#[test]
fn signalfds_are_as_they_were() {
    are_as_they_were(&["signalfd"]);
    kept(&["signalfds"]);
}

#[test]
fn epoll_watches_what_it_watched() {
    are_as_they_were(&["epoll"]);
    kept(&[
        "epoll on all kinds of descriptors, by edges, once, alone, with its data",
        "epoll on epoll, on duplicates, and shared by fork",
    ]);
}

#[test]
fn inotify_watches_the_same_paths() {
    are_as_they_were(&["inotify"]);
    kept(&["inotify, by the paths of what is watched, with the numbers of the watches"]);
}

#[test]
fn fanotify_watches_the_same_paths_and_mounts() {
    are_as_they_were(&["fanotify"]);
    kept(&["fanotify, by the paths of what is watched, mounts too, with what it ignores"]);
}

#[test]
fn timerfds_are_as_they_were() {
    are_as_they_were(&["timerfd"]);
    kept(&[
        "timerfds on the clocks real time, monotonic and boot time, fired and not read too",
        "timerfds that are told when the clock is set (TFD_TIMER_CANCEL_ON_SET)",
    ]);
}
