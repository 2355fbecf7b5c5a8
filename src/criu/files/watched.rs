//! Instances of inotify and groups of fanotify. What they watch restore finds by
//! its path; a file handle is one of the source's file system.

use super::super::{EncodeError, proto};
use super::owner;
use crate::snapshot::{
    FanotifyGroup, FanotifyMark, FilePath, Id, InotifyWatch, OpenFile, Snapshot,
};

/// `FILEID_INVALID` (`include/linux/exportfs.h`).
const NO_HANDLE: u32 = 0xff;

/// An instance of inotify.
pub fn inotify(
    snapshot: &Snapshot,
    file: &OpenFile,
    id: u32,
    watches: &[InotifyWatch],
) -> Result<proto::InotifyFileEntry, EncodeError> {
    let watch = |watch: &InotifyWatch| {
        let target = target(snapshot, watch.path)?;
        Ok(proto::InotifyWdEntry {
            id: 0,
            i_ino: target.ino,
            mask: watch.mask,
            ignored_mask: 0,
            s_dev: kernel_device(target.dev),
            wd: watch.wd,
            f_handle: by_path(target),
        })
    };
    let wd = watches.iter().map(watch).collect::<Result<_, EncodeError>>()?;
    Ok(proto::InotifyFileEntry { id, flags: file.flags, fown: owner(file.owner), wd })
}

/// A group of fanotify.
pub fn fanotify(
    snapshot: &Snapshot,
    file: &OpenFile,
    id: u32,
    group: FanotifyGroup,
    marks: &[FanotifyMark],
) -> Result<proto::FanotifyFileEntry, EncodeError> {
    let mark = |mark: &FanotifyMark| {
        let target = target(snapshot, mark.path)?;
        let entry = proto::FanotifyMarkEntry {
            id: 0,
            r#type: proto::MarkType::Inode as i32,
            mflags: mark.flags,
            mask: mark.mask,
            ignored_mask: mark.ignored,
            s_dev: kernel_device(target.dev),
            ie: None,
            me: None,
        };
        Ok(if mark.is_mount {
            let path = String::from_utf8_lossy(target.path.as_bytes()).into_owned();
            let me = proto::FanotifyMountMarkEntry { mnt_id: 0, path: Some(path) };
            let r#type = proto::MarkType::Mount as i32;
            proto::FanotifyMarkEntry { r#type, me: Some(me), ..entry }
        } else {
            let i_ino = target.ino;
            let ie = proto::FanotifyInodeMarkEntry { i_ino, f_handle: by_path(target) };
            proto::FanotifyMarkEntry { ie: Some(ie), ..entry }
        })
    };
    Ok(proto::FanotifyFileEntry {
        id,
        flags: file.flags,
        fown: owner(file.owner),
        faflags: group.flags,
        evflags: group.event_flags,
        mark: marks.iter().map(mark).collect::<Result<_, EncodeError>>()?,
    })
}

fn target(snapshot: &Snapshot, path: Id<FilePath>) -> Result<&FilePath, EncodeError> {
    snapshot.paths.get(path).ok_or(EncodeError::Dangling("path"))
}

fn by_path(target: &FilePath) -> proto::FhEntry {
    proto::FhEntry {
        bytes: 0,
        r#type: NO_HANDLE,
        path: Some(target.path.as_bytes().to_vec()),
        ..proto::FhEntry::default()
    }
}

/// The kernel's `dev_t` of a device as `stat()` gives it: `new_decode_dev()`
/// (`include/linux/kdev_t.h`).
fn kernel_device(dev: u64) -> u32 {
    let (major, minor) = (dev >> 8 & 0xfff, dev & 0xff | dev >> 12 & 0xf_ff00);
    (major << 20 | minor) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_twelve_bits_and_twenty() {
        assert_eq!(kernel_device(0xfe01), 0xfe0_0001);
        assert_eq!(kernel_device(0x1b), 0x1b);
        assert_eq!(kernel_device(0x1230_0845), 0x81_2345);
    }
}
