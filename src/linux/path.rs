//! Paths: dentries, inodes and mounts.

use crate::kernel::KernelError;
use crate::memory::GuestVirt;

use super::list::ListHead;
use super::view::{Embedded, Ptr, Struct};

/// Most components of a path, mounts crossed included. A path that a program
/// can open has at most 2048 (`PATH_MAX`).
const MAX_COMPONENTS: usize = 4096;
/// Longest name of a component (`NAME_MAX`).
const MAX_NAME: u32 = 255;

kernel_struct! {
    /// A file's place in the tree of mounts: `struct path`.
    pub struct Path: "path" {
        /// The mount: the address of the `mnt` in a [`Mount`].
        mnt: GuestVirt = ["mnt"],
        /// The directory entry.
        dentry: Ptr<Dentry<'k>> = ["dentry"],
    }
}

kernel_struct! {
    /// A process's place in the file system: `struct fs_struct`.
    pub struct FsStruct: "fs_struct" {
        /// How many processes share it.
        users: u32 = ["users"],
        /// Mode bits that new files do not get.
        umask: u32 = ["umask"],
        /// The root directory.
        root: Embedded<Path<'k>> = ["root"],
        /// The working directory.
        pwd: Embedded<Path<'k>> = ["pwd"],
    }
}

kernel_struct! {
    /// A name in a directory: `struct dentry`.
    pub struct Dentry: "dentry" {
        /// The directory; itself for a root.
        parent: GuestVirt = ["d_parent"],
        /// Address of the name.
        name: GuestVirt = ["__d_name.name", "d_name.name"],
        /// Its length in bytes.
        name_len: u32 = ["__d_name.len", "d_name.len"],
        /// Where it links back from the hash table; null when it was deleted
        /// or never was in a directory.
        hash_pprev: GuestVirt = ["d_hash.pprev"],
        /// The file.
        inode: Ptr<Inode<'k>> = ["d_inode"],
        /// The file system.
        sb: Ptr<SuperBlock<'k>> = ["d_sb"],
    }
}

kernel_struct! {
    /// A file: `struct inode`.
    pub struct Inode: "inode" {
        /// Type and permissions.
        mode: u32 = ["i_mode"],
        /// Its number in the file system.
        ino: u64 = ["i_ino"],
        /// Size in bytes.
        size: u64 = ["i_size"],
        /// Of a device node: the device, as the kernel's `dev_t` (12 bits
        /// major, 20 bits minor).
        rdev: u32 = ["i_rdev"],
        /// Names it has.
        nlink: u32 = ["i_nlink"],
        /// The file system.
        sb: Ptr<SuperBlock<'k>> = ["i_sb"],
        /// POSIX, OFD and flock locks, if there ever was one.
        flctx: Ptr<FileLockContext<'k>> = ["i_flctx"],
    }
}

kernel_struct! {
    /// Locks on a file: `struct file_lock_context`.
    pub struct FileLockContext: "file_lock_context" {
        /// `flock()` locks.
        flock: Embedded<ListHead<'k>> = ["flc_flock"],
        /// POSIX and OFD locks.
        posix: Embedded<ListHead<'k>> = ["flc_posix"],
        /// Leases.
        lease: Embedded<ListHead<'k>> = ["flc_lease"],
    }
}

kernel_struct! {
    /// A lock on a file: `struct file_lock`.
    pub struct FileLock: "file_lock" {
        /// Its place in the file's list.
        list: Embedded<ListHead<'k>> = ["c.flc_list", "fl_list"],
        /// The open file it was made through.
        file: GuestVirt = ["c.flc_file", "fl_file"],
        /// The descriptor table that owns it (POSIX), or the open file.
        owner: GuestVirt = ["c.flc_owner", "fl_owner"],
    }
}

kernel_struct! {
    /// A file system: `struct super_block`.
    pub struct SuperBlock: "super_block" {
        /// Its device number, as the kernel's `dev_t`.
        dev: u32 = ["s_dev"],
        /// Its type.
        kind: Ptr<FileSystemType<'k>> = ["s_type"],
        /// `*_SUPER_MAGIC`.
        magic: u64 = ["s_magic"],
    }
}

kernel_struct! {
    /// A type of file system: `struct file_system_type`.
    pub struct FileSystemType: "file_system_type" {
        /// Address of its name.
        name: GuestVirt = ["name"],
    }
}

kernel_struct! {
    /// A mounted file system: `struct mount`.
    pub struct Mount: "mount" {
        /// The mount below; itself for a root.
        parent: GuestVirt = ["mnt_parent"],
        /// Where in the mount below it is mounted.
        mountpoint: Ptr<Dentry<'k>> = ["mnt_mountpoint"],
        /// What [`Path::mnt`] points at.
        mnt: Embedded<VfsMount<'k>> = ["mnt"],
    }
}

kernel_struct! {
    /// What other subsystems see of a mount: `struct vfsmount`.
    pub struct VfsMount: "vfsmount" {
        /// The directory of the file system that is mounted.
        root: GuestVirt = ["mnt_root"],
    }
}

/// A path as seen from a root directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedPath {
    /// The path's bytes, starting with `/` where `reachable`.
    pub path: Vec<u8>,
    /// Whether the file was deleted or never had a name.
    pub deleted: bool,
    /// Whether the path leads to the root directory it is seen from.
    pub reachable: bool,
}

impl<'k> Path<'k> {
    /// The path as a process with the root directory `root` sees it, as
    /// `d_path()` does.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for a path of more components or longer names
    /// than a kernel allows.
    pub fn resolve(&self, root: &Self) -> Result<ResolvedPath, KernelError> {
        let kernel = self.kernel();
        let corrupt = |why: &str| KernelError::Corrupt {
            what: "path".into(),
            addr: self.addr(),
            why: why.into(),
        };
        let Some(mut dentry) = self.dentry()? else { return Err(corrupt("it has no dentry")) };
        let (mut mnt, root_mnt) = (self.mnt()?, root.mnt()?);
        let root_dentry = root.dentry()?.map(|dentry| dentry.addr());
        let deleted = dentry.is_deleted()?;
        let mut names: Vec<Vec<u8>> = Vec::new();
        let mut reachable = true;
        for _ in 0..MAX_COMPONENTS {
            if mnt == root_mnt && Some(dentry.addr()) == root_dentry {
                return Ok(ResolvedPath { path: join(&names), deleted, reachable });
            }
            let mount = Mount::container_of(kernel, mnt, "mnt")?;
            if dentry.addr() == mount.mnt()?.root()? {
                let below = Mount::at(kernel, mount.parent()?)?;
                match mount.mountpoint()? {
                    Some(mountpoint) if below.addr() != mount.addr() => {
                        dentry = mountpoint;
                        mnt = below.mnt()?.addr();
                        continue;
                    }
                    _ => reachable = false,
                }
            } else if dentry.parent()? == dentry.addr() {
                reachable = false;
            }
            if !reachable {
                return Ok(ResolvedPath { path: join(&names), deleted, reachable });
            }
            names.push(dentry.name_bytes()?);
            dentry = Dentry::at(kernel, dentry.parent()?)?;
        }
        Err(corrupt("it has too many components"))
    }
}

fn join(names: &[Vec<u8>]) -> Vec<u8> {
    if names.is_empty() {
        return b"/".to_vec();
    }
    names.iter().rev().flat_map(|name| [b"/".as_slice(), name].concat()).collect()
}

impl<'k> Dentry<'k> {
    /// The last component.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for a name longer than a file system allows.
    pub fn name_bytes(&self) -> Result<Vec<u8>, KernelError> {
        let len = self.name_len()?;
        if len > MAX_NAME {
            let why = format!("a name of {len} bytes");
            return Err(KernelError::Corrupt { what: "dentry".into(), addr: self.addr(), why });
        }
        let mut name = vec![0; len as usize];
        self.kernel().read(self.name()?, &mut name)?;
        Ok(name)
    }

    /// Whether the name is gone from its directory: `d_unlinked()`.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn is_deleted(&self) -> Result<bool, KernelError> {
        Ok(self.hash_pprev()?.is_null() && self.parent()? != self.addr())
    }
}

impl SuperBlock<'_> {
    /// The type's name, such as `ext4`.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn type_name(&self) -> Result<String, KernelError> {
        let Some(kind) = self.kind()? else { return Ok(String::new()) };
        let mut name = [0; 32];
        self.kernel().read(kind.name()?, &mut name)?;
        let len = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
        Ok(String::from_utf8_lossy(&name[..len]).into_owned())
    }
}
