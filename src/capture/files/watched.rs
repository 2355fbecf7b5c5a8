//! What inotify and fanotify watch.
//!
//! CRIU finds it again by a path, or by a file handle, which means nothing in
//! another VM (`get_mark_path()`, `criu/fsnotify.c`). The kernel keeps the inode
//! or the mount alone; names that it has in memory lead to paths.

use std::thread::sleep;

use crate::kernel::KernelError;
use crate::linux::{Dentry, FsnotifyGroup, Inode, Mount, ResolvedPath, Struct, settled};
use crate::snapshot::{FilePath, Id, KernelString};

use super::super::error::CaptureError;
use super::super::obstacle::Obstacles;
use super::super::{ATTEMPTS, PATIENCE};
use super::path::{How, Wanted};
use super::stat::{S_IFLNK, S_IFMT};
use super::{Files, Reading};

/// How many names of a file are followed, each in all mounts of its file system.
const MAX_TRIES: usize = 1000;

impl<'k> Files<'k> {
    /// All that is watched, as `read` has it of each mark: what is wrong with it goes to
    /// `problems`, and nothing is what was noted or has just gone.
    pub(super) fn each_watched<M: Struct<'k>, W>(
        &mut self,
        marks: Vec<M>,
        problems: &mut Vec<String>,
        mut read: impl FnMut(&mut Self, &M) -> Result<Result<Option<W>, String>, CaptureError>,
    ) -> Result<Vec<W>, CaptureError> {
        let mut watched = Vec::new();
        for mark in marks {
            self.budget.take((size_of::<M>() + size_of::<W>()) as u64)?;
            match read(self, &mark)? {
                Ok(found) => watched.extend(found),
                Err(problem) => problems.push(problem),
            }
        }
        Ok(watched)
    }

    /// Notes events that wait.
    pub(super) fn require_nothing_queued(
        &self,
        group: &FsnotifyGroup<'k>,
        problems: &mut Vec<String>,
    ) -> Result<(), KernelError> {
        let queued = self.queued(group)?;
        if queued != 0 {
            problems.push(format!("with {queued} events that were not read, which CRIU drops"));
        }
        Ok(())
    }

    /// How many events wait. A process that runs may be about to read them.
    fn queued(&self, group: &FsnotifyGroup<'k>) -> Result<u32, KernelError> {
        let mut attempt = 1;
        loop {
            let queued = group.queued()?;
            if queued == 0 || self.reading == Reading::Contents || attempt == ATTEMPTS {
                return Ok(queued);
            }
            attempt += 1;
            sleep(PATIENCE);
        }
    }

    /// A path that leads to an inode. Nothing where the obstacle was noted; what
    /// else is in the way is a clause about who watches.
    pub(super) fn path_of_inode(
        &mut self,
        inode: &Inode<'k>,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<Result<Option<Id<FilePath>>, String>, CaptureError> {
        let lead = settled(|| self.way_to(inode))?;
        let Some((dentry, resolved)) = lead else {
            let ino = inode.ino()?;
            return Ok(Err(format!(
                "that watches inode {ino}, of which the guest has no path in memory"
            )));
        };
        if resolved.deleted || resolved.in_deleted {
            let path = KernelString::from(resolved.path);
            return Ok(Err(format!("that watches {path}, which was deleted")));
        }
        // CRIU follows the last link of a path.
        if inode.mode()? & S_IFMT == S_IFLNK {
            obstacles.add(format!("{holder} is a symbolic link"));
            return Ok(Ok(None));
        }
        let wanted = Wanted { dentry: Some(dentry), how: How::FoundOnly };
        self.found(&wanted, resolved, holder, obstacles).map(Ok)
    }

    /// The path that leads to the root of a mount.
    pub(super) fn path_of_mount(
        &mut self,
        mount: &Mount<'k>,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<Option<Id<FilePath>>, CaptureError> {
        let dentry = Dentry::at(mount.kernel(), mount.mnt()?.root()?)?;
        let resolved = ResolvedPath::of(*mount, dentry, &self.root)?;
        // The field of the image is text.
        if std::str::from_utf8(&resolved.path).is_err() {
            obstacles.add(format!("{holder} has a path that is no UTF-8"));
            return Ok(None);
        }
        let wanted = Wanted { dentry: Some(dentry), how: How::FoundOnly };
        self.found(&wanted, resolved, holder, obstacles)
    }

    /// A name of an inode with the path that it is at, one that leads there if
    /// there is any.
    fn way_to(
        &mut self,
        inode: &Inode<'k>,
    ) -> Result<Option<(Dentry<'k>, ResolvedPath)>, KernelError> {
        let Some(file_system) = inode.sb()? else { return Ok(None) };
        let mounts = self.mounts.of(&self.root, file_system.addr(), MAX_TRIES)?;
        let (mut other, mut tries) = (None, 0);
        for dentry in inode.names(MAX_TRIES)? {
            for &mount in &mounts {
                tries += 1;
                if tries > MAX_TRIES {
                    return Ok(other);
                }
                let resolved = ResolvedPath::of(mount, dentry, &self.root)?;
                if !resolved.reachable {
                    continue;
                }
                let leads = !resolved.deleted
                    && !resolved.in_deleted
                    && !self.mounts.hide(self.root.kernel(), &resolved.way)?;
                if leads {
                    return Ok(Some((dentry, resolved)));
                }
                other.get_or_insert((dentry, resolved));
            }
        }
        Ok(other)
    }
}
