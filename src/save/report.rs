//! What a save did and how long it took.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_with::{DurationSecondsWithFrac, serde_as};

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
    /// Bytes of their pages.
    pub page_bytes: u64,
    /// How guest memory was reached.
    pub memory: Access,
    /// What was written, and how.
    pub sink: SinkReport,
    /// How long the VM stood still.
    pub vm_paused: Pauses,
    /// What took how long.
    pub durations: SaveDurations,
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
