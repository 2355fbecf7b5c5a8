//! What an open file is.

use crate::kernel::KernelError;
use crate::linux::{File, Pid, Struct};
use crate::memory::GuestVirt;
use crate::snapshot::KernelString;

use super::O_PATH;
use super::stat::{S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFMT, S_IFREG, S_IFSOCK};

/// Kinds of open file that have no path to open them by again, by the symbol
/// of their operations.
const NAMED_KINDS: &[(&str, &str)] = &[
    ("io_uring_fops", "an io_uring"),
    ("userfaultfd_fops", "a userfaultfd"),
    ("perf_fops", "a perf event"),
    ("bpf_map_fops", "a BPF map"),
    ("bpf_prog_fops", "a BPF program"),
    ("bpf_link_fops", "a BPF link"),
    ("ns_file_operations", "a namespace"),
    ("seccomp_notify_ops", "a seccomp listener"),
    ("mqueue_file_operations", "a POSIX message queue"),
    ("shm_file_operations", "a segment of SysV shared memory"),
    ("shm_file_operations_huge", "a segment of SysV shared memory"),
    ("secretmem_fops", "secret memory"),
    ("dma_buf_fops", "a DMA buffer"),
];

/// Descriptors that tell of events, by the symbol of their operations.
const EVENT_KINDS: &[(&str, EventKind)] = &[
    ("eventfd_fops", EventKind::Eventfd),
    ("signalfd_fops", EventKind::Signalfd),
    ("timerfd_fops", EventKind::Timerfd),
    ("eventpoll_fops", EventKind::Epoll),
    ("inotify_fops", EventKind::Inotify),
    ("fanotify_fops", EventKind::Fanotify),
];

/// Character devices without state: opening them again is all there is to do.
const PLAIN_DEVICES: &[&str] =
    &["null_fops", "zero_fops", "full_fops", "random_fops", "urandom_fops"];

/// What a descriptor that tells of events is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum EventKind {
    Eventfd,
    Signalfd,
    Timerfd,
    Epoll,
    Inotify,
    Fanotify,
}
/// Operations of terminals.
const TERMINALS: &[&str] = &["tty_fops", "ptmx_fops", "console_fops", "hung_up_tty_fops"];

/// What an open file is, and so how it is saved.
pub(super) enum Kind<'k> {
    /// It is opened again by its path.
    Path,
    /// An end of a pipe or FIFO.
    Pipe,
    /// Memory without a path.
    Memory,
    /// A terminal.
    Terminal,
    /// A descriptor of a process (`pidfd_open()`).
    Pidfd(Pid<'k>),
    /// A socket.
    Socket,
    /// A descriptor that tells of events.
    Event(EventKind),
    /// Something else, in words: `a BPF map`.
    Unsupported(String),
}

impl<'k> Kind<'k> {
    /// `unlinked` are the file systems of memory without a path.
    pub(super) fn of(file: &File<'k>, unlinked: &[GuestVirt]) -> Result<Self, KernelError> {
        // Nothing can be done with it but to find it.
        if file.flags()? & O_PATH != 0 {
            return Ok(Self::Path);
        }
        let op = Some(file.op()?);
        let kernel = file.kernel();
        if let Some((_, kind)) = NAMED_KINDS.iter().find(|(name, _)| kernel.symbol(name) == op) {
            return Ok(Self::Unsupported((*kind).to_owned()));
        }
        if let Some((_, kind)) = EVENT_KINDS.iter().find(|(name, _)| kernel.symbol(name) == op) {
            return Ok(Self::Event(*kind));
        }
        if TERMINALS.iter().any(|name| kernel.symbol(name) == op) {
            return Ok(Self::Terminal);
        }
        let Some(inode) = file.inode()? else {
            return Ok(Self::Unsupported("a file without inode".into()));
        };
        if inode.sb()?.is_some_and(|file_system| unlinked.contains(&file_system.addr())) {
            return Ok(Self::Memory);
        }
        if let Some(pid) = file.pidfd()? {
            return Ok(Self::Pidfd(pid));
        }
        Ok(Self::Unsupported(match inode.mode()? & S_IFMT {
            S_IFIFO => return Ok(Self::Pipe),
            S_IFREG | S_IFDIR => return Ok(Self::Path),
            S_IFCHR if PLAIN_DEVICES.iter().any(|name| kernel.symbol(name) == op) => {
                return Ok(Self::Path);
            }
            S_IFSOCK => return Ok(Self::Socket),
            S_IFCHR => {
                let rdev = inode.rdev()?;
                format!("the character device {}:{}", rdev >> 20, rdev & 0xf_ffff)
            }
            S_IFBLK => "a block device".into(),
            // An anonymous inode has no type; its name says what it is.
            _ => {
                let name =
                    file.path()?.dentry()?.map_or(Ok(Vec::new()), |dentry| dentry.name_bytes())?;
                format!("an anonymous file {}", KernelString::from(name))
            }
        }))
    }
}
