//! Groups of fanotify.

use crate::kernel::KernelError;
use crate::linux::{File, FsnotifyGroup, FsnotifyMark, settled};
use crate::snapshot::{FanotifyGroup, FanotifyMark, OpenFileKind};

use super::super::error::CaptureError;
use super::super::obstacle::Obstacles;
use super::{Files, O_NONBLOCK};

/// `FAN_CLASS_*` (`include/uapi/linux/fanotify.h`) but for `FAN_CLASS_NOTIF`: who
/// may be asked for permissions.
const ASKED: u32 = 0x4 | 0x8;
/// `FAN_NONBLOCK`.
const NONBLOCK: u32 = 0x2;
/// `FAN_OPEN_PERM`, `FAN_ACCESS_PERM`, `FAN_OPEN_EXEC_PERM`, `FAN_PRE_ACCESS`.
const PERMISSIONS: u32 = 0xf_0000 | 0x10_0000;
/// All that `fanotify_init()` takes. What the kernel adds says that the group is
/// that of a user without privileges, who is not told of everything.
const INIT_FLAGS: u32 = 0x7fff;
/// `FAN_MARK_IGNORED_SURV_MODIFY`.
const SURVIVES: u32 = 0x40;
/// Flags of marks that came with later kernels, and that CRIU cannot set beside
/// the one that it does: `FSNOTIFY_MARK_FLAG_NO_IREF`, `_HAS_IGNORE_FLAGS`.
const LATER: [(&str, u32); 2] = [("FAN_MARK_EVICTABLE", 0x200), ("FAN_MARK_IGNORE", 0x400)];

impl<'k> Files<'k> {
    /// A group of fanotify, or what CRIU would lose of it.
    pub(super) fn fanotify(
        &mut self,
        file: &File<'k>,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<Option<OpenFileKind>, CaptureError> {
        let group = FsnotifyGroup::of(file)?;
        let (made, mut problems) = self.group(file, &group)?;
        let marks = settled(|| group.all_marks())?;
        let read = |files: &mut Self, mark: &_| files.mark(mark, holder, obstacles);
        let marks = self.each_watched(marks, &mut problems, read)?;
        let is_whole = problems.is_empty();
        for problem in problems {
            obstacles.add(format!("{holder} is a fanotify group {problem}"));
        }
        let kind = made.map(|group| OpenFileKind::Fanotify { group, marks });
        Ok(kind.filter(|_| is_whole))
    }

    /// How a group was made, and what is wrong with it.
    fn group(
        &self,
        file: &File<'k>,
        group: &FsnotifyGroup<'k>,
    ) -> Result<(Option<FanotifyGroup>, Vec<String>), KernelError> {
        let mut problems = Vec::new();
        let (Some(flags), Some(event_flags)) =
            (group.fanotify_flags()?, group.fanotify_event_flags()?)
        else {
            return Ok((None, vec!["of a kernel that does not tell how it was made".into()]));
        };
        // It would be asked whether CRIU may open what it restores.
        if flags & ASKED != 0 {
            problems.push("that may be asked for permissions".into());
        }
        if flags & !INIT_FLAGS != 0 {
            problems.push("of a user without privileges".into());
        }
        self.require_nothing_queued(group, &mut problems)?;
        // That may have been changed since, unlike the others.
        let flags = if file.flags()? & O_NONBLOCK == 0 { flags & !NONBLOCK } else { flags };
        Ok((Some(FanotifyGroup { flags, event_flags }), problems))
    }

    /// A mark, what is wrong with it, or nothing where the obstacle was noted or
    /// it has just gone.
    fn mark(
        &mut self,
        mark: &FsnotifyMark<'k>,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<Result<Option<FanotifyMark>, String>, CaptureError> {
        let (mask, ignored, flags) = (mark.mask()?, mark.ignored()?, mark.flags()?);
        if let Some((name, _)) = LATER.iter().find(|(_, flag)| flags & flag != 0) {
            return Ok(Err(format!("with a mark of {name}, which CRIU loses")));
        }
        if (mask | ignored) & PERMISSIONS != 0 {
            return Ok(Err("that is asked for permissions".into()));
        }
        let what = format!("what a mark of {holder} is on");
        // A file system links back from the same place as a mount.
        let mount = match mark.mount()? {
            Some(mount) if self.mounts.has(&self.root, &mount)? => Some(mount),
            _ => None,
        };
        let (is_mount, path) = match (mark.inode()?, mount) {
            (Some(inode), _) => (false, self.path_of_inode(&inode, &what, obstacles)?),
            (None, Some(mount)) => (true, Ok(self.path_of_mount(&mount, &what, obstacles)?)),
            (None, None) if mark.connector()?.is_none() => return Ok(Ok(None)),
            (None, None) => return Ok(Err("that watches a whole file system".into())),
        };
        let flags = if mark.survives_modification()? { SURVIVES } else { 0 };
        Ok(path.map(|path| path.map(|path| FanotifyMark { is_mount, flags, mask, ignored, path })))
    }
}
