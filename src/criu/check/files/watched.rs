//! Instances of inotify and groups of fanotify. Restore opens what is watched by
//! its path.

use std::collections::HashSet;

use crate::criu::findings::ImageFindings;
use crate::criu::proto::{FanotifyFileEntry, FanotifyMarkEntry, InotifyFileEntry, MarkType};

/// `IN_NONBLOCK` and `IN_CLOEXEC`, all that `inotify_init1()` takes.
const FLAGS: u32 = 0o4_000 | 0o2_000_000;
/// `IN_ALL_EVENTS`: restore drops the other bits.
const EVENTS: u32 = 0xfff;

/// `FAN_CLASS_*` but for `FAN_CLASS_NOTIF` (`include/uapi/linux/fanotify.h`).
const ASKED: u32 = 0xc;
const FAN_NONBLOCK: u32 = 0x2;
const O_NONBLOCK: u32 = 0o4_000;
/// Events that somebody waits for the answer to: `FAN_*_PERM`, `FAN_PRE_ACCESS`.
const PERMISSIONS: u32 = 0x1f_0000;

/// Restore gives a watch its number.
pub fn check_inotify(id: u32, instance: &InotifyFileEntry, found: &mut ImageFindings<'_>) {
    found.require(instance.id == id, "ify.id", || format!("of file {id} is {}", instance.id));
    found.require(instance.flags & !FLAGS == 0, "ify.flags", || {
        format!("of file {id} are {:#o}, which inotify_init1() refuses", instance.flags)
    });
    let mut numbers = HashSet::new();
    let mut targets = HashSet::new();
    for watch in &instance.wd {
        let wd = watch.wd;
        let is_number = wd > 0 && i32::try_from(wd).is_ok() && numbers.insert(wd);
        found.require(is_number, "ify.wd", || format!("{wd} of file {id} is no number of its own"));
        found.require(watch.mask != 0 && watch.mask & !EVENTS == 0, "ify.wd.mask", || {
            format!("of watch {wd} of file {id} is {:#x}, which are not events", watch.mask)
        });
        let path = watch.f_handle.path.as_deref().unwrap_or_default();
        found.require(is_absolute(path), "ify.wd.f_handle.path", || {
            format!("of watch {wd} of file {id} is no absolute path: {}", path.escape_ascii())
        });
        // The second one would take the number of the first.
        found.require(targets.insert(path), "ify.wd.f_handle.path", || {
            format!("of watch {wd} of file {id} is that of another: {}", path.escape_ascii())
        });
    }
}

/// A group that is asked for permissions would be asked whether CRIU may open what
/// it restores next, and nobody answers.
pub fn check_fanotify(id: u32, group: &FanotifyFileEntry, found: &mut ImageFindings<'_>) {
    found.require(group.id == id, "ffy.id", || format!("of file {id} is {}", group.id));
    let waits = group.flags & O_NONBLOCK == 0 && group.faflags & FAN_NONBLOCK != 0;
    found.require(group.faflags & ASKED == 0 && !waits, "ffy.faflags", || {
        format!("of file {id} are {:#x}", group.faflags)
    });
    for mark in &group.mark {
        found.require((mark.mask | mark.ignored_mask) & PERMISSIONS == 0, "ffy.mark.mask", || {
            format!("of file {id} is {:#x}: it is asked for permissions", mark.mask)
        });
        let path = watched_by(mark);
        found.require(path.is_some_and(is_absolute), "ffy.mark", || {
            format!("of file {id} has no absolute path: {mark:?}")
        });
    }
}

/// The path that restore finds by the type of a mark.
fn watched_by(mark: &FanotifyMarkEntry) -> Option<&[u8]> {
    match MarkType::try_from(mark.r#type) {
        Ok(MarkType::Inode) => mark.ie.as_ref()?.f_handle.path.as_deref(),
        Ok(MarkType::Mount) => mark.me.as_ref()?.path.as_deref().map(str::as_bytes),
        _ => None,
    }
}

fn is_absolute(path: &[u8]) -> bool {
    path.starts_with(b"/") && !path.contains(&0)
}
