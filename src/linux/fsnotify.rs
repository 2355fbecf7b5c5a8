//! Who is told of what happens to files: `include/linux/fsnotify_backend.h`,
//! `fs/notify/inotify/inotify.h`.

use crate::kernel::KernelError;
use crate::memory::GuestVirt;

use super::file::File;
use super::list::ListHead;
use super::mount::Mount;
use super::path::Inode;
use super::view::{Embedded, Ptr, Raw, Struct};

/// `FSNOTIFY_MARK_FLAG_*` of fanotify as they are numbered since 5.19; before, the
/// first was 0x1 and `ATTACHED`, which all marks in a list have, 0x4.
const IGNORED_SURV_MODIFY: u32 = 0x100;
const IGNORED_SURV_MODIFY_BEFORE: u32 = 0x1;
const ATTACHED_BEFORE: u32 = 0x4;

/// `FSNOTIFY_OBJ_TYPE_INODE`: what is watched is an inode.
const OF_INODE: u32 = 0;

kernel_struct! {
    /// An instance of inotify, or a group of fanotify: `struct fsnotify_group`.
    pub struct FsnotifyGroup: "fsnotify_group" {
        /// What kind of group it is.
        ops: GuestVirt = ["ops"],
        /// What it watches.
        marks: Embedded<ListHead<'k>> = ["marks_list"],
        /// How many events wait to be read.
        queued: u32 = ["q_len"],
        /// Of fanotify, how it was made: `FAN_*` of `fanotify_init()`.
        fanotify_flags: u32 = ?["fanotify_data.flags"],
        /// Of fanotify, the flags of the files that its events come with.
        fanotify_event_flags: u32 = ?["fanotify_data.f_flags"],
    }
}

kernel_struct! {
    /// Something that is watched: `struct fsnotify_mark`.
    pub struct FsnotifyMark: "fsnotify_mark" {
        /// The group that it belongs to.
        group: Ptr<FsnotifyGroup<'k>> = ["group"],
        /// The next mark of the same object.
        next: GuestVirt = ["obj_list.next"],
        /// Its place among all of the group.
        group_list: Raw = ["g_list"],
        /// `IN_*`, and what the kernel adds.
        mask: u32 = ["mask"],
        /// Of fanotify, what it does not want to be told of.
        ignored: u32 = ["ignore_mask", "ignored_mask"],
        /// `FSNOTIFY_MARK_FLAG_*`.
        flags: u32 = ["flags"],
        /// What links it to what is watched.
        connector: Ptr<FsnotifyMarkConnector<'k>> = ["connector"],
    }
}

kernel_struct! {
    /// All marks of an inode, a mount or a file system:
    /// `struct fsnotify_mark_connector`.
    pub struct FsnotifyMarkConnector: "fsnotify_mark_connector" {
        /// The first of them, by its `next`.
        first: GuestVirt = ["list.first"],
        /// What it is of: `FSNOTIFY_OBJ_TYPE_*`.
        kind: u32 = ["type"],
        /// The object, or up to 6.1 its member that links back.
        object: GuestVirt = ["obj"],
    }
}

kernel_struct! {
    /// A watch of inotify: `struct inotify_inode_mark`.
    pub struct InotifyInodeMark: "inotify_inode_mark" {
        /// What all marks have.
        mark: Embedded<FsnotifyMark<'k>> = ["fsn_mark"],
        /// Its number.
        wd: i32 = ["wd"],
    }
}

impl<'k> FsnotifyGroup<'k> {
    /// The group behind an open file.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn of(file: &File<'k>) -> Result<Self, KernelError> {
        Self::at(file.kernel(), file.private_data()?)
    }

    /// The marks of a group of fanotify, newest first.
    ///
    /// # Errors
    ///
    /// Errors of the walk.
    pub fn all_marks(&self) -> Result<Vec<FsnotifyMark<'k>>, KernelError> {
        self.marks()?.entries("group_list").collect()
    }

    /// The watches of an instance of inotify.
    ///
    /// # Errors
    ///
    /// Errors of the walk.
    pub fn watches(&self) -> Result<Vec<InotifyInodeMark<'k>>, KernelError> {
        let kernel = self.kernel();
        let marks = self.marks()?.entries::<FsnotifyMark<'k>>("group_list");
        marks.map(|mark| InotifyInodeMark::container_of(kernel, mark?.addr(), "mark")).collect()
    }
}

impl<'k> FsnotifyMark<'k> {
    /// Whether fanotify goes on to ignore a file that was modified.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn survives_modification(&self) -> Result<bool, KernelError> {
        let flags = self.flags()?;
        Ok(if flags & ATTACHED_BEFORE != 0 {
            flags & IGNORED_SURV_MODIFY_BEFORE != 0
        } else {
            flags & IGNORED_SURV_MODIFY != 0
        })
    }

    /// The mount that is watched; `None` where it is something else.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn mount(&self) -> Result<Option<Mount<'k>>, KernelError> {
        let Some(connector) = self.connector()? else { return Ok(None) };
        let (kernel, object) = (self.kernel(), connector.object()?);
        if connector.kind()? == OF_INODE || object.is_null() {
            return Ok(None);
        }
        // The number of this kind differs between kernels: the link back tells.
        let candidates = [
            Mount::container_of(kernel, object, "mnt")?,
            Mount::container_of(kernel, object, "watchers")?,
        ];
        for mount in candidates {
            if mount.watchers().is_ok_and(|back| back == connector.addr()) {
                return Ok(Some(mount));
            }
        }
        Ok(None)
    }

    /// The inode that is watched; `None` where it is something else, or was
    /// taken away from the mark.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn inode(&self) -> Result<Option<Inode<'k>>, KernelError> {
        let Some(connector) = self.connector()? else { return Ok(None) };
        let (kernel, object) = (self.kernel(), connector.object()?);
        if connector.kind()? != OF_INODE || object.is_null() {
            return Ok(None);
        }
        // Which of both it is, is told by the link back.
        let candidates =
            [Inode::at(kernel, object)?, Inode::container_of(kernel, object, "watchers")?];
        for inode in candidates {
            if inode.watchers().is_ok_and(|back| back == connector.addr()) {
                return Ok(Some(inode));
            }
        }
        Ok(None)
    }
}
