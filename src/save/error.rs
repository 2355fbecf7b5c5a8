//! Why a process was not saved.

use std::io;

use crate::capture::CaptureError;
use crate::control::ControlError;
use crate::criu::{CheckError, CriuVersion, EncodeError, Need};
use crate::domain::DomainError;
use crate::kernel::KernelError;
use crate::memory::MemoryError;
use crate::sink::SinkError;

/// Why a process was not saved. It runs on, unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// It could not be frozen.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// It could not be read, or has state that cannot be saved.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The VM could not be paused or continued.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// The guest kernel could not be read.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The process's pages could not be read.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// What was read does not make images.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The images could not be written.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The finished images would not restore.
    #[error("the images would not restore and were removed: {0}")]
    Check(#[from] CheckError),
    /// The version of CRIU that the images are for would lose something.
    #[error(
        "CRIU {version} would lose {}; the process runs on",
        .needs.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    )]
    NotFor {
        /// The version.
        version: CriuVersion,
        /// What it would lose.
        needs: Vec<Need>,
    },
    /// There is no memory for pages on their way.
    #[error("cannot buffer pages: {0}")]
    Buffer(io::Error),
    /// The threads that write pages could not be started, or did not end well.
    #[error("the threads that write pages failed: {0}")]
    Threads(io::Error),
    /// The guest's kernel kept moving the process's pages.
    #[error(
        "process {pid}: the guest keeps moving its pages in memory; try again when it is less busy"
    )]
    PagesMove {
        /// The process.
        pid: i32,
    },
    /// Pages could not be compressed.
    #[error("pages cannot be compressed: {0}")]
    Pack(#[source] io::Error),
    /// The process ran although it was frozen.
    #[error(
        "process {pid} ran while it was to be frozen: something in the VM undid it \
         (its cgroup's freezer, or a SIGCONT with --freeze signal)"
    )]
    RanMeanwhile {
        /// The process.
        pid: i32,
    },
    /// A thread was in the vDSO each time the process was frozen.
    #[error(
        "process {pid} was frozen {tries} times and was in the vDSO each time, whose code the \
         destination may not have; try again"
    )]
    InVdso {
        /// The process.
        pid: i32,
        /// How often it was tried.
        tries: u32,
    },
    /// The user ended the save.
    #[error("interrupted; the process runs on")]
    Interrupted,
    /// The save failed, and so did letting the process go.
    #[error("{error}; process {pid} is still frozen ({thaw}): try `ovmigrate thaw --tree`")]
    StillFrozen {
        /// The process.
        pid: i32,
        /// Why the save failed.
        error: Box<SaveError>,
        /// Why it could not be let go.
        thaw: Box<ControlError>,
    },
    /// The images are complete, but the process has not ended as asked.
    #[error(
        "the images are complete, but process {pid} may live on: {source}; \
         remove the images or end the process, so that it does not live twice"
    )]
    StillAlive {
        /// The process.
        pid: i32,
        /// Why.
        source: Box<ControlError>,
    },
}
