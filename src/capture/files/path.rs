//! Files that are opened again by their path.

use crate::kernel::KernelError;
use crate::linux::{File, Inode, Path, ResolvedPath};
use crate::snapshot::{FilePath, GhostFile, Id, KernelString, OpenFileKind};

use super::super::error::CaptureError;
use super::super::obstacle::Obstacles;
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

impl<'k> Files<'k> {
    /// An open file that is opened again by its path.
    pub(super) fn by_path(
        &mut self,
        file: &File<'k>,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<Option<OpenFileKind>, CaptureError> {
        let is_found_only = file.flags()? & O_PATH != 0;
        let path = self.found(&file.path()?, is_found_only, holder, obstacles)?;
        let pos = file.pos()?;
        Ok(path.map(|path| OpenFileKind::Path { path, pos }))
    }

    /// A file that is opened again by its path; `None` with an obstacle where
    /// that is impossible.
    pub(in super::super) fn path(
        &mut self,
        path: &Path<'k>,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<Option<Id<FilePath>>, CaptureError> {
        self.found(path, false, holder, obstacles)
    }

    /// The same; what was opened with `O_PATH` can be anything that has a path.
    fn found(
        &mut self,
        path: &Path<'k>,
        is_found_only: bool,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<Option<Id<FilePath>>, CaptureError> {
        let resolved = path.resolve(&self.root)?;
        let shown = shown(path, &resolved)?;
        let refused = |why: &str| format!("{holder} ({shown}) {why}");
        let inode = path.dentry()?.map_or(Ok(None), |dentry| dentry.inode())?;
        let Some(inode) = inode else {
            obstacles.add(refused("has no inode"));
            return Ok(None);
        };
        let file_system = inode.sb()?.map_or(Ok(String::new()), |sb| sb.type_name())?;
        let unsupported = if is_found_only { None } else { unsupported(&inode, &file_system)? };
        if let Some(why) = unsupported {
            obstacles.add(refused(&why));
            return Ok(None);
        }
        if !resolved.reachable {
            obstacles.add(refused("lies outside the root directory"));
            return Ok(None);
        }
        let ghost = match resolved.deleted {
            true => match self.deleted(&inode, &resolved, &file_system)? {
                Ok(ghost) => Some(ghost),
                Err(why) => {
                    obstacles.add(refused(&why));
                    return Ok(None);
                }
            },
            false => None,
        };
        if file_system == "proc" {
            match proc::process_of(&resolved.path) {
                Ok(Some(pid)) => self.of_processes.push(OfProcess {
                    subject: obstacles.subject(),
                    holder: refused("is a file"),
                    pid,
                }),
                Ok(None) => {}
                Err(why) => {
                    obstacles.add(refused(why));
                    return Ok(None);
                }
            }
        }
        Ok(Some(self.tables.paths.intern(FilePath {
            path: resolved.path.into(),
            mode: inode.mode()?,
            size: inode.size()?,
            dev: device(&inode)?,
            ino: inode.ino()?,
            ghost,
        })))
    }

    fn deleted(
        &mut self,
        inode: &Inode<'k>,
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
        self.ghost(inode, file_system)
    }
}

/// A file by its path, for a message. Files without a place, as those of
/// memfd_create(), are roots of their own: their name tells more.
fn shown(path: &Path<'_>, resolved: &ResolvedPath) -> Result<KernelString, KernelError> {
    let own_root = !resolved.reachable && resolved.path == b"/";
    match path.dentry()?.filter(|_| own_root) {
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
    let dev = inode.sb()?.map_or(Ok(0), |sb| sb.dev())?;
    let (major, minor) = (u64::from(dev >> 20), u64::from(dev & 0xf_ffff));
    Ok(minor & 0xff | major << 8 | (minor & !0xff) << 12)
}
