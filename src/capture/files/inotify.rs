//! Instances of inotify.

use crate::linux::{File, FsnotifyGroup, InotifyInodeMark, settled};
use crate::snapshot::{InotifyWatch, OpenFileKind};

use super::super::error::CaptureError;
use super::super::obstacle::Obstacles;
use super::{Files, O_ACCMODE, O_CLOEXEC, O_NONBLOCK};

/// `IN_ALL_EVENTS` (`include/uapi/linux/inotify.h`): all that CRIU restores.
const EVENTS: u32 = 0xfff;
/// What it loses, by the bit of the mask up to 5.18 and the flag of the mark
/// since: `FSNOTIFY_MARK_FLAG_*`.
const LOST: [(&str, u32, u32); 2] =
    [("IN_ONESHOT", 1 << 31, 0x20), ("IN_EXCL_UNLINK", 1 << 26, 0x10)];

impl<'k> Files<'k> {
    /// An instance of inotify, or what CRIU would lose of it.
    pub(super) fn inotify(
        &mut self,
        file: &File<'k>,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<Option<OpenFileKind>, CaptureError> {
        let group = FsnotifyGroup::of(file)?;
        let mut problems = Vec::new();
        // It is made by `inotify_init1()` with all of them.
        let flags = file.flags()? & !(O_ACCMODE | O_CLOEXEC | O_NONBLOCK);
        if flags != 0 {
            problems.push(format!("with the flags {flags:#o}"));
        }
        self.require_nothing_queued(&group, &mut problems)?;
        let marks = settled(|| group.watches())?;
        let read = |files: &mut Self, mark: &_| files.watch(mark, holder, obstacles);
        let watches = self.each_watched(marks, &mut problems, read)?;
        let is_whole = problems.is_empty();
        for problem in problems {
            obstacles.add(format!("{holder} is an inotify instance {problem}"));
        }
        Ok(is_whole.then_some(OpenFileKind::Inotify { watches }))
    }

    /// A watch, what is wrong with it, or nothing where the obstacle was noted.
    fn watch(
        &mut self,
        watch: &InotifyInodeMark<'k>,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<Result<Option<InotifyWatch>, String>, CaptureError> {
        let (mark, wd) = (watch.mark()?, watch.wd()?);
        let (mask, flags) = (mark.mask()?, mark.flags()?);
        let lost = LOST.iter().find(|(_, bit, flag)| mask & bit != 0 || flags & flag != 0);
        if let Some((name, ..)) = lost {
            return Ok(Err(format!("whose watch {wd} has {name}, which CRIU loses")));
        }
        // What was watched has just gone.
        let Some(inode) = mark.inode()? else { return Ok(Ok(None)) };
        let path =
            self.path_of_inode(&inode, &format!("what watch {wd} of {holder} is on"), obstacles)?;
        let mask = mask & EVENTS;
        Ok(path.map(|path| path.map(|path| InotifyWatch { wd: wd.cast_unsigned(), mask, path })))
    }
}
