//! Files in memory alone: `struct shmem_inode_info` (`mm/shmem.c`).
//!
//! Shared anonymous memory is such a file, too, as are those of
//! `memfd_create()` and SysV segments: they lie in a file system of tmpfs that
//! only the kernel mounts.

use crate::kernel::{Kernel, KernelError};
use crate::memory::GuestVirt;

use super::path::{Inode, SuperBlock, VfsMount};
use super::view::{Embedded, Struct};

kernel_struct! {
    /// A file in memory: `struct shmem_inode_info`.
    pub struct ShmemInodeInfo: "shmem_inode_info" {
        /// What may not be done to it any more: `F_SEAL_*`.
        seals: u32 = ["seals"],
        /// Pages that are swapped out.
        swapped: u64 = ["swapped"],
        /// What all file systems have.
        inode: Embedded<Inode<'k>> = ["vfs_inode"],
    }
}

impl<'k> ShmemInodeInfo<'k> {
    /// The file of an inode of tmpfs.
    ///
    /// # Errors
    ///
    /// Where this kernel has no such structure.
    pub fn of(inode: &Inode<'k>) -> Result<Self, KernelError> {
        Self::container_of(inode.kernel(), inode.addr(), "inode")
    }
}

/// The file system of what has no place in any directory: that of `shm_mnt`.
/// `None` where the kernel does not tell.
///
/// # Errors
///
/// Where guest memory cannot be read.
pub fn unlinked_files(kernel: &Kernel) -> Result<Option<SuperBlock<'_>>, KernelError> {
    let Some(at) = kernel.symbol("shm_mnt") else { return Ok(None) };
    let mut mount = [0; 8];
    kernel.read(at, &mut mount)?;
    VfsMount::at(kernel, GuestVirt::new(u64::from_le_bytes(mount)))?.sb()
}
