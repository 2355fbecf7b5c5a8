//! Files in memory alone: `struct shmem_inode_info` (`mm/shmem.c`), and
//! `struct hugetlbfs_inode_info` (`fs/hugetlbfs/inode.c`).
//!
//! Shared anonymous memory is such a file, too, as are those of
//! `memfd_create()` and SysV segments: they lie in file systems that only the
//! kernel mounts, one of tmpfs and one of hugetlbfs for each size of huge pages.

use crate::kernel::{Kernel, KernelError};
use crate::memory::GuestVirt;

use super::mount::VfsMount;
use super::path::{Inode, SuperBlock};
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

kernel_struct! {
    /// A file of huge pages: `struct hugetlbfs_inode_info`.
    (optional) pub struct HugetlbfsInodeInfo: "hugetlbfs_inode_info" {
        /// What may not be done to it any more: `F_SEAL_*`.
        seals: u32 = ["seals"],
        /// What all file systems have.
        inode: Embedded<Inode<'k>> = ["vfs_inode"],
    }
}

impl<'k> HugetlbfsInodeInfo<'k> {
    /// The file of an inode of hugetlbfs.
    ///
    /// # Errors
    ///
    /// Where this kernel has no such structure.
    pub fn of(inode: &Inode<'k>) -> Result<Self, KernelError> {
        Self::container_of(inode.kernel(), inode.addr(), "inode")
    }
}

/// Sizes of huge pages on x86-64: 2 MiB and 1 GiB (`HUGE_MAX_HSTATE`).
const HUGE_SIZES: usize = 2;

/// The file systems of what has no place in any directory: those of `shm_mnt`
/// and `hugetlbfs_vfsmount`, as far as the kernel has them.
///
/// # Errors
///
/// Where guest memory cannot be read.
pub fn unlinked_files(kernel: &Kernel) -> Result<Vec<SuperBlock<'_>>, KernelError> {
    let mut mounts = [[0; 8]; 1 + HUGE_SIZES];
    let (normal, huge) = mounts.split_at_mut(1);
    for (symbol, mounts) in [("shm_mnt", normal), ("hugetlbfs_vfsmount", huge)] {
        if let Some(at) = kernel.symbol(symbol) {
            kernel.read(at, mounts.as_flattened_mut())?;
        }
    }
    let mut found = Vec::new();
    for mount in mounts.map(u64::from_le_bytes) {
        // A null or an error (`ERR_PTR()`) where there are no such pages.
        if mount != 0 && mount < MAX_ERRNO {
            found.extend(VfsMount::at(kernel, GuestVirt::new(mount))?.sb()?);
        }
    }
    Ok(found)
}

/// Addresses from here on are errors (`include/linux/err.h`).
const MAX_ERRNO: u64 = u64::MAX - 4094;
