//! Descriptors that tell of events and processes.

use super::compare::In;
use super::intended::{ALL, CRIU_4, EVERYWHERE, Intended, assert_intended};
use super::{Members, differing_in_tree};
use crate::events;
use crate::harness::{TestKernel, guests};

const INTENDED: &[Intended] = &[
    ("files.epfd.tfd.dev", In::Theirs, ALL, "for finding a descriptor in a dump, which was done"),
    ("files.epfd.tfd.inode", In::Theirs, ALL, "as above"),
    ("files.epfd.tfd.pos", In::Theirs, ALL, "as above"),
    (
        "files.ify.wd.f_handle.bytes",
        In::Both,
        ALL,
        "a handle means nothing elsewhere; the path is the same",
    ),
    ("files.ify.wd.f_handle.handle", In::Theirs, ALL, "as above"),
    ("files.ify.wd.f_handle.type", In::Both, ALL, "as above"),
    ("files.ffy.mark.ie.f_handle.bytes", In::Both, ALL, "as of inotify"),
    ("files.ffy.mark.ie.f_handle.handle", In::Theirs, ALL, "as above"),
    ("files.ffy.mark.ie.f_handle.type", In::Both, ALL, "as above"),
    ("files.ffy.mark.me.mnt_id", In::Both, ALL, "restore goes by the path"),
    (
        "files.tfd.settime_flags",
        In::Both,
        ALL,
        "CRIU sets a timer that is off but was set until a time",
    ),
    (
        "files.tfd.ticks",
        In::Both,
        ALL,
        "CRIU stops a timer that waits to be read, and loses what it missed",
    ),
];

#[test]
fn images_of_descriptors_of_events_are_those_of_criu() {
    let guests = guests();
    let kinds = ["eventfd", "signalfd", "timerfd", "epoll", "inotify", "fanotify"];
    let events = events::start(&guests, &kinds);
    let mut all = differing_in_tree(&guests, &events, Members::living(2), &[]);
    events.end_all("events");
    if CRIU_4.contains(&TestKernel::chosen().release) {
        let pidfds = guests.source.start("pidfds", &[], "ready");
        all.extend(differing_in_tree(&guests, &pidfds, Members { all: 3, living: 2 }, &[]));
        pidfds.end_all("pidfds");
    }
    assert_intended(&all, &[EVERYWHERE, INTENDED]);
}
