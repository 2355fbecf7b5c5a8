//! Trees in one go, and what threads have of their own in them.

use super::compare::In;
use super::intended::{CRIU_3, EVERYWHERE, Intended, assert_intended};
use super::{Members, differing_in_tree};
use crate::confinement;
use crate::harness::{TestKernel, guests};

#[test]
fn images_of_a_tree_are_those_of_criu() {
    let guests = guests();
    let folder = "/var/tmp/ovmigrate-tests/differential.d";
    guests.source.sh(&format!("rm -rf {folder}"));
    let tree = guests.source.start_for_criu("tree", &[folder], "ready");
    let mut all = differing_in_tree(&guests, &tree, Members { all: 18, living: 16 }, &[]);
    tree.end_all("tree");
    let seccomp = guests.source.start_for_criu("seccomp", &[], "ready");
    all.extend(differing_in_tree(&guests, &seccomp, Members::living(3), &[]));
    seccomp.end_all("seccomp");
    let confined = confinement::start(&guests);
    all.extend(differing_in_tree(&guests, &confined, Members::living(1), &[]));
    confined.end_all("confined");
    assert_intended(&all, &[EVERYWHERE]);
}

const CAME_LATER: &[Intended] = &[
    ("core.tc.membarrier_registration_mask", In::Ours, CRIU_3, "came with CRIU 3.19"),
    ("files.memfd.inode.mode", In::Ours, CRIU_3, "as above"),
];

/// A stop by another signal than SIGSTOP CRIU 3.17 does not dump: "SEIZE [...]:
/// unsupported stop signal 20".
#[test]
fn images_of_what_came_later_are_those_of_criu() {
    let guests = guests();
    let is_old = CRIU_3.contains(&TestKernel::chosen().release);
    let (kinds, members) = if is_old {
        (&["membarrier", "memfd"][..], 1)
    } else {
        (&["membarrier", "memfd", "stop"][..], 2)
    };
    let later = guests.source.start_for_criu("later", kinds, "ready");
    let all = differing_in_tree(&guests, &later, Members::living(members), &[]);
    later.end_all("later");
    assert_intended(&all, &[EVERYWHERE, CAME_LATER]);
}
