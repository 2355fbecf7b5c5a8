//! Memory that processes share.

use super::compare::{Differences, In};
use super::intended::{ALL, CRIU_3, EVERYWHERE, Intended, assert_intended};
use super::{Members, differing_in_tree};
use crate::harness::guests;
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
