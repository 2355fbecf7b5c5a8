//! Images into the destination guest, and `criu restore` there.
//!
//! The guest needs its agent, CRIU and the tools of a small Linux; no network.
//! The agent starts a script in it, which is talked to through a serial port
//! that is plugged for the purpose (`session.rs`):
//!
//! 1. Can the guest take the images: tools, free PIDs, files, memory, disk
//!    space, CPU? All problems are reported together, and nothing has been
//!    changed (`preflight.rs`).
//! 2. The images go in (`transfer.rs`).
//! 3. `criu restore` runs, the process is seen to live, and the images are
//!    removed (`launch.rs`).
//!
//! After a failure the guest is as it was before.

mod error;
mod images;
mod launch;
mod port;
mod preflight;
mod session;
mod transfer;

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use serde_with::{DurationSecondsWithFrac, serde_as};

pub use error::RestoreError;

use crate::domain::Domain;
use images::ImageSet;
use session::Session;

/// How far a restore is, for a progress display.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The guest is being looked at.
    Preflight,
    /// So many bytes have been sent, of so many.
    Transfer {
        /// Sent so far.
        bytes: u64,
        /// In all.
        total: u64,
    },
    /// CRIU is at work.
    Restore,
}

/// A process that continues in the guest.
#[serde_as]
#[derive(Debug, Clone, Serialize)]
pub struct Restored {
    /// The VM.
    pub domain: String,
    /// PID of the tree's root in the guest.
    pub pid: u32,
    /// How many processes of the tree are there, zombies included.
    pub processes: usize,
    /// The guest's CRIU version.
    pub criu: String,
    /// Size of the images in bytes.
    pub bytes: u64,
    /// Where the images are in the guest, if they were to be kept.
    pub kept_images: Option<String>,
    /// Looking at images and guest, in seconds.
    #[serde_as(as = "DurationSecondsWithFrac<f64>")]
    pub preflight: Duration,
    /// Sending the images, in seconds.
    #[serde_as(as = "DurationSecondsWithFrac<f64>")]
    pub transfer: Duration,
    /// CRIU and the look at its result, in seconds.
    #[serde_as(as = "DurationSecondsWithFrac<f64>")]
    pub restore: Duration,
}

/// Restores the images in `images_dir` in the guest of `domain`.
///
/// # Errors
///
/// [`RestoreError`] says what is in the way, and whether the guest is as it was.
pub fn restore(
    domain: &Domain,
    images_dir: &Path,
    keep_images: bool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Restored, RestoreError> {
    let start = Instant::now();
    progress(Progress::Preflight);
    let images = ImageSet::read(images_dir)?;
    domain.claim()?;
    domain.require_running()?;
    let agent = domain.agent()?;
    let session = Session::start(domain, &agent)?;
    let place = preflight::preflight(&session, &images)?;
    let preflight = start.elapsed();

    let start = Instant::now();
    let dir = guest_directory(place.dir, images.root);
    let total = transfer::archive_size(&images.images);
    let mut sent = |bytes| progress(Progress::Transfer { bytes, total });
    transfer::transfer(&session, &images, &dir, &mut sent)?;
    let transfer = start.elapsed();

    let start = Instant::now();
    progress(Progress::Restore);
    let processes = launch::launch(&session, &images, keep_images)?;
    let restore = start.elapsed();
    Ok(Restored {
        domain: domain.name().to_owned(),
        pid: images.root,
        processes,
        criu: place.criu,
        bytes: images.bytes(),
        kept_images: keep_images.then_some(dir),
        preflight,
        transfer,
        restore,
    })
}

/// A directory of our own: the time makes its name a new one.
fn guest_directory(parent: &str, pid: u32) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{parent}/ovmigrate-{pid}-{:x}", now.as_nanos())
}
