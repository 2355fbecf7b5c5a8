//! Directories and files of cgroupfs: `struct kernfs_node` (`fs/kernfs/`).

use crate::kernel::KernelError;
use crate::linux::rbtree::RbRoot;
use crate::linux::view::{Embedded, Ptr, Raw, Struct};
use crate::memory::{GuestVirt, PAGE_SIZE};

/// `NAME_MAX`: bytes of a name at most.
const MAX_NAME: usize = 255;
/// Bytes that are read at once: most names are shorter.
const PART: u64 = 32;

kernel_struct! {
    /// A directory or file: `struct kernfs_node`.
    pub struct KernfsNode: "kernfs_node" {
        /// Address of its name.
        raw_name: GuestVirt = ["name"],
        /// Its place in its directory.
        rb: Raw = ["rb"],
        /// What is in it, if it is a directory.
        children: Embedded<RbRoot<'k>> = ["dir.children"],
        /// `st_mode`.
        mode: u32 = ["mode"],
        /// Owner and the like, once they were set.
        iattr: Ptr<KernfsIattrs<'k>> = ["iattr"],
    }
}

kernel_struct! {
    /// Who owns a file: `struct kernfs_iattrs`.
    pub struct KernfsIattrs: "kernfs_iattrs" {
        /// User.
        uid: u32 = ["ia_uid.val"],
        /// Group.
        gid: u32 = ["ia_gid.val"],
    }
}

impl<'k> KernfsNode<'k> {
    /// Its name.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for one that has no end.
    pub fn name(&self) -> Result<Vec<u8>, KernelError> {
        let mut name = Vec::new();
        let mut at = self.raw_name()?;
        // What is behind its page may not be there.
        while name.len() <= MAX_NAME {
            let mut bytes = [0; PART as usize];
            let rest = PAGE_SIZE - at.get() % PAGE_SIZE;
            let part = &mut bytes[..rest.min(PART) as usize];
            self.kernel().read(at, part)?;
            if let Some(len) = part.iter().position(|&byte| byte == 0) {
                name.extend_from_slice(&part[..len]);
                return Ok(name);
            }
            name.extend_from_slice(part);
            at = at.wrapping_add(part.len() as u64);
        }
        Err(super::corrupt("kernfs_node", self.addr(), "its name has no end"))
    }

    /// User and group that own it.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn owner(&self) -> Result<(u32, u32), KernelError> {
        self.iattr()?.map_or(Ok((0, 0)), |attributes| Ok((attributes.uid()?, attributes.gid()?)))
    }

    /// What is in it, directories too.
    ///
    /// # Errors
    ///
    /// As [`RbRoot::entries`].
    pub fn entries(&self) -> Result<Vec<KernfsNode<'k>>, KernelError> {
        self.children()?.entries("rb")
    }
}
