//! What a save did and how long it took.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_with::{DurationSecondsWithFrac, serde_as};

use crate::capture::Remark;
use crate::criu::PagesOwner;
use crate::domain::Pauses;
use crate::memory::Access;
use crate::sink::SinkReport;

/// What a save did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SaveReport {
    /// The process at the root.
    pub pid: i32,
    /// Its name.
    pub comm: String,
    /// How many processes there were with it, zombies and itself included.
    pub processes: usize,
    /// How many threads they had.
    pub threads: usize,
    /// Bytes of their pages that went out.
    pub page_bytes: u64,
    /// What kind they were of, and what became of the others.
    pub pages: PagesReport,
    /// Bytes of pages that went out in a second, from finding them to durable
    /// images; `None` where there were none.
    pub page_rate: Option<f64>,
    /// What they had and is not kept.
    pub not_kept: Vec<Remark>,
    /// How guest memory was reached.
    pub memory: Access,
    /// What was written, and how.
    pub sink: SinkReport,
    /// How long the VM stood still.
    pub vm_paused: Pauses,
    /// What took how long.
    pub durations: SaveDurations,
}

/// The pages of a save, in bytes where nothing else is said.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PagesReport {
    /// Those of processes: anonymous memory and their own copies of file pages.
    pub private: u64,
    /// Those of shared memory.
    pub shared: u64,
    /// Those left out, as they hold nothing but zeros.
    pub zero: u64,
    /// How many pages the guest moved meanwhile; those that had gone out were
    /// written again.
    pub moved: u64,
    /// How often all pages of a process or of shared memory were written again,
    /// for the same reason.
    pub again: u64,
}

impl PagesReport {
    /// Those that went out.
    pub fn written(&self) -> u64 {
        self.private + self.shared
    }

    pub(super) fn add(&mut self, written: u64, owner: PagesOwner) {
        match owner {
            PagesOwner::Mm(_) => self.private += written,
            PagesOwner::Memory(_) => self.shared += written,
        }
    }
}

/// What a save spent its time on, in seconds when serialised.
#[serde_as]
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct SaveDurations {
    /// Looking for obstacles, the process running.
    #[serde_as(as = "DurationSecondsWithFrac<f64>")]
    pub survey: Duration,
    /// Reading all but the pages.
    #[serde_as(as = "DurationSecondsWithFrac<f64>")]
    pub capture: Duration,
    /// Finding and writing the pages.
    #[serde_as(as = "DurationSecondsWithFrac<f64>")]
    pub pages: Duration,
    /// Writing the other images, waiting until all are durable, checking them.
    #[serde_as(as = "DurationSecondsWithFrac<f64>")]
    pub sync: Duration,
    /// Killing the process or letting it go.
    #[serde_as(as = "DurationSecondsWithFrac<f64>")]
    pub end: Duration,
    /// From frozen to killed or gone on.
    #[serde_as(as = "DurationSecondsWithFrac<f64>")]
    pub frozen: Duration,
}
