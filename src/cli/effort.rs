//! What a save may take of the host.

use std::num::NonZeroUsize;

use anyhow::{Context, Result};
use clap::Args;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use ovmigrate::save::Effort;

use super::save::size;

/// What a save may take of the host.
#[derive(Debug, Args)]
#[command(next_help_heading = "What it may take of the host")]
pub struct EffortArgs {
    /// How many threads write pages at a time; as many as the VM leaves CPUs, 2 to 4
    /// of them, where nothing is said.
    #[arg(long, value_name = "COUNT")]
    jobs: Option<NonZeroUsize>,
    /// How much memory pages may take on their way, where they cannot go out from
    /// where they lie. There is one thread at most for each 8 MiB.
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = size)]
    memory_limit: u64,
    /// How many bytes of pages may be written in a second.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    rate_limit: Option<u64>,
    /// How far the threads that write pages step back behind others, for CPUs and
    /// disks: from 0, not at all, to 19. What pauses the VM does not.
    #[arg(long, value_name = "LEVEL", default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=19))]
    nice: u8,
    /// The CPUs that may be used, as 2,4-7.
    #[arg(long, value_name = "LIST", value_parser = cpus)]
    cpus: Option<Cpus>,
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
        }
    }

    /// Keeps this process, which has one thread yet, on the CPUs that it may use.
    pub fn pin(&self) -> Result<()> {
        let Some(Cpus(cpus)) = &self.cpus else { return Ok(()) };
        let pin = || {
            let mut set = CpuSet::new();
            cpus.iter().try_for_each(|&cpu| set.set(cpu))?;
            sched_setaffinity(Pid::from_raw(0), &set)
        };
        pin().context("cannot use the CPUs of --cpus: none of them is there for this process")
    }
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
    fn cpus_are_numbers_and_ranges() {
        for (text, numbers) in [("0", &[0][..]), ("2,4-7", &[2, 4, 5, 6, 7]), ("3-3", &[3])] {
            assert_eq!(cpus(text), Ok(Cpus(numbers.to_vec())), "{text}");
        }
        for text in ["", ",", "1-", "-1", "4-2", "x", "1,,2", "99999999", "0-99999999999"] {
            assert!(cpus(text).is_err(), "{text:?}");
        }
    }
}
