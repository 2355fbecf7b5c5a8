//! What a save may take of the host.

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::thread::available_parallelism;

use crate::domain::{Domain, DomainError};

use super::copy::PIECE;
use crate::pack::Compression;

/// What writing pages may take of the host.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// How many threads write at a time; `None` for as many as the VM leaves CPUs,
    /// 2 to 4 of them.
    pub jobs: Option<NonZeroUsize>,
    /// Bytes of pages that may be in this process's own memory at a time, but for
    /// the pages of one thread.
    pub memory: u64,
    /// Bytes of pages that may go out in a second; `None` for no limit.
    pub rate: Option<u64>,
    /// How far the threads that write step back behind others (`nice(2)`), and so
    /// for disks: 0 to 19.
    pub nice: u8,
    /// How pages are compressed, if they are.
    pub compression: Option<Compression>,
}

impl Default for Effort {
    fn default() -> Self {
        Self { jobs: None, memory: 64 << 20, rate: None, nice: 0, compression: None }
    }
}

impl Effort {
    /// How many threads write so many bytes.
    pub(super) fn workers(self, domain: &Domain, bytes: u64) -> Result<NonZeroUsize, DomainError> {
        if bytes <= PIECE {
            return Ok(NonZeroUsize::MIN);
        }
        /// One that looks for zeros while another writes, and no more than keep
        /// a disk busy.
        const USUAL: RangeInclusive<usize> = 2..=4;
        let jobs = match self.jobs {
            Some(jobs) => jobs,
            None => {
                let cpus = available_parallelism().unwrap_or(NonZeroUsize::MIN);
                let free = cpus.get().saturating_sub(domain.vcpus()?.len());
                let usual = free.clamp(*USUAL.start(), *USUAL.end());
                NonZeroUsize::new(usual).unwrap_or(NonZeroUsize::MIN)
            }
        };
        // One that compresses has a piece twice.
        let each = if self.compression.is_some() { 2 * PIECE } else { PIECE };
        let buffers = usize::try_from(self.memory / each).unwrap_or(usize::MAX);
        let most = NonZeroUsize::new(buffers).unwrap_or(NonZeroUsize::MIN);
        Ok(jobs.min(most))
    }
}
