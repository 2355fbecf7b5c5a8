//! Mounted file systems.

use std::collections::HashSet;

use crate::kernel::KernelError;
use crate::memory::GuestVirt;

use super::list::ListHead;
use super::path::{Dentry, SuperBlock};
use super::view::{Embedded, Ptr, Struct};

/// Most mounts of a namespace (`fs.mount-max`).
const MAX_MOUNTS: usize = 100_000;

kernel_struct! {
    /// A mounted file system, or a part of one: `struct mount`.
    pub struct Mount: "mount" {
        /// The mount below; itself for a root.
        parent: GuestVirt = ["mnt_parent"],
        /// Where in the mount below it is mounted.
        mountpoint: Ptr<Dentry<'k>> = ["mnt_mountpoint"],
        /// What [`Path::mnt`](super::Path::mnt) points at.
        mnt: Embedded<VfsMount<'k>> = ["mnt"],
        /// Those that are mounted on it, by their `child`.
        mounts: Embedded<ListHead<'k>> = ["mnt_mounts"],
        /// Its place among those that are mounted on the same.
        child: Embedded<ListHead<'k>> = ["mnt_child"],
        /// All marks that watch it; null where there are none.
        watchers: GuestVirt = ["mnt_fsnotify_marks"],
    }
}

kernel_struct! {
    /// What other subsystems see of a mount: `struct vfsmount`.
    pub struct VfsMount: "vfsmount" {
        /// The directory, or the file, of the file system that is mounted.
        root: GuestVirt = ["mnt_root"],
        /// The file system.
        sb: Ptr<SuperBlock<'k>> = ["mnt_sb"],
    }
}

impl<'k> Mount<'k> {
    /// It and all that is mounted below it.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for more than a kernel allows; errors of the
    /// walk.
    pub fn all(self) -> Result<Vec<Self>, KernelError> {
        let corrupt = |why: String| {
            Err(KernelError::Corrupt { what: "mount".into(), addr: self.addr(), why })
        };
        let (mut all, mut known) = (vec![self], HashSet::from([self.addr()]));
        let mut looked_at = 0;
        while let Some(mount) = all.get(looked_at) {
            looked_at += 1;
            for (_, child) in mount.mounted_on_it()? {
                if !known.insert(child.addr()) {
                    return corrupt(format!("{} is mounted twice below it", child.addr()));
                }
                all.push(child);
            }
            if all.len() > MAX_MOUNTS {
                return corrupt(format!("more than {MAX_MOUNTS} are mounted below it"));
            }
        }
        Ok(all)
    }

    /// What is mounted on this mount itself, each with the address of the
    /// dentry that it hides.
    ///
    /// # Errors
    ///
    /// Errors of the walk.
    pub fn mounted_on_it(&self) -> Result<Vec<(GuestVirt, Self)>, KernelError> {
        let mut found = Vec::new();
        for child in self.mounts()?.entries::<Self>("child") {
            let child = child?;
            if let Some(mountpoint) = child.mountpoint()? {
                found.push((mountpoint.addr(), child));
            }
        }
        Ok(found)
    }
}
