//! What a save may take of the host.

use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use ovmigrate::pack::Compression;
use ovmigrate::save::Effort;

use super::size::size;

/// What a save may take of the host.
#[derive(Debug, Args)]
#[command(next_help_heading = "What it may take of the host")]
pub struct EffortArgs {
    /// How many threads write pages at a time; as many as the VM leaves CPUs, 2 to 4
    /// of them, where nothing is said.
    #[arg(long, value_name = "COUNT")]
    jobs: Option<NonZeroUsize>,
    /// How much memory pages may take on their way, where they cannot go out from
    /// where they lie. There is one thread at most for each 8 MiB, or 16 MiB where
    /// it compresses.
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = size)]
    memory_limit: u64,
    /// How many bytes of pages may be written in a second.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    rate_limit: Option<u64>,
    /// How far the threads that write pages step back behind others, for CPUs and
    /// disks: from 0, not at all, to 19. What pauses the VM does not.
    #[arg(long, value_name = "LEVEL", default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=19))]
    nice: u8,
    /// Compress pages, as pages-1.img.zst, where there are CPUs to spare. `ovmigrate
    /// restore` unpacks them on their way; for criu itself the tool of the format does.
    #[arg(long, value_enum, default_value_t)]
    compress: Compress,
    /// The CPUs that may be used, as 2,4-7.
    #[arg(long, value_name = "LIST", value_parser = cpus)]
    cpus: Option<Cpus>,
    /// A control group to save in, by its directory, which is made if it is not
    /// there. Once for each hierarchy, where there are several. A limit of CPU time
    /// (cpu.max) can make the VM stand still for longer; a weight does not.
    #[arg(long, value_name = "DIR")]
    cgroup: Vec<PathBuf>,
}

/// Whether pages are compressed.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Compress {
    /// Not at all: the images are for any criu restore.
    #[default]
    None,
    /// A little, fast.
    Lz4,
    /// More, for more CPU time.
    Zstd,
}

impl Compress {
    fn compression(self) -> Option<Compression> {
        match self {
            Self::None => None,
            Self::Lz4 => Some(Compression::Lz4),
            Self::Zstd => Some(Compression::Zstd),
        }
    }
}

/// Numbers of CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cpus(Vec<usize>);

impl EffortArgs {
    /// What pages may take.
    pub fn effort(&self) -> Effort {
        Effort {
            jobs: self.jobs,
            memory: self.memory_limit,
            rate: self.rate_limit,
            nice: self.nice,
            compression: self.compress.compression(),
        }
    }

    /// Confines this process, which has one thread yet.
    pub fn confine(&self) -> Result<()> {
        self.pin()?;
        self.cgroup.iter().try_for_each(|group| {
            enter(group)
                .with_context(|| format!("cannot save in control group {}", group.display()))
        })
    }

    /// Keeps to the CPUs that may be used.
    fn pin(&self) -> Result<()> {
        let Some(Cpus(cpus)) = &self.cpus else { return Ok(()) };
        let pin = || {
            let mut set = CpuSet::new();
            cpus.iter().try_for_each(|&cpu| set.set(cpu))?;
            sched_setaffinity(Pid::from_raw(0), &set)
        };
        pin().context("cannot use the CPUs of --cpus: none of them is there for this process")
    }
}

/// Has this process live in a control group of either version.
fn enter(group: &Path) -> Result<()> {
    match fs::create_dir(group) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
        _ => {}
    }
    let members = group.join("cgroup.procs");
    if !members.exists() {
        // Not one of ours to keep, where it was made just now.
        let _ = fs::remove_dir(group);
        anyhow::bail!("it is no directory of a control group hierarchy");
    }
    Ok(fs::write(members, std::process::id().to_string())?)
}

/// Numbers and ranges of them.
fn cpus(text: &str) -> Result<Cpus, String> {
    let wrong = || format!("{text:?} is no list of CPUs below {}, as 2,4-7", CpuSet::count());
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.parse::<usize>(), last.parse::<usize>()) {
            (Ok(first), Ok(last)) if first <= last && last < CpuSet::count() => {
                cpus.extend(first..=last);
            }
            _ => return Err(wrong()),
        }
    }
    Ok(Cpus(cpus))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_elsewhere_is_no_control_group() {
        let folder = tempfile::tempdir().unwrap();
        let group = folder.path().join("group");
        assert!(enter(&group).unwrap_err().to_string().contains("no directory of a control"));
        assert!(!group.exists());
        assert!(enter(&group.join("below")).is_err());
    }

    #[test]
    fn cpus_are_numbers_and_ranges() {
        for (text, numbers) in [("0", &[0][..]), ("2,4-7", &[2, 4, 5, 6, 7]), ("3-3", &[3])] {
            assert_eq!(cpus(text), Ok(Cpus(numbers.to_vec())), "{text}");
        }
        for text in ["", ",", "1-", "-1", "4-2", "x", "1,,2", "99999999", "0-99999999999"] {
            assert!(cpus(text).is_err(), "{text:?}");
        }
    }
}
