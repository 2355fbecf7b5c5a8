//! Who is told by a signal of what happens in a directory (`F_NOTIFY`):
//! `fs/notify/dnotify/dnotify.c`.

use crate::kernel::KernelError;
use crate::memory::GuestVirt;

use super::fsnotify::{FsnotifyMark, FsnotifyMarkConnector};
use super::list::MAX_ENTRIES;
use super::path::Inode;
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

impl Inode<'_> {
    /// The open files through which somebody is told of what happens in this
    /// directory.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read, or a list does not end.
    pub fn notified_files(&self) -> Result<Vec<GuestVirt>, KernelError> {
        let kernel = self.kernel();
        let watchers = self.watchers()?;
        if watchers.is_null() || !DnotifyMark::exists(kernel) {
            return Ok(Vec::new());
        }
        let kind = kernel.symbol("dnotify_fsnotify_ops");
        let mut at = FsnotifyMarkConnector::at(kernel, watchers)?.first()?;
        for _ in 0..MAX_ENTRIES {
            if at.is_null() {
                return Ok(Vec::new());
            }
            let mark = FsnotifyMark::container_of(kernel, at, "next")?;
            let ops = mark.group()?.map(|group| group.ops()).transpose()?;
            if ops.is_some() && ops == kind {
                // One for all.
                return DnotifyMark::container_of(kernel, mark.addr(), "mark")?.files();
            }
            at = mark.next()?;
        }
        Err(endless(watchers))
    }
}

impl DnotifyMark<'_> {
    fn files(&self) -> Result<Vec<GuestVirt>, KernelError> {
        let mut files = Vec::new();
        let mut at = self.first()?;
        while let Some(one) = at {
            if files.len() >= MAX_ENTRIES {
                return Err(endless(self.addr()));
            }
            files.push(one.file()?);
            at = one.next()?;
        }
        Ok(files)
    }
}

fn endless(addr: GuestVirt) -> KernelError {
    KernelError::Corrupt {
        what: "dnotify_struct".into(),
        addr,
        why: "a list that does not end".into(),
    }
}
