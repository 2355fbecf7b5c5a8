//! Files that are opened again by their path.

use crate::kernel::KernelError;
use crate::linux::{File, Inode, Path};
use crate::snapshot::{FilePath, Id, KernelString, OpenFileKind};

use super::super::error::CaptureError;
use super::super::obstacle::Obstacles;
use super::Files;
use super::stat::{S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFMT, S_IFREG};

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

impl<'k> Files<'k> {
    /// An open file that is opened again by its path.
    pub(super) fn by_path(
        &mut self,
        file: &File<'k>,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<Option<OpenFileKind>, CaptureError> {
        let path = self.path(&file.path()?, holder, obstacles)?;
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
            return Ok(Some(self.tables.paths.intern(FilePath {
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
        S_IFREG | S_IFDIR | S_IFCHR | S_IFIFO => None,
        S_IFBLK => Some("is a block device".into()),
        other => Some(format!("is of type {other:#o}")),
    })
}

/// The file's device as `stat()` gives it: `new_encode_dev()` of the kernel's
/// `dev_t` (`include/linux/kdev_t.h`).
fn device(inode: &Inode<'_>) -> Result<u64, KernelError> {
    let dev = inode.sb()?.map_or(Ok(0), |sb| sb.dev())?;
    let (major, minor) = (u64::from(dev >> 20), u64::from(dev & 0xf_ffff));
    Ok(minor & 0xff | major << 8 | (minor & !0xff) << 12)
}
