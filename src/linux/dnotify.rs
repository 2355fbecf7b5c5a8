//! Who is told by a signal of what happens in a directory (`F_NOTIFY`):
//! `fs/notify/dnotify/dnotify.c`.

use crate::kernel::KernelError;
use crate::memory::GuestVirt;

use super::file::File;
use super::fsnotify::{FsnotifyMark, FsnotifyMarkConnector};
use super::list::MAX_ENTRIES;
use super::view::{Embedded, Ptr, Struct};

kernel_struct! {
    /// All who are told of a directory: `struct dnotify_mark`.
    (optional) pub struct DnotifyMark: "dnotify_mark" {
        /// What all marks have.
        mark: Embedded<FsnotifyMark<'k>> = ["fsn_mark"],
        /// The first of them.
        first: Ptr<DnotifyStruct<'k>> = ["dn"],
    }
}

kernel_struct! {
    /// One who is told of a directory: `struct dnotify_struct`.
    (optional) pub struct DnotifyStruct: "dnotify_struct" {
        /// The next one.
        next: Ptr<DnotifyStruct<'k>> = ["dn_next"],
        /// The open file that it is told through.
        file: GuestVirt = ["dn_filp"],
    }
}

impl<'k> File<'k> {
    /// Whether somebody is told of what happens in this directory, through this
    /// open file.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read, or a list does not end.
    pub fn notifies(&self) -> Result<bool, KernelError> {
        let kernel = self.kernel();
        let Some(inode) = self.inode()? else { return Ok(false) };
        let watchers = inode.watchers()?;
        if watchers.is_null() || !DnotifyMark::exists(kernel) {
            return Ok(false);
        }
        let kind = kernel.symbol("dnotify_fsnotify_ops");
        let mut at = FsnotifyMarkConnector::at(kernel, watchers)?.first()?;
        for _ in 0..MAX_ENTRIES {
            if at.is_null() {
                return Ok(false);
            }
            let mark = FsnotifyMark::container_of(kernel, at, "next")?;
            let ops = mark.group()?.map(|group| group.ops()).transpose()?;
            if ops.is_some() && ops == kind {
                // One for all.
                return DnotifyMark::container_of(kernel, mark.addr(), "mark")?.is_through(self);
            }
            at = mark.next()?;
        }
        Err(endless(watchers))
    }
}

impl DnotifyMark<'_> {
    fn is_through(&self, file: &File<'_>) -> Result<bool, KernelError> {
        let mut at = self.first()?;
        for _ in 0..MAX_ENTRIES {
            let Some(one) = at else { return Ok(false) };
            if one.file()? == file.addr() {
                return Ok(true);
            }
            at = one.next()?;
        }
        Err(endless(self.addr()))
    }
}

fn endless(addr: GuestVirt) -> KernelError {
    KernelError::Corrupt {
        what: "dnotify_struct".into(),
        addr,
        why: "a list that does not end".into(),
    }
}
