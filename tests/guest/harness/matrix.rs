//! What the tests saw working, for `docs/support-matrix.md`.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde_json::json;

use ovmigrate::attach::AccessChoice;

use super::{TestKernel, access};

/// Notes that these commands work on the VMs that all tests share. To be called
/// at the end of the test that saw it; `tests/support-matrix` makes the page of
/// what was noted.
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
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("support-matrix.jsonl");
    let mut file = File::options().create(true).append(true).open(path).unwrap();
    let kernel = TestKernel::chosen().release;
    let line = json!({ "kernel": kernel, "vm": vm, "access": access, "commands": commands });
    // In one write: tests run side by side.
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}
