//! Open files, the root and the working directory.

use std::collections::HashMap;

use crate::control::Target;
use crate::kernel::KernelError;
use crate::linux::{File, FileLock, Inode, ListHead, Path, Struct};
use crate::memory::GuestVirt;
use crate::snapshot::{
    Descriptor, FdTable, FileOwner, FilePath, FsContext, Id, KernelString, OpenFile, OpenFileKind,
    Table,
};

use super::Context;
use super::error::CaptureError;
use super::obstacle::Obstacles;

/// File types in `i_mode` (`include/uapi/linux/stat.h`).
const S_IFMT: u32 = 0o170_000;
const S_IFIFO: u32 = 0o010_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFBLK: u32 = 0o060_000;
const S_IFREG: u32 = 0o100_000;
const S_IFSOCK: u32 = 0o140_000;
/// `O_PATH` and `FASYNC` (`include/uapi/asm-generic/fcntl.h`).
const O_PATH: u32 = 0o10_000_000;
const FASYNC: u32 = 0o20_000;

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

/// File systems whose files stand for state of this kernel or of this process.
const KERNEL_FILE_SYSTEMS: &[&str] = &[
    "proc",
    "sysfs",
    "cgroup",
    "cgroup2",
    "debugfs",
    "tracefs",
    "securityfs",
    "configfs",
    "bpf",
    "pstore",
    "efivarfs",
    "binfmt_misc",
    "hugetlbfs",
    "nsfs",
    "autofs",
];

/// The files of a process, each kept once.
pub(super) struct Files<'k> {
    root: Path<'k>,
    opened: HashMap<GuestVirt, Id<OpenFile>>,
    files: Table<OpenFile>,
    paths: Table<FilePath>,
}

impl<'k> Files<'k> {
    pub(super) fn new(context: &Context<'k>) -> Self {
        Self {
            root: context.root,
            opened: HashMap::new(),
            files: Table::default(),
            paths: Table::default(),
        }
    }

    pub(super) fn into_tables(self) -> (Table<OpenFile>, Table<FilePath>) {
        (self.files, self.paths)
    }

    /// The open descriptors.
    pub(super) fn descriptors(
        &mut self,
        target: &Target<'k>,
        obstacles: &mut Obstacles,
    ) -> Result<FdTable, CaptureError> {
        let missing = CaptureError::Missing { pid: target.pid(), what: "file descriptors" };
        let files = target.leader().files()?.ok_or(missing)?;
        let mut table = FdTable::default();
        for open in files.open_fds()? {
            let holder = format!("fd {}", open.fd);
            let locks = holds_locks(&open.file, files.addr())?;
            obstacles.add_if(locks, format!("{holder} holds file locks"));
            if let Some(file) = self.open_file(&open.file, &holder, obstacles)? {
                table.descriptors.push(Descriptor { fd: open.fd, cloexec: open.cloexec, file });
            }
        }
        Ok(table)
    }

    /// The working directory, the root and the umask.
    pub(super) fn context(
        &mut self,
        target: &Target<'k>,
        obstacles: &mut Obstacles,
    ) -> Result<FsContext, CaptureError> {
        let missing = CaptureError::Missing { pid: target.pid(), what: "working directory" };
        let fs = target.leader().fs()?.ok_or(missing)?;
        let mut directory = |path: Path<'k>, holder| -> Result<_, CaptureError> {
            let none = Id::new(0);
            Ok(self.path(&path, holder, obstacles)?.unwrap_or(none))
        };
        Ok(FsContext {
            cwd: directory(fs.pwd()?, "its working directory")?,
            root: directory(fs.root()?, "its root directory")?,
            umask: fs.umask()?,
        })
    }

    fn open_file(
        &mut self,
        file: &File<'k>,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<Option<Id<OpenFile>>, CaptureError> {
        if let Some(&known) = self.opened.get(&file.addr()) {
            return Ok(Some(known));
        }
        if let Some(kind) = kind_without_path(file)? {
            obstacles.add(format!("{holder} is {kind}"));
            return Ok(None);
        }
        let flags = file.flags()?;
        obstacles.add_if(flags & O_PATH != 0, format!("{holder} was opened with O_PATH"));
        let signals_io = flags & FASYNC != 0 || file.fown()?.is_some();
        obstacles.add_if(signals_io, format!("{holder} signals I/O (F_SETOWN or O_ASYNC)"));
        let Some(path) = self.path(&file.path()?, holder, obstacles)? else { return Ok(None) };
        let open = OpenFile {
            flags,
            owner: FileOwner::default(),
            kind: OpenFileKind::Path { path, pos: file.pos()? },
        };
        let id = self.files.push(open);
        self.opened.insert(file.addr(), id);
        Ok(Some(id))
    }

    /// A file that is opened again by its path; `None` with an obstacle where
    /// that is impossible.
    pub(super) fn path(
        &mut self,
        path: &Path<'k>,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<Option<Id<FilePath>>, CaptureError> {
        let resolved = path.resolve(&self.root)?;
        let shown = KernelString::from(resolved.path.clone());
        let inode = path.dentry()?.map_or(Ok(None), |dentry| dentry.inode())?;
        let Some(inode) = inode else {
            obstacles.add(format!("{holder} ({shown}) has no inode"));
            return Ok(None);
        };
        let file_system = inode.sb()?.map_or(Ok(String::new()), |sb| sb.type_name())?;
        let found = obstacles_of_path(&inode, &file_system)?;
        if let Some(why) = found {
            obstacles.add(format!("{holder} ({shown}) {why}"));
        } else if resolved.deleted {
            obstacles.add(format!("{holder} ({shown}) is a deleted file"));
        } else if !resolved.reachable {
            // Files without a place, as those of memfd_create(), are roots of
            // their own: their name tells more than their path.
            let own_root = resolved.path == b"/";
            let name = path.dentry()?.filter(|_| own_root).map(|dentry| dentry.name_bytes());
            let shown = name.transpose()?.map_or(shown, KernelString::from);
            obstacles.add(format!("{holder} ({shown}) lies outside the root directory"));
        } else {
            return Ok(Some(self.paths.intern(FilePath {
                path: resolved.path.into(),
                mode: inode.mode()?,
                size: inode.size()?,
                dev: device(&inode)?,
                ino: inode.ino()?,
            })));
        }
        Ok(None)
    }
}

fn obstacles_of_path(inode: &Inode<'_>, file_system: &str) -> Result<Option<String>, KernelError> {
    if KERNEL_FILE_SYSTEMS.contains(&file_system) {
        return Ok(Some(format!("is a file of {file_system}")));
    }
    Ok(match inode.mode()? & S_IFMT {
        S_IFREG | S_IFDIR | S_IFCHR => None,
        S_IFBLK => Some("is a block device".into()),
        other => Some(format!("is of type {other:#o}")),
    })
}

/// What an open file is that has no path, in words; `None` for one that has.
fn kind_without_path(file: &File<'_>) -> Result<Option<String>, KernelError> {
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

/// Whether locks were made through this open file, or by this descriptor table
/// on its inode.
fn holds_locks(file: &File<'_>, table: GuestVirt) -> Result<bool, KernelError> {
    let Some(context) = file.inode()?.map_or(Ok(None), |inode| inode.flctx())? else {
        return Ok(false);
    };
    let holds = |list: ListHead<'_>| -> Result<bool, KernelError> {
        for lock in list.entries::<FileLock<'_>>("list") {
            let lock = lock?;
            let owner = lock.owner()?;
            if lock.file()? == file.addr() || owner == table || owner == file.addr() {
                return Ok(true);
            }
        }
        Ok(false)
    };
    Ok(holds(context.flock()?)? || holds(context.posix()?)? || holds(context.lease()?)?)
}

/// The file's device as `stat()` gives it: `new_encode_dev()` of the kernel's
/// `dev_t` (`include/linux/kdev_t.h`).
fn device(inode: &Inode<'_>) -> Result<u64, KernelError> {
    let dev = inode.sb()?.map_or(Ok(0), |sb| sb.dev())?;
    let (major, minor) = (u64::from(dev >> 20), u64::from(dev & 0xf_ffff));
    Ok(minor & 0xff | major << 8 | (minor & !0xff) << 12)
}
