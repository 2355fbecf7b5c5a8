//! `cpuinfo.img`

use crate::criu::container::ImageKind;
use crate::criu::cpuinfo::{CAPABILITY_VERSION, WORDS};
use crate::criu::findings::Findings;
use crate::criu::set::ImageSet;

/// Restore refuses another number of words than the version has, where it is told
/// to look (`img_to_cpuinfo()`, `criu/arch/x86/cpu.c`).
pub fn check(set: &ImageSet, findings: &mut Findings) {
    let mut found = findings.of(ImageKind::Cpuinfo, 0, None);
    let Some(entry) = &set.cpuinfo else { return };
    found.require(entry.x86_entry.len() == 1, "x86_entry", || "is not one".into());
    for cpu in &entry.x86_entry {
        found.require(cpu.capability_ver == CAPABILITY_VERSION, "x86_entry.capability_ver", || {
            format!("is {}, which is not known", cpu.capability_ver)
        });
        let words = cpu.capability.len();
        found.require(words == WORDS, "x86_entry.capability", || {
            format!("has {words} words and not {WORDS}")
        });
    }
}
