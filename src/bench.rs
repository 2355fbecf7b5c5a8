//! Measurements that a user can repeat: what a save reaches of what the host's
//! storage gives.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use memmap2::MmapMut;
use nix::libc::O_DIRECT;
use serde::Serialize;

use crate::attach::Attachment;
use crate::capture::Limits;
use crate::save::{Afterwards, Freeze, SaveError, SaveOptions, SaveReport, save};
use crate::sink::DirectorySink;

/// Bytes of one plain write.
const BLOCK: usize = 32 << 20;

/// Why a measurement failed.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The save failed.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// The plain write failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A save beside a plain write of the same bytes to the same place.
#[derive(Clone, Debug, Serialize)]
pub struct Limit {
    /// Bytes of pages.
    pub bytes: u64,
    /// Seconds from the first page to durable images.
    pub save_seconds: f64,
    /// Seconds of writing the same bytes and waiting until they are durable.
    pub write_seconds: f64,
    /// The save.
    pub save: SaveReport,
}

impl Limit {
    /// Rate of the save in bytes per second.
    pub fn save_rate(&self) -> f64 {
        self.bytes as f64 / self.save_seconds
    }

    /// Rate of the plain write in bytes per second.
    pub fn write_rate(&self) -> f64 {
        self.bytes as f64 / self.write_seconds
    }
}

/// Saves a process into a new directory below `place`, lets it go on, then
/// writes the same bytes plainly to the same place. Removes what it wrote.
///
/// # Errors
///
/// Where either fails.
pub fn limit(attachment: &Attachment, pid: i32, place: &Path) -> Result<Limit, BenchError> {
    let io = |action, path: &Path| {
        let path = path.to_owned();
        move |source| BenchError::Io { action, path, source }
    };
    let scratch = tempfile::Builder::new().prefix("ovmigrate-bench-").tempdir_in(place);
    let scratch = scratch.map_err(io("create a directory in", place))?;
    let images = scratch.path().join("images");
    let options = SaveOptions {
        freeze: Freeze::Trap,
        afterwards: Afterwards::LeaveRunning,
        timeout: Duration::from_secs(10),
        for_criu: None,
        limits: Limits::default(),
    };
    let sink = || DirectorySink::create(&images).map(|sink| Box::new(sink) as _);
    let save = save(attachment, pid, options, sink, &mut ())?;
    let pages = images.join(crate::criu::pages_file_name(1));
    let content = read_back(&pages).map_err(io("read", &pages))?;
    fs::remove_file(&pages).map_err(io("remove", &pages))?;
    let plain = scratch.path().join("plain");
    let started = Instant::now();
    write_plainly(&plain, &content).map_err(io("write", &plain))?;
    Ok(Limit {
        bytes: save.page_bytes,
        save_seconds: (save.durations.pages + save.durations.sync).as_secs_f64(),
        write_seconds: started.elapsed().as_secs_f64(),
        save,
    })
}

/// The file's content in page-aligned memory.
fn read_back(path: &Path) -> io::Result<MmapMut> {
    let mut file = File::open(path)?;
    let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut content = MmapMut::map_anon(len.max(1))?;
    file.read_exact(&mut content[..len])?;
    Ok(content)
}

/// Direct I/O where the file system has it, like the save.
fn write_plainly(path: &Path, content: &[u8]) -> io::Result<()> {
    let open = |flags| OpenOptions::new().write(true).create(true).custom_flags(flags).open(path);
    let mut file = open(O_DIRECT).or_else(|_| open(0))?;
    for block in content.chunks(BLOCK) {
        file.write_all(block)?;
    }
    file.sync_all()
}
