//! Differences that are intended.

use std::collections::BTreeSet;

use super::compare::{Differences, In};
use crate::harness::TestKernel;

/// Kernels whose guests have CRIU 3.17, CRIU 4, one before 4.2, and 4.2.
pub const CRIU_3: &[&str] = &["5.10", "6.1"];
pub const CRIU_4: &[&str] = &["6.12", "7.2"];
pub const BEFORE_4_2: &[&str] = &["5.10", "6.1", "6.12"];
pub const CRIU_4_2: &[&str] = &["7.2"];
pub const ALL: &[&str] = &["5.10", "6.1", "6.12", "7.2"];

/// A kind of fields with all that is part of it, who has it, on which kernels it
/// differs, and why.
pub type Intended = (&'static str, In, &'static [&'static str], &'static str);

/// Of every process.
pub const EVERYWHERE: &[Intended] = &[
    ("core.tc.loginuid", In::Theirs, ALL, "one that was never set, which CRIU writes as -1"),
    (
        "core.tc.cg_set",
        In::Ours,
        CRIU_4,
        "CRIU 4 has it with each thread alone, CRIU 3 with the process",
    ),
    ("core.thread_core.cg_set", In::Ours, CRIU_3, "as above"),
    ("core.thread_core.creds.cap_amb", In::Ours, CRIU_3, "came with a later CRIU than 3.17"),
    ("core.thread_info.4", In::Theirs, ALL, "the TLS segments of 32-bit code, which is refused"),
    (
        "core.thread_info.fpregs.xsave.bndreg_state",
        In::Ours,
        ALL,
        "all zero: the kernel does not enable MPX",
    ),
    ("files.reg.build_id", In::Theirs, ALL, "sizes and modes are compared instead"),
];

/// Fails unless the kinds that differ are those that are intended on this kernel.
/// What differs counts for the narrowest entry that it is part of.
pub fn assert_intended(all: &Differences, lists: &[&[Intended]]) {
    let kernel = TestKernel::chosen().release;
    let intended = lists.iter().copied().flatten().filter(|(.., on, _)| on.contains(&kernel));
    let mut unseen: BTreeSet<_> = intended.map(|(kind, side, ..)| (*kind, *side)).collect();
    let known = unseen.clone();
    let mut others = Differences::new();
    for ((kind, side), example) in all {
        let covers = |(of, of_side): &&(&str, In)| of_side == side && is_part(kind, of);
        match known.iter().filter(covers).max_by_key(|(of, _)| of.len()) {
            Some(entry) => drop(unseen.remove(entry)),
            None => drop(others.insert((kind.clone(), *side), example.clone())),
        }
    }
    assert!(
        unseen.is_empty() && others.is_empty(),
        "the same in both, but intended to differ: {unseen:#?}\n\
         differences that are not intended: {others:#?}"
    );
}

fn is_part(kind: &str, of: &str) -> bool {
    kind.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
