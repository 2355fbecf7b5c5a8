//! Files that are opened again by their path.

use std::collections::hash_map::Entry;

use crate::kernel::KernelError;
use crate::linux::{Dentry, File, Inode, Path, ResolvedPath, Struct, settled};
use crate::memory::GuestVirt;
use crate::snapshot::{FilePath, GhostFile, Id, KernelString, OpenFileKind};

use super::super::error::CaptureError;
use super::super::obstacle::{Obstacles, Subject};
use super::stat::{S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFMT, S_IFREG};
use super::{Files, O_PATH, OfProcess, proc};

/// File systems whose files stand for state of this kernel that an image does not
/// hold.
const KERNEL_FILE_SYSTEMS: &[&str] = &[
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

/// A file that is to be opened again.
pub(super) struct Wanted<'k> {
    pub(super) dentry: Option<Dentry<'k>>,
    pub(super) how: How<'k>,
}

/// What was done with a file.
#[derive(Clone, Copy)]
pub(super) enum How<'k> {
    /// It is a directory of a process, or a FIFO.
    Named,
    Opened(File<'k>),
    /// It was opened with `O_PATH` or is watched: it can be anything that has a
    /// path.
    FoundOnly,
    Mapped(File<'k>),
}

impl<'k> Wanted<'k> {
    fn is_found_only(&self) -> bool {
        matches!(self.how, How::FoundOnly)
    }

    /// The inode with the content of the file `inode`: of a file of overlayfs,
    /// that of the layer that it was opened in. `of_layer` says that it is to
    /// be looked for where the file does not tell.
    fn content(&self, inode: &Inode<'k>, of_layer: bool) -> Result<Inode<'k>, KernelError> {
        let other = match self.how {
            How::Mapped(file) => file.inode()?,
            How::Opened(file) if of_layer => {
                file.below()?.map_or(Ok(None), |below| below.inode())?
            }
            _ => None,
        };
        Ok(other.unwrap_or(*inode))
    }
}

impl<'k> Files<'k> {
    /// An open file that is opened again by its path.
    pub(super) fn by_path(
        &mut self,
        file: &File<'k>,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<Option<OpenFileKind>, CaptureError> {
        let how = if file.flags()? & O_PATH != 0 { How::FoundOnly } else { How::Opened(*file) };
        if self.is_notified(file)? {
            obstacles.add(format!(
                "{holder} is a directory whose changes are told by a signal (F_NOTIFY)"
            ));
        }
        let path = self.resolved(&file.path()?, how, holder, obstacles)?;
        let pos = file.pos()?;
        Ok(path.map(|path| OpenFileKind::Path { path, pos }))
    }

    /// Whether somebody is told through an open file of what happens in a directory.
    /// Who is told of one is read once: it can be all who have it open.
    fn is_notified(&mut self, file: &File<'k>) -> Result<bool, CaptureError> {
        let Some(inode) = file.inode()? else { return Ok(false) };
        let watchers = inode.watchers()?;
        if watchers.is_null() {
            return Ok(false);
        }
        let told = match self.notified.entry(watchers) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => {
                let told = settled(|| inode.notified_files())?;
                self.budget.take_for::<GuestVirt>(told.len())?;
                free.insert(told.into_iter().collect())
            }
        };
        Ok(told.contains(&file.addr()))
    }

    /// A file that is mapped, or executed.
    pub(in super::super) fn mapped_path(
        &mut self,
        file: &File<'k>,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<Option<Id<FilePath>>, CaptureError> {
        self.resolved(&file.user_path()?, How::Mapped(*file), holder, obstacles)
    }

    /// A file that is opened again by its path; `None` with an obstacle where
    /// that is impossible.
    pub(super) fn path(
        &mut self,
        path: &Path<'k>,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<Option<Id<FilePath>>, CaptureError> {
        self.resolved(path, How::Named, holder, obstacles)
    }

    fn resolved(
        &mut self,
        path: &Path<'k>,
        how: How<'k>,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<Option<Id<FilePath>>, CaptureError> {
        let resolved = path.resolve(&self.root)?;
        self.found(&Wanted { dentry: path.dentry()?, how }, resolved, holder, obstacles)
    }

    /// The same of a path that was looked for.
    pub(super) fn found(
        &mut self,
        wanted: &Wanted<'k>,
        resolved: ResolvedPath,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<Option<Id<FilePath>>, CaptureError> {
        let holder = format!("{holder} ({})", shown(wanted.dentry.as_ref(), &resolved)?);
        match self.read(wanted, resolved, &holder, &obstacles.subject())? {
            Ok(id) => Ok(Some(id)),
            Err(why) => {
                obstacles.add(format!("{holder} {why}"));
                Ok(None)
            }
        }
    }

    /// A file, or why it cannot be opened again.
    fn read(
        &mut self,
        wanted: &Wanted<'k>,
        resolved: ResolvedPath,
        holder: &str,
        subject: &Subject,
    ) -> Result<Result<Id<FilePath>, String>, CaptureError> {
        let inode = wanted.dentry.map_or(Ok(None), |dentry| dentry.inode())?;
        let Some(inode) = inode else { return Ok(Err("has no inode".into())) };
        let file_system = inode.sb()?.map_or(Ok(String::new()), |sb| sb.type_name())?;
        if !wanted.is_found_only()
            && let Some(why) = unsupported(&inode, &file_system)?
        {
            return Ok(Err(why));
        }
        if let Some(why) = self.why_not_there(&resolved)? {
            return Ok(Err(why.into()));
        }
        let of_layer = resolved.deleted && file_system == "overlay";
        let content = wanted.content(&inode, of_layer)?;
        if is_outdated(&content, &inode)? {
            return Ok(Err("was changed since: overlayfs has put a copy in its place".into()));
        }
        let ghost = match resolved.deleted {
            true => match self.deleted(&inode, &content, &resolved, &file_system)? {
                Ok(ghost) => Some(ghost),
                Err(why) => return Ok(Err(why)),
            },
            false => None,
        };
        if file_system == "proc" {
            self.budget.take((size_of::<OfProcess>() + holder.len()) as u64)?;
            match proc::process_of(&resolved.path) {
                Ok(pid) => self.of_processes.extend(pid.map(|pid| OfProcess {
                    subject: subject.clone(),
                    holder: format!("{holder} is a file"),
                    pid,
                    may_be_zombie: false,
                })),
                Err(why) => return Ok(Err(why.into())),
            }
        }
        let mode = inode.mode()?;
        if let Some(ghost) = ghost.filter(|_| mode & S_IFMT == S_IFDIR) {
            let holder = format!("{holder} is a deleted directory");
            self.budget.take(holder.len() as u64)?;
            self.directories.push((ghost, subject.clone(), holder));
        }
        let (size, dev, ino) = (content.size()?, device(&inode)?, inode.ino()?);
        let path = resolved.path.into();
        self.kept(FilePath { path, mode, size, dev, ino, ghost }).map(Ok)
    }

    /// A path, which is kept once.
    pub(super) fn kept(&mut self, path: FilePath) -> Result<Id<FilePath>, CaptureError> {
        let size = size_of::<FilePath>() + path.path.as_bytes().len();
        let known = self.tables.paths.len();
        let id = self.tables.paths.intern(path);
        if self.tables.paths.len() > known {
            self.budget.take(size as u64)?;
        }
        Ok(id)
    }

    /// Why a file is not found by the path that leads to it.
    pub(super) fn why_not_there(
        &mut self,
        path: &ResolvedPath,
    ) -> Result<Option<&'static str>, KernelError> {
        Ok(if !path.reachable {
            Some("lies outside the root directory")
        } else if self.mounts.hide(self.root.kernel(), &path.way)? {
            Some("is hidden by what was mounted over it")
        } else {
            None
        })
    }

    fn deleted(
        &mut self,
        inode: &Inode<'k>,
        content: &Inode<'k>,
        path: &ResolvedPath,
        file_system: &str,
    ) -> Result<Result<Id<GhostFile>, String>, CaptureError> {
        if matches!(file_system, "proc" | "sysfs") {
            return Ok(Err(format!("is a file of {file_system} that is gone")));
        }
        // Restore makes it where it was.
        if path.in_deleted {
            return Ok(Err("was deleted with its directory".into()));
        }
        // A part of a file system is still mounted where that part is gone.
        if path.way.first().is_some_and(|stop| stop.is_mounted) {
            return Ok(Err("was deleted and is mounted".into()));
        }
        self.ghost(inode, content)
    }
}

/// Whether a file of overlayfs has another content by now than that which was
/// opened: that of a layer below, where the file was written to since and so
/// has a copy in the layer above. It has the time of the copy then, which no
/// program can set back.
fn is_outdated(opened: &Inode<'_>, inode: &Inode<'_>) -> Result<bool, KernelError> {
    let changed = |inode: &Inode<'_>| -> Result<_, KernelError> {
        Ok((inode.ctime_seconds()?, inode.ctime_nanoseconds()?))
    };
    Ok(opened.addr() != inode.addr() && changed(inode)? > changed(opened)?)
}

/// A file by its path, for a message. Files without a place, as those of
/// memfd_create(), are roots of their own: their name tells more.
fn shown(
    dentry: Option<&Dentry<'_>>,
    resolved: &ResolvedPath,
) -> Result<KernelString, KernelError> {
    let own_root = !resolved.reachable && resolved.path == b"/";
    match dentry.filter(|_| own_root) {
        Some(dentry) => dentry.name_bytes().map(KernelString::from),
        None => Ok(KernelString::from(resolved.path.clone())),
    }
}

fn unsupported(inode: &Inode<'_>, file_system: &str) -> Result<Option<String>, KernelError> {
    if KERNEL_FILE_SYSTEMS.contains(&file_system) {
        return Ok(Some(format!("is a file of {file_system}")));
    }
    Ok(match inode.mode()? & S_IFMT {
        S_IFREG | S_IFDIR | S_IFCHR | S_IFIFO => None,
        S_IFBLK => Some("is a block device".into()),
        other => Some(format!("is of type {other:#o}")),
    })
}

/// The file's device as `stat()` gives it: `new_encode_dev()` of the kernel's
/// `dev_t` (`include/linux/kdev_t.h`).
pub(super) fn device(inode: &Inode<'_>) -> Result<u64, KernelError> {
    Ok(encoded_device(inode.sb()?.map_or(Ok(0), |sb| sb.dev())?))
}

/// A device number of the kernel's as `stat()` gives it.
pub(super) fn encoded_device(dev: u32) -> u64 {
    let (major, minor) = (u64::from(dev >> 20), u64::from(dev & 0xf_ffff));
    minor & 0xff | major << 8 | (minor & !0xff) << 12
}
