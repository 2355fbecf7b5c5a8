//! The programs that are saved, compiled when they are needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::error::{BenchError, Result};
use super::process::{Interrupt, output};

/// How long the compiler may take.
const LIMIT: Duration = Duration::from_secs(120);

/// A program of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Holds memory, and can tell whether it is still right.
    Hold,
    /// Has many threads, descriptors and so on.
    Many,
    /// Asks a memcached, and tells how fast it answers.
    CacheLoad,
}

impl Program {
    /// Its name, as the guest's kernel knows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Many => "many",
            Self::CacheLoad => "cache_load",
        }
    }

    fn source(self) -> &'static str {
        match self {
            Self::Hold => include_str!("../../benches/programs/hold.c"),
            Self::Many => include_str!("../../tests/programs/many.c"),
            Self::CacheLoad => include_str!("../../benches/programs/cache_load.c"),
        }
    }

    /// Compiles it into a directory, linked statically so that it needs nothing
    /// where it runs. One that is there already stays.
    pub fn build(self, directory: &Path, interrupt: &Interrupt) -> Result<PathBuf> {
        let program = directory.join(self.name());
        if program.exists() {
            return Ok(program);
        }
        let source = program.with_extension("c");
        fs::write(&source, self.source()).map_err(BenchError::io("write", &source))?;
        let mut compiler = Command::new("cc");
        compiler.args(["-static", "-pthread", "-O2", "-Wall", "-Wextra", "-Werror", "-o"]);
        output(compiler.arg(&program).arg(&source), LIMIT, interrupt)?;
        Ok(program)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_programs_compile() {
        let directory = tempfile::tempdir().unwrap();
        for program in [Program::Hold, Program::Many, Program::CacheLoad] {
            let built = program.build(directory.path(), &Interrupt::default()).unwrap();
            assert!(built.is_file(), "{}", program.name());
        }
    }
}
