//! Memory that processes share, huge pages, what is mapped from other file systems,
//! and what is registered with the kernel in memory.

use super::compare::{Differences, In};
use super::intended::{ALL, CRIU_3, EVERYWHERE, Intended, assert_intended};
use super::{Members, differing_in_tree};
use crate::files::Mounts;
use crate::harness::{TestKernel, guests};
use crate::sharing;

const INTENDED: &[Intended] = &[
    ("files.memfd.inode.mode", In::Ours, CRIU_3, "came with CRIU 3.19"),
    ("mm.vmas.fdflags", In::Both, ALL, "a private mapping needs its file for reading only"),
];

#[test]
fn images_of_shared_memory_are_those_of_criu() {
    let guests = guests();
    let mut all = Differences::new();
    for kind in ["anonymous", "memfd", "files"] {
        let sharing = sharing::start(&guests, kind);
        all.extend(differing_in_tree(&guests, &sharing, Members::living(2), &[]));
        sharing.end_all("shared");
    }
    assert_intended(&all, &[EVERYWHERE, INTENDED]);
}

const OF_HUGE: &[Intended] = &[
    ("files.memfd", In::Theirs, CRIU_3, "CRIU 3.17 makes a memfd of private huge pages"),
    ("files.type", In::Theirs, CRIU_3, "as above"),
    ("mm.vmas.flags", In::Both, CRIU_3, "as above"),
    ("mm.vmas.shmid", In::Ours, CRIU_3, "as above"),
    ("mm.vmas.status", In::Both, CRIU_3, "as above"),
    ("mm.vmas.fdflags", In::Theirs, ALL, "the kernel makes the file of private huge pages"),
    ("files.memfd.inode.mode", In::Ours, CRIU_3, "came with CRIU 3.19"),
];

#[test]
fn images_of_huge_pages_are_those_of_criu() {
    let guests = guests();
    let sharing = sharing::start(&guests, "huge");
    let all = differing_in_tree(&guests, &sharing, Members::living(2), &[]);
    sharing.end_all("shared");
    assert_intended(&all, &[EVERYWHERE, OF_HUGE]);
}

const OF_REGISTERED: &[Intended] = &[
    ("core.tc.stop_signo", In::Ours, &["6.1"], "came with CRIU 3.18"),
    (
        "core.thread_info.gpregs.ip",
        In::Both,
        &["6.1"],
        "CRIU 3.17 takes the leader alone out of a restartable sequence",
    ),
    ("files.memfd.inode.mode", In::Ours, &["6.1"], "came with CRIU 3.19"),
];

/// Stopped, so that nothing runs in a sequence between the two. On 5.10 CRIU dumps
/// nothing that has restartable sequences: see `for_criu`.
#[test]
fn images_of_what_is_registered_are_those_of_criu() {
    let guests = guests();
    let registered = guests.source.start("registered", &[], "ready");
    registered.kill("STOP");
    registered.wait_for_states(&['T']);
    if TestKernel::chosen().release == "5.10" {
        let images = format!("{}.criu", registered.log);
        let dump = format!("criu dump -t {} -D {images} --leave-running", registered.pid);
        let dump = guests.source.try_sh(&format!("mkdir {images}; {dump}"));
        assert!(!dump.status.success(), "CRIU dumps it: compare it");
        registered.end_all("registered");
        return;
    }
    let all = differing_in_tree(&guests, &registered, Members::living(2), &[]);
    registered.end_all("registered");
    assert_intended(&all, &[EVERYWHERE, OF_REGISTERED]);
}

/// A file that was deleted on overlayfs CRIU does not dump: "Can't create link remap
/// [...]. Use link-remap option."
#[test]
fn images_of_other_file_systems_are_those_of_criu() {
    let guests = guests();
    let mounts = Mounts::make(&guests);
    let job = mounts.start("named");
    let all = differing_in_tree(&guests, &job, Members::living(1), &[]);
    job.kill("KILL");
    job.wait_for_end();
    assert_intended(&all, &[EVERYWHERE]);
}
