//! Why a process could not be read.

use crate::control::ControlError;
use crate::kernel::KernelError;
use crate::memory::MemoryError;

use super::obstacle::Obstacle;
use super::xsave::XsaveError;

/// Why a process could not be captured.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The guest kernel could not be read.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The processes could not be found.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The process's memory could not be read.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The process has state that cannot be saved.
    #[error("{}", first_of(.0))]
    Obstacles(Vec<Obstacle>),
    /// A thread's extended registers could not be read.
    #[error("thread {tid}: {source}")]
    ExtendedState {
        /// The thread.
        tid: i32,
        /// Why.
        source: XsaveError,
    },
    /// The process lacks something that every process has.
    #[error("process {pid} has no {what}: it is ending")]
    Missing {
        /// The process.
        pid: i32,
        /// What it lacks.
        what: &'static str,
    },
    /// A POSIX timer became one that cannot be saved.
    #[error("process {pid}: a POSIX timer {what}, which save does not support yet")]
    Timer {
        /// The process.
        pid: i32,
        /// What is wrong with it.
        what: String,
    },
    /// The page tables name more private pages than the guest can hold.
    #[error(
        "process {pid}: its page tables name more than twice the guest's RAM of {ram} bytes: \
         they are corrupt"
    )]
    TooManyPages {
        /// The process.
        pid: i32,
        /// The guest's RAM in bytes.
        ram: u64,
    },
    /// Files hold more than the guest can.
    #[error(
        "descriptors, pipes, files or shared memory hold more than the guest's RAM of {ram} bytes: \
         they are corrupt"
    )]
    TooMuchContent {
        /// The guest's RAM in bytes.
        ram: u64,
    },
    /// Pages of shared memory are not in memory.
    #[error("shared memory (inode {ino}) is swapped out in part, which save does not support yet")]
    SwappedMemory {
        /// Its inode number, as `/proc/PID/maps` shows it.
        ino: u64,
    },
    /// Pages are not in memory.
    #[error("process {pid}: the page at {addr:#x} is {what}, which save does not support yet")]
    Page {
        /// The process.
        pid: i32,
        /// Its address.
        addr: u64,
        /// Where it is instead.
        what: &'static str,
    },
    /// The guest's kernel moves a page about and does not get to finish it.
    #[error(
        "process {pid}: the guest is moving its page at {addr:#x} in memory and does not get to \
         finish it; try again, or with a longer --timeout"
    )]
    MovingPage {
        /// The process.
        pid: i32,
        /// Its address.
        addr: u64,
    },
    /// The same of shared memory.
    #[error(
        "the guest is moving shared memory (inode {ino}) and does not get to finish it; try \
         again, or with a longer --timeout"
    )]
    MovingMemory {
        /// Its inode number, as `/proc/PID/maps` shows it.
        ino: u64,
    },
    /// Requests of asynchronous I/O were made and have not ended.
    #[error(
        "process {pid}: the guest is at requests of its asynchronous I/O (io_submit) and does not \
         get to finish them; try again, or with a longer --timeout"
    )]
    BusyIo {
        /// The process.
        pid: i32,
    },
    /// What was written to a terminal is on its way.
    #[error(
        "the guest is passing on what was written to a terminal and does not get to finish it; \
         try again, or with a longer --timeout"
    )]
    BusyTerminal,
    /// Page tables lack pages that the kernel counts, or have more.
    #[error(
        "process {pid}: the guest is moving pages of it in memory and does not get to finish it \
         ({found} are in its page tables, the kernel counts {counted}); try again, or with a \
         longer --timeout"
    )]
    UncountedPages {
        /// The process.
        pid: i32,
        /// How many pages were found.
        found: u64,
        /// How many it has.
        counted: i64,
    },
}

impl CaptureError {
    /// Whether it is over once the guest has done what it is doing.
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::MovingPage { .. }
                | Self::MovingMemory { .. }
                | Self::UncountedPages { .. }
                | Self::BusyTerminal
                | Self::BusyIo { .. }
                | Self::Kernel(KernelError::Moving)
        )
    }
}

fn first_of(obstacles: &[Obstacle]) -> String {
    match obstacles {
        [] => "an obstacle that has gone".into(),
        [only] => only.to_string(),
        [first, others @ ..] => {
            format!("{first}, and {} more (see `ovmigrate check`)", others.len())
        }
    }
}
