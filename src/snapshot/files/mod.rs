//! Files: by path, as opened, and the descriptors that refer to them.

mod event;
mod ghost;
mod in_flight;
mod lock;
mod memory;
mod pipe;
mod socket;
mod tty;

use serde::{Deserialize, Serialize};

use super::{Id, KernelString, SigSet};

pub use event::{EpollTarget, FanotifyGroup, FanotifyMark, InotifyWatch, Timerfd};
pub use ghost::{Chunk, FileTime, GhostFile, NamedFile, taken_directories};
pub use in_flight::{Flight, FlightFiles, FlightProblem};
pub use lock::{FileLock, LockKind};
pub use memory::SharedMemory;
pub use pipe::Pipe;
pub use socket::{
    FilterInstruction, InetSocket, NetlinkSocket, Packet, PacketMembership, PacketSocket,
    RawOptions, Socket, SocketFamily, SocketKind, SocketOptions, SocketState, SocketTime,
    TcpOptions, UnixName, UnixSocket,
};
pub use tty::{CONTROL_CHARACTERS, Terminal, TerminalKind, TerminalSettings, Termios, WindowSize};

/// A file that is found by its path: `struct path` with what its inode says.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct FilePath {
    /// Absolute path from the process's root.
    pub path: KernelString,
    /// `i_mode`: type and permissions.
    pub mode: u32,
    /// Size in bytes (`i_size`).
    pub size: u64,
    /// Device, as `stat()` gives it.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// What it is, where nothing is found by the path any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ghost: Option<Id<GhostFile>>,
}

impl FilePath {
    /// Whether it is a regular file, the kind whose size means something.
    pub fn is_regular(&self) -> bool {
        const S_IFMT: u32 = 0o170_000;
        const S_IFREG: u32 = 0o100_000;
        self.mode & S_IFMT == S_IFREG
    }
}

/// An open file description: `struct file`, which `dup()` and `fork()` share.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OpenFile {
    /// `O_*` as `fcntl(F_GETFL)` gives them.
    pub flags: u32,
    /// Who gets SIGIO (`F_SETOWN`).
    pub owner: FileOwner,
    /// What was opened.
    pub kind: OpenFileKind,
}

/// What an open file is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OpenFileKind {
    /// A regular file, directory or device that is opened again by its path.
    Path {
        /// The file.
        path: Id<FilePath>,
        /// Offset of the next read or write in bytes (`f_pos`).
        pos: u64,
    },
    /// Memory that is shared.
    Memory {
        /// The memory.
        memory: Id<SharedMemory>,
        /// Offset of the next read or write in bytes (`f_pos`).
        pos: u64,
    },
    /// An end of a pipe.
    Pipe {
        /// The pipe.
        pipe: Id<Pipe>,
    },
    /// An end of a FIFO, which is opened again by its path.
    Fifo {
        /// What its ends share.
        pipe: Id<Pipe>,
        /// Where it lies.
        path: Id<FilePath>,
    },
    /// A terminal, or an end of a pseudoterminal.
    Terminal {
        /// The terminal.
        terminal: Id<Terminal>,
        /// Where it lies.
        path: Id<FilePath>,
    },
    /// A descriptor of a process (`pidfd_open()`).
    Pidfd {
        /// The process; `None` for one that ended and was reaped.
        process: Option<u32>,
        /// Inode number. Since Linux 6.9 the same for all descriptors of a
        /// process and for no others.
        ino: u64,
    },
    /// A socket. It has no other open file.
    Socket {
        /// The socket.
        socket: Id<Socket>,
    },
    /// A counter (`eventfd()`).
    Eventfd {
        /// What it has counted.
        count: u64,
    },
    /// A descriptor that takes signals (`signalfd()`).
    Signalfd {
        /// The signals.
        mask: SigSet,
    },
    /// A timer (`timerfd_create()`).
    Timerfd {
        /// The timer.
        timer: Timerfd,
    },
    /// An instance of epoll.
    Epoll {
        /// What it watches.
        targets: Vec<EpollTarget>,
    },
    /// An instance of inotify.
    Inotify {
        /// What it watches, as the kernel lists it: newest first.
        watches: Vec<InotifyWatch>,
    },
    /// A group of fanotify.
    Fanotify {
        /// How it was made.
        group: FanotifyGroup,
        /// What it watches.
        marks: Vec<FanotifyMark>,
    },
}

/// Who is told of I/O by a signal: `struct fown_struct`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FileOwner {
    /// UID of the caller of `F_SETOWN`.
    pub uid: u32,
    /// Its effective UID.
    pub euid: u32,
    /// Signal of `F_SETSIG`; 0 for SIGIO.
    pub signum: u32,
    /// `enum pid_type` of `pid`: a thread (0), process (1) or group (2).
    pub pid_type: u32,
    /// Whom to tell; 0 for nobody.
    pub pid: u32,
}

/// A table of file descriptors: `struct files_struct`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FdTable {
    /// Open descriptors, ascending by number.
    pub descriptors: Vec<Descriptor>,
}

/// A file descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Descriptor {
    /// Its number.
    pub fd: u32,
    /// `FD_CLOEXEC`.
    pub cloexec: bool,
    /// The open file it refers to.
    pub file: Id<OpenFile>,
}

/// A process's view of the file system: `struct fs_struct`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FsContext {
    /// Working directory.
    pub cwd: Id<FilePath>,
    /// Root directory.
    pub root: Id<FilePath>,
    /// File mode creation mask.
    pub umask: u32,
}
