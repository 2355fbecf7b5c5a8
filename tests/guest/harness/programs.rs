//! The programs of `tests/programs`.

use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs");

/// A program that a guest can run: the script itself, or what the C compiler
/// made of the source, linked statically so that it needs nothing there.
pub fn built(name: &str) -> PathBuf {
    let source = Path::new(SOURCES).join(name);
    if source.is_file() {
        return source;
    }
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let fresh =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.{}", std::process::id()));
    let compiler = Command::new("cc")
        .args(["-static", "-pthread", "-O2", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&fresh)
        .arg(source.with_extension("c"))
        .status()
        .expect("cc is installed");
    assert!(compiler.success(), "{name} does not compile");
    std::fs::rename(fresh, &program).unwrap();
    program
}
