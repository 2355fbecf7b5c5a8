//! What an open file is.

use crate::kernel::KernelError;
use crate::linux::{File, Struct};
use crate::snapshot::KernelString;

use super::stat::{S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFMT, S_IFREG, S_IFSOCK};

/// Kinds of open file that have no path to open them by again, by the symbol
/// of their operations.
const NAMED_KINDS: &[(&str, &str)] = &[
    ("eventpoll_fops", "an epoll instance"),
    ("eventfd_fops", "an eventfd"),
    ("signalfd_fops", "a signalfd"),
    ("timerfd_fops", "a timerfd"),
    ("inotify_fops", "an inotify instance"),
    ("fanotify_fops", "a fanotify group"),
    ("io_uring_fops", "an io_uring"),
    ("userfaultfd_fops", "a userfaultfd"),
    ("perf_fops", "a perf event"),
    ("bpf_map_fops", "a BPF map"),
    ("bpf_prog_fops", "a BPF program"),
    ("bpf_link_fops", "a BPF link"),
    ("ns_file_operations", "a namespace"),
    ("pidfd_fops", "a pidfd"),
    ("pidfs_file_operations", "a pidfd"),
    ("seccomp_notify_ops", "a seccomp listener"),
    ("mqueue_file_operations", "a POSIX message queue"),
    ("tty_fops", "a terminal"),
    ("console_fops", "a terminal"),
    ("hung_up_tty_fops", "a terminal that was hung up"),
    ("ptmx_fops", "a pseudoterminal master"),
    ("secretmem_fops", "secret memory"),
    ("dma_buf_fops", "a DMA buffer"),
];

/// Character devices without state: opening them again is all there is to do.
const PLAIN_DEVICES: &[&str] =
    &["null_fops", "zero_fops", "full_fops", "random_fops", "urandom_fops"];

/// What an open file is that has no path, in words; `None` for one that has.
pub(super) fn without_path(file: &File<'_>) -> Result<Option<String>, KernelError> {
    let op = Some(file.op()?);
    let kernel = file.kernel();
    if let Some((_, kind)) = NAMED_KINDS.iter().find(|(name, _)| kernel.symbol(name) == op) {
        return Ok(Some((*kind).to_owned()));
    }
    let Some(inode) = file.inode()? else { return Ok(Some("a file without inode".into())) };
    Ok(match inode.mode()? & S_IFMT {
        S_IFSOCK => Some("a socket".into()),
        S_IFIFO => Some("a pipe".into()),
        S_IFREG | S_IFDIR => None,
        S_IFCHR if PLAIN_DEVICES.iter().any(|name| kernel.symbol(name) == op) => None,
        S_IFCHR => {
            let rdev = inode.rdev()?;
            Some(format!("the character device {}:{}", rdev >> 20, rdev & 0xf_ffff))
        }
        S_IFBLK => Some("a block device".into()),
        // An anonymous inode has no type; its name says what it is.
        _ => {
            let name =
                file.path()?.dentry()?.map_or(Ok(Vec::new()), |dentry| dentry.name_bytes())?;
            Some(format!("an anonymous file {}", KernelString::from(name)))
        }
    })
}
