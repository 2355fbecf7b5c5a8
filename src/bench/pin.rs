//! Which CPUs threads may use.

use std::fs;
use std::path::Path;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::error::{BenchError, Result};

/// The CPUs that this thread may use.
pub(super) fn available() -> Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0)).map_err(failed("find the CPUs of", "self"))?;
    Ok((0..CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false)).collect())
}

/// Has a thread use these CPUs only.
pub(super) fn pin(thread: i32, cpus: &[usize]) -> Result<()> {
    let set = || {
        let mut set = CpuSet::new();
        cpus.iter().try_for_each(|&cpu| set.set(cpu))?;
        sched_setaffinity(Pid::from_raw(thread), &set)
    };
    set().map_err(failed("pin", &thread.to_string()))
}

/// The threads of a process.
pub(super) fn threads(pid: i32) -> Result<Vec<i32>> {
    let tasks = format!("/proc/{pid}/task");
    let entries = fs::read_dir(&tasks).map_err(BenchError::io("list", Path::new(&tasks)))?;
    let thread = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    Ok(entries.flatten().filter_map(thread).collect())
}

/// This thread on few CPUs, for as long as this lives. What is started meanwhile
/// stays there.
#[derive(Debug)]
pub(super) struct Pinned {
    before: Vec<usize>,
}

impl Pinned {
    pub fn to(cpus: &[usize]) -> Result<Self> {
        let before = available()?;
        pin(0, cpus)?;
        Ok(Self { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // CPUs that went offline meanwhile are no reason to stop.
        let _ = pin(0, &self.before);
    }
}

fn failed(action: &'static str, thread: &str) -> impl FnOnce(nix::Error) -> BenchError {
    let path = Path::new("/proc").join(thread);
    move |error| BenchError::Io { action, path, source: error.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_pinned_for_as_long_as_asked_for() {
        let before = available().unwrap();
        let pinned = Pinned::to(&before[..1]).unwrap();
        assert_eq!(available().unwrap(), before[..1]);
        drop(pinned);
        assert_eq!(available().unwrap(), before);
        let me = nix::unistd::gettid().as_raw();
        assert!(threads(std::process::id().cast_signed()).unwrap().contains(&me));
    }
}
