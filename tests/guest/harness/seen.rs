//! What the tests saw, for the pages in `docs/` that tell what works. To be
//! called at the end of the test that saw it; `tests/pages` makes the pages.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde_json::json;

use ovmigrate::attach::AccessChoice;

use super::{TestKernel, access};

/// Notes that these commands work on the VMs that all tests share.
pub fn works(commands: &[&str]) {
    let access = match access::chosen() {
        AccessChoice::Process => "process",
        // The VMs share their RAM.
        AccessChoice::Auto | AccessChoice::Map => "mapped",
    };
    works_on("q35, 2 vCPUs", access, commands);
}

/// Notes that these commands work on a VM of another make, its RAM reached by
/// `access`.
pub fn works_on(vm: &str, access: &str, commands: &[&str]) {
    note("support-matrix", &[vm, access], commands);
}

/// Notes states of a process that were saved, restored and found whole.
pub fn kept(states: &[&str]) {
    for state in states {
        note("state-coverage", &[state], &["saved and restored"]);
    }
}

/// Notes a state that was refused with these words.
pub fn refused(state: &str, words: &str) {
    note("state-coverage", &[state], &[&format!("refused: {words:?}")]);
}

/// Notes states that a save does not keep and tells of.
pub fn not_kept(states: &[&str]) {
    for state in states {
        note("state-coverage", &[state], &["not kept, which is told"]);
    }
}

/// Notes states that a process cannot have: the kernel is older than they are.
pub fn unknown(states: &[&str]) {
    for state in states {
        note("state-coverage", &[state], &["not in this kernel"]);
    }
}

fn note(page: &str, row: &[&str], words: &[&str]) {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("seen.jsonl");
    let mut file = File::options().create(true).append(true).open(path).unwrap();
    let kernel = TestKernel::chosen().release;
    let line = json!({ "page": page, "kernel": kernel, "row": row, "words": words });
    // In one write: tests run side by side.
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}
