//! Trees in one go, and what threads have of their own in them.

use super::intended::{EVERYWHERE, assert_intended};
use super::{Members, differing_in_tree};
use crate::confinement;
use crate::harness::guests;

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
