//! A control group with little memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::error::{BenchError, Result};

/// Which version of the memory controller there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// A control group whose processes, with what they have in the page cache, may
/// use so much memory. It goes with this.
#[derive(Debug)]
pub(super) struct Cgroup {
    root: PathBuf,
    directory: PathBuf,
}

impl Cgroup {
    /// Makes one below the root of the hierarchy.
    pub fn with_memory(bytes: u64) -> Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let mounts = Path::new("/proc/self/mounts");
        let text = fs::read_to_string(mounts).map_err(BenchError::io("read", mounts))?;
        let (version, root) = hierarchy(&text).ok_or_else(|| {
            BenchError::Lacks("no control group hierarchy with memory is mounted".to_owned())
        })?;
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let directory = root.join(format!("ovmigrate-bench-{}-{number}", std::process::id()));
        if version == Version::Two {
            write(&root.join("cgroup.subtree_control"), "+memory")?;
        }
        fs::create_dir(&directory).map_err(BenchError::io("make", &directory))?;
        let group = Self { root, directory };
        let limit = if version == Version::Two { "memory.max" } else { "memory.limit_in_bytes" };
        write(&group.directory.join(limit), &bytes.to_string())?;
        Ok(group)
    }

    /// Has a process, and what it starts from now on, live in it.
    pub fn enter(&self, pid: u32) -> Result<()> {
        write(&self.directory.join("cgroup.procs"), &pid.to_string())
    }

    /// Has a process live at the root, where nothing is limited.
    pub fn leave(&self, pid: u32) -> Result<()> {
        write(&self.root.join("cgroup.procs"), &pid.to_string())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A process that has not ended yet keeps it; it is empty then.
        let _ = fs::remove_dir(&self.directory);
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(BenchError::io("write", path))
}

/// Where the memory controller is, among the lines of `/proc/self/mounts`.
fn hierarchy(mounts: &str) -> Option<(Version, PathBuf)> {
    mounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, at, kind, options, ..] = fields[..] else { return None };
        let root = PathBuf::from(at);
        let controllers = || fs::read_to_string(root.join("cgroup.controllers")).ok();
        match kind {
            "cgroup" if options.split(',').any(|option| option == "memory") => {
                Some((Version::One, root))
            }
            "cgroup2" if controllers()?.split_whitespace().any(|name| name == "memory") => {
                Some((Version::Two, root))
            }
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_is_the_one_with_memory() {
        let mounts = "cgroup /cg/cpu cgroup rw,cpu 0 0\ncgroup /cg/memory cgroup rw,memory 0 0\n";
        assert_eq!(hierarchy(mounts), Some((Version::One, PathBuf::from("/cg/memory"))));
        let unified = tempfile::tempdir().unwrap();
        let mounts = format!("cgroup2 {} cgroup2 rw 0 0\n", unified.path().display());
        assert_eq!(hierarchy(&mounts), None);
        fs::write(unified.path().join("cgroup.controllers"), "cpu memory pids\n").unwrap();
        assert_eq!(hierarchy(&mounts), Some((Version::Two, unified.path().to_owned())));
    }
}
