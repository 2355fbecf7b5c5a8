//! Images into the destination guest, and `criu restore` there.
//!
//! The guest needs its agent, CRIU and the tools of a small Linux; no network.
//! The agent starts a script in it, which is talked to through a serial port
//! that is plugged for the purpose (`session.rs`):
//!
//! 1. Can the guest take the images: tools, free PIDs, files, memory, disk
//!    space, CPU? All problems are reported together, and nothing has been
//!    changed (`preflight.rs`).
//! 2. The images go in (`transfer.rs`): large ones on a disk that is plugged for
//!    the purpose, too (`disk/`), or else through the port.
//! 3. `criu restore` runs, the process is seen to live, and the images are
//!    removed (`launch.rs`). Controlling terminals that CRIU does not give are
//!    given from outside before anything runs.
//!
//! After a failure the guest is as it was before.

mod cgroups;
mod cpu;
mod disk;
mod error;
mod images;
mod launch;
mod port;
mod preflight;
mod session;
mod terminal;
mod transfer;
mod way;

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use serde_with::{DurationSecondsWithFrac, serde_as};

pub use cgroups::ManageCgroups;
pub use cpu::CpuCap;
pub use error::RestoreError;
pub use terminal::{NoTerminalPath, TerminalPath};
pub use way::{Via, Way};

use crate::attach;
use crate::domain::Domain;
use disk::Disk;
use images::ImageSet;
use preflight::{Guest, Place};
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

/// How to restore.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// Which way images take into the guest.
    pub via: Via,
    /// Leave them there, with CRIU's log.
    pub keep_images: bool,
    /// The terminal that a shell's job goes on on.
    pub tty: Option<&'a TerminalPath>,
    /// What is done with cgroups.
    pub cgroups: ManageCgroups,
    /// What of the guest's CPU must be as in the source.
    pub cpu: CpuCap,
    /// Set when all is to end. From when CRIU is at work on it is too late.
    pub interrupted: &'a AtomicBool,
}

/// A process that continues in the guest.
#[serde_as]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Restored {
    /// The VM.
    pub domain: String,
    /// PID of the tree's root in the guest.
    pub pid: u32,
    /// How many processes of the tree are there, zombies included.
    pub processes: usize,
    /// The guest's CRIU version.
    pub criu: String,
    /// What is set otherwise for cgroups that were there.
    pub other_cgroups: Vec<String>,
    /// Which way the images took.
    pub way: Way,
    /// Why they did not take a faster one that was tried.
    pub no_disk: Option<String>,
    /// Size of the images in bytes.
    pub bytes: u64,
    /// Bytes of images a second, from when they were under way until all of
    /// them was in the process.
    pub rate: f64,
    /// Where the images are in the guest, if they were to be kept.
    pub kept_images: Option<String>,
    /// Looking at images and guest, in seconds.
    #[serde_as(as = "DurationSecondsWithFrac<f64>")]
    pub preflight: Duration,
    /// Sending the images or having them mounted, in seconds.
    #[serde_as(as = "DurationSecondsWithFrac<f64>")]
    pub transfer: Duration,
    /// CRIU and the look at its result, in seconds. CRIU reads from a disk
    /// meanwhile.
    #[serde_as(as = "DurationSecondsWithFrac<f64>")]
    pub restore: Duration,
    /// Unplugging what was plugged, in seconds.
    #[serde_as(as = "DurationSecondsWithFrac<f64>")]
    pub end: Duration,
}

/// Restores the images in `images_dir` in the guest of `domain`.
///
/// # Errors
///
/// [`RestoreError`] says what is in the way, and whether the guest is as it was.
pub fn restore(
    domain: &Domain,
    images_dir: &Path,
    options: Options<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Restored, RestoreError> {
    let start = Instant::now();
    progress(Progress::Preflight);
    let images = ImageSet::read(images_dir)?.with(options);
    domain.claim()?;
    domain.require_running()?;
    let kernel = match images.in_terminal_sessions.is_empty() {
        true => None,
        false => Some(attach::kernel_of(domain).map_err(|e| RestoreError::Kernel(Box::new(e)))?),
    };
    let agent = domain.agent()?;
    let session = Session::start(domain, &agent, options.interrupted)?;
    // The guest finds the disk while it is looked at.
    let mut plugged = Plugged { session, disk: options.disk(domain, &images)? };
    let guest = preflight::preflight(&plugged.session, &images, options.tty)?;
    let place = guest.take(&images, plugged.way())?;
    let preflight = start.elapsed();

    let start = Instant::now();
    let dir = plugged.bring(&images, &guest, &place, options, progress)?;
    let transfer = start.elapsed();

    let start = Instant::now();
    progress(Progress::Restore);
    let processes = launch::launch(&plugged.session, &images, kernel.as_ref(), options)?;
    let restore = start.elapsed();

    let start = Instant::now();
    let (way, no_disk) = plugged.unplug();
    Ok(Restored {
        domain: domain.name().to_owned(),
        pid: images.root,
        processes,
        criu: place.criu,
        other_cgroups: guest.other_cgroups(&images, options.cgroups),
        way,
        no_disk,
        bytes: images.bytes(),
        rate: images.bytes() as f64 / (transfer + restore).as_secs_f64(),
        kept_images: options.keep_images.then_some(dir),
        preflight,
        transfer,
        restore,
        end: start.elapsed(),
    })
}

impl Options<'_> {
    /// A disk with the images, where they are to take that way; or why they
    /// cannot, where that was tried.
    fn disk<'a>(
        &self,
        domain: &'a Domain,
        images: &ImageSet,
    ) -> Result<Result<Disk<'a>, Option<String>>, RestoreError> {
        if !self.via.wants_disk(images, self.keep_images) {
            return Ok(Err(None));
        }
        let is_packed = images.images.iter().any(|image| image.compression.is_some());
        let disk = if self.keep_images {
            Err("images that are to stay are copied".to_owned())
        } else if is_packed {
            Err("images that are compressed are unpacked on their way".to_owned())
        } else {
            Disk::plug(domain, images)
        };
        disk.map_or_else(|reason| self.without_disk(domain, reason).map(Err), |disk| Ok(Ok(disk)))
    }

    /// What is made of the reason why there is no disk.
    fn without_disk(
        &self,
        domain: &Domain,
        reason: String,
    ) -> Result<Option<String>, RestoreError> {
        if self.via == Via::Disk {
            return Err(RestoreError::NoDisk { domain: domain.name().to_owned(), reason });
        }
        tracing::info!("no disk: {reason}");
        Ok(Some(reason))
    }
}

/// What is plugged for a restore.
struct Plugged<'a> {
    /// Dropped first: the script lets go of the disk when its port is gone.
    session: Session<'a>,
    /// Or why there is none.
    disk: Result<Disk<'a>, Option<String>>,
}

impl Plugged<'_> {
    fn way(&self) -> Way {
        if self.disk.is_ok() { Way::Disk } else { Way::Port }
    }

    /// Has the images come into the guest. Returns where they, or CRIU's log,
    /// are there.
    fn bring(
        &mut self,
        images: &ImageSet,
        guest: &Guest,
        place: &Place,
        options: Options<'_>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<String, RestoreError> {
        let mut dir = guest_directory(place.dir, images.root);
        if let Ok(disk) = &self.disk {
            match transfer::mount(&self.session, images, disk, &dir)? {
                Ok(()) => return Ok(dir),
                Err(reason) => {
                    let reason = options.without_disk(self.session.domain(), reason)?;
                    self.disk = Err(reason);
                    // Copies need more room.
                    dir = guest_directory(guest.take(images, Way::Port)?.dir, images.root);
                }
            }
        }
        let total = transfer::archive_size(&images.images);
        let mut sent = |bytes| progress(Progress::Transfer { bytes, total });
        transfer::transfer(&self.session, images, &dir, &mut sent)?;
        Ok(dir)
    }

    /// Unplugs all.
    fn unplug(self) -> (Way, Option<String>) {
        let way = self.way();
        let Self { session, disk } = self;
        if let Ok(disk) = &disk {
            disk.let_go();
        }
        drop(session);
        (way, disk.err().flatten())
    }
}

/// A directory of our own: the time makes its name a new one.
fn guest_directory(parent: &str, pid: u32) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{parent}/ovmigrate-{pid}-{:x}", now.as_nanos())
}
