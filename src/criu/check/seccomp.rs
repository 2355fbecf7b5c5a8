//! `seccomp.img`

use crate::criu::container::ImageKind;
use crate::criu::findings::Findings;
use crate::criu::set::ImageSet;

/// Bytes of an instruction, and how many a filter has at most.
const INSTRUCTION: usize = 8;
const MOST_INSTRUCTIONS: usize = 4096;

/// A chain that comes back to itself makes restore count its filters for ever
/// (`seccomp_prepare_threads()`, `criu/seccomp.c`); a filter that is none is
/// refused by the kernel.
pub fn check(set: &ImageSet, findings: &mut Findings) {
    let mut found = findings.of(ImageKind::Seccomp, 0, None);
    for (number, filter) in set.seccomp_filters.iter().enumerate() {
        let len = filter.filter.len();
        let is_filter = len.is_multiple_of(INSTRUCTION)
            && (1..=MOST_INSTRUCTIONS).contains(&(len / INSTRUCTION));
        found.require(is_filter, "seccomp_filters.filter", || {
            format!("has {len} bytes, which is no number of instructions")
        });
        let goes_back = filter.prev.is_none_or(|prev| (prev as usize) < number);
        found.require(goes_back, "seccomp_filters.prev", || {
            format!("of filter {number} leads to no filter before it")
        });
    }
}
