//! The programs of `tests/programs`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs");

/// Those that this run of the tests has compiled.
static COMPILED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// A program that a guest can run: the script itself, or what the C compiler
/// made of the source, linked statically so that it needs nothing there.
pub fn built(name: &str) -> PathBuf {
    let source = Path::new(SOURCES).join(name);
    if source.is_file() {
        return source;
    }
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if !compiled.contains(name) {
        compile(&source.with_extension("c"), &program);
        compiled.insert(name.to_owned());
    }
    program
}

/// Another run of the tests may be taking the program meanwhile: it gets its name
/// once it is whole.
fn compile(source: &Path, program: &Path) {
    let fresh = program.with_extension(std::process::id().to_string());
    let compiler = Command::new("cc")
        .args(["-static", "-pthread", "-O2", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&fresh)
        .arg(source)
        .status()
        .expect("cc is installed");
    assert!(compiler.success(), "{} does not compile", source.display());
    std::fs::rename(fresh, program).unwrap();
}
