//! Paths: dentries, inodes and mounts.

use crate::kernel::KernelError;
use crate::memory::GuestVirt;

use super::file_lock::FileLockContext;
use super::list::ListHead;
use super::mount::Mount;
use super::namespace::NsCommon;
use super::page_cache::PageCache;
use super::pipe::PipeInodeInfo;
use super::seqlock::unmoved;
use super::string::name_at;
use super::view::{Embedded, Ptr, Struct};

/// Most components of a path, mounts crossed included. A path that a program
/// can open has at most 2048 (`PATH_MAX`).
const MAX_COMPONENTS: usize = 4096;
/// Longest path, the zero at its end included (`include/uapi/linux/limits.h`).
const PATH_MAX: u64 = 4096;
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
        /// References to it: each open file has one.
        count: u32 = ["d_lockref.count"],
        /// The next name of the same file; null for the last.
        next_name: GuestVirt = ["d_alias.next", "d_u.d_alias.next"],
        /// Where the link to this name lies.
        name_back: GuestVirt = ["d_alias.pprev", "d_u.d_alias.pprev"],
        /// Of a directory, the first of its names that are in memory; since 6.8,
        /// as the two that follow.
        first_child: GuestVirt = ?["d_children.first"],
        /// The next name in the same directory; null for the last.
        next_sibling: GuestVirt = ?["d_sib.next"],
        /// Where the link to this name in its directory lies.
        sibling_back: GuestVirt = ?["d_sib.pprev"],
        /// Before: the names in a directory, by their `child`.
        subdirs: Embedded<ListHead<'k>> = ?["d_subdirs"],
        /// A name's place among those of its directory.
        child: Embedded<ListHead<'k>> = ?["d_child"],
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
        /// Owner.
        uid: u32 = ["i_uid.val"],
        /// Group.
        gid: u32 = ["i_gid.val"],
        /// Its number in the file system.
        ino: u64 = ["i_ino"],
        /// Size in bytes.
        size: u64 = ["i_size"],
        /// What it takes, in units of 512 bytes.
        blocks: u64 = ["i_blocks"],
        /// Last access, in seconds since 1970.
        atime_seconds: i64 = ["i_atime_sec", "__i_atime.tv_sec", "i_atime.tv_sec"],
        /// Nanoseconds beyond.
        atime_nanoseconds: u32 = ["i_atime_nsec", "__i_atime.tv_nsec", "i_atime.tv_nsec"],
        /// Last change of the content, in seconds since 1970.
        mtime_seconds: i64 = ["i_mtime_sec", "__i_mtime.tv_sec", "i_mtime.tv_sec"],
        /// Nanoseconds beyond.
        mtime_nanoseconds: u32 = ["i_mtime_nsec", "__i_mtime.tv_nsec", "i_mtime.tv_nsec"],
        /// Last change of the content or of what the file is, in seconds since
        /// 1970. No program can set it.
        ctime_seconds: i64 = ["i_ctime_sec", "__i_ctime.tv_sec", "i_ctime.tv_sec"],
        /// Nanoseconds beyond, and since 6.13 a flag in the highest bit.
        raw_ctime_nanoseconds: u32 = ["i_ctime_nsec", "__i_ctime.tv_nsec", "i_ctime.tv_nsec"],
        /// Of a device node: the device, as the kernel's `dev_t` (12 bits
        /// major, 20 bits minor).
        rdev: u32 = ["i_rdev"],
        /// Names it has.
        nlink: u32 = ["i_nlink"],
        /// The file system.
        sb: Ptr<SuperBlock<'k>> = ["i_sb"],
        /// What its file system keeps: of a namespace's inode, the namespace.
        private: GuestVirt = ["i_private"],
        /// Its pages that are in memory.
        mapping: Ptr<PageCache<'k>> = ["i_mapping"],
        /// Of a pipe or FIFO that is open, the pipe.
        pipe: Ptr<PipeInodeInfo<'k>> = ["i_pipe"],
        /// Of a symbolic link that is kept in memory, its text, in the same place.
        link: GuestVirt = ["i_link"],
        /// The first of its names that are in memory; null for none.
        first_name: GuestVirt = ["i_dentry.first"],
        /// Who watches it: the address of a
        /// [`FsnotifyMarkConnector`](super::FsnotifyMarkConnector).
        watchers: GuestVirt = ["i_fsnotify_marks"],
        /// POSIX, OFD and flock locks, if there ever was one.
        flctx: Ptr<FileLockContext<'k>> = ["i_flctx"],
    }
}

kernel_struct! {
    /// A file system: `struct super_block`.
    pub struct SuperBlock: "super_block" {
        /// Its device number, as the kernel's `dev_t`.
        dev: u32 = ["s_dev"],
        /// Size of its blocks, of hugetlbfs of its pages, as a power of two.
        block_bits: u8 = ["s_blocksize_bits"],
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

/// A path as seen from a root directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedPath {
    /// The path's bytes, starting with `/` where `reachable`.
    pub path: Vec<u8>,
    /// Whether the file was deleted or never had a name.
    pub deleted: bool,
    /// Whether a directory on the way was deleted.
    pub in_deleted: bool,
    /// Whether the path leads to the root directory it is seen from.
    pub reachable: bool,
    /// The way from the file, its place included, up to that directory.
    pub way: Vec<Stop>,
}

/// A place on the way from a file up to the root directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Address of the [`Mount`].
    pub mount: GuestVirt,
    /// Address of the [`Dentry`] in it.
    pub dentry: GuestVirt,
    /// Whether it is the root directory of its mount.
    pub is_mounted: bool,
}

impl<'k> Path<'k> {
    /// The path as a process with the root directory `root` sees it, as
    /// `d_path()` does.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for a path of more components or longer names
    /// than a kernel allows; [`KernelError::Moving`] where it may be another by now.
    pub fn resolve(&self, root: &Self) -> Result<ResolvedPath, KernelError> {
        let Some(dentry) = self.dentry()? else {
            return Err(corrupt(self.addr(), "it has no dentry"));
        };
        let mount = Mount::container_of(self.kernel(), self.mnt()?, "mnt")?;
        ResolvedPath::of(mount, dentry, root)
    }
}

impl ResolvedPath {
    /// The path of a name in a mount, as [`Path::resolve`].
    ///
    /// # Errors
    ///
    /// As there, and [`KernelError::Moving`].
    pub fn of<'k>(
        mount: Mount<'k>,
        dentry: Dentry<'k>,
        root: &Path<'k>,
    ) -> Result<Self, KernelError> {
        unmoved(dentry.kernel(), || Self::read(mount, dentry, root))
    }

    fn read<'k>(
        mut mount: Mount<'k>,
        mut dentry: Dentry<'k>,
        root: &Path<'k>,
    ) -> Result<Self, KernelError> {
        let (kernel, addr) = (dentry.kernel(), dentry.addr());
        let root_mnt = root.mnt()?;
        let root_dentry = root.dentry()?.map(|dentry| dentry.addr());
        let deleted = dentry.is_deleted()?;
        let mut in_deleted = false;
        let mut names: Vec<Vec<u8>> = Vec::new();
        let mut way: Vec<Stop> = Vec::new();
        let mut length = 0;
        for _ in 0..MAX_COMPONENTS {
            let is_mounted = dentry.addr() == mount.mnt()?.root()?;
            way.push(Stop { mount: mount.addr(), dentry: dentry.addr(), is_mounted });
            let at_root = mount.mnt()?.addr() == root_mnt && Some(dentry.addr()) == root_dentry;
            if !at_root && is_mounted {
                let below = Mount::at(kernel, mount.parent()?)?;
                if let Some(mountpoint) = mount.mountpoint()?
                    && below.addr() != mount.addr()
                {
                    (dentry, mount) = (mountpoint, below);
                    continue;
                }
            }
            if at_root || is_mounted || dentry.parent()? == dentry.addr() {
                let (path, reachable) = (join(&names), at_root);
                return Ok(ResolvedPath { path, deleted, in_deleted, reachable, way });
            }
            let name = dentry.name_bytes()?;
            length += name.len() as u64 + 1;
            if length >= PATH_MAX {
                return Err(corrupt(addr, "it is longer than any that can be opened (PATH_MAX)"));
            }
            names.push(name);
            dentry = Dentry::at(kernel, dentry.parent()?)?;
            in_deleted |= dentry.is_deleted()?;
        }
        Err(corrupt(addr, "it has too many components"))
    }
}

fn corrupt(addr: GuestVirt, why: &str) -> KernelError {
    KernelError::Corrupt { what: "path".into(), addr, why: why.into() }
}

impl<'k> Path<'k> {
    /// What `/proc` shows of an open file, seen from the root directory `root`:
    /// `d_path()` (`fs/d_path.c`). Files that never had a name in a directory
    /// have one of their kind, such as `pipe:[1234]`.
    ///
    /// # Errors
    ///
    /// As [`resolve`](Self::resolve).
    pub fn display(&self, root: &Self) -> Result<Vec<u8>, KernelError> {
        if let Some(name) = self.dynamic_name()? {
            return Ok(name);
        }
        let ResolvedPath { mut path, deleted, .. } = self.resolve(root)?;
        if deleted {
            path.extend_from_slice(DELETED);
        }
        Ok(path)
    }

    /// The name that the file system makes up: `dentry_operations.d_dname`.
    fn dynamic_name(&self) -> Result<Option<Vec<u8>>, KernelError> {
        let (Some(dentry), kernel) = (self.dentry()?, self.kernel()) else { return Ok(None) };
        // The root directory of a mount has its name from where it is mounted.
        let mount = Mount::container_of(kernel, self.mnt()?, "mnt")?;
        let nameless = dentry.parent()? == dentry.addr() && dentry.addr() != mount.mnt()?.root()?;
        let (Some(inode), Some(sb), true) = (dentry.inode()?, dentry.sb()?, nameless) else {
            return Ok(None);
        };
        Ok(match sb.type_name()?.as_str() {
            "pipefs" => Some(format!("pipe:[{}]", inode.ino()?).into_bytes()),
            "sockfs" => Some(format!("socket:[{}]", inode.ino()?).into_bytes()),
            "anon_inodefs" => Some([b"anon_inode:", &dentry.name_bytes()?[..]].concat()),
            "pidfs" => Some(b"anon_inode:[pidfd]".to_vec()),
            "nsfs" => Some(NsCommon::at(kernel, inode.private()?)?.link()?.into_bytes()),
            // Of memfd_create(), SysV shared memory and the like.
            "tmpfs" | "hugetlbfs" => Some([b"/", &dentry.name_bytes()?[..], DELETED].concat()),
            _ => None,
        })
    }
}

/// What `d_path()` adds to the path of a file that was deleted.
const DELETED: &[u8] = b" (deleted)";

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

impl<'k> Inode<'k> {
    /// Its names that are in memory, the first `most` of them: a directory has one at
    /// most.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] where their list is being changed.
    pub fn names(&self, most: usize) -> Result<Vec<Dentry<'k>>, KernelError> {
        let mut names = Vec::new();
        let (mut from, mut at) = (self.place("first_name")?.addr(), self.first_name()?);
        while !at.is_null() && names.len() < most {
            let name = Dentry::container_of(self.kernel(), at, "next_name")?;
            if !at.is_kernel() || name.name_back()? != from {
                let why = format!("the list of its names leads from {from} to {at}");
                return Err(KernelError::Corrupt { what: "inode".into(), addr: self.addr(), why });
            }
            names.push(name);
            (from, at) = (at, name.next_name()?);
        }
        Ok(names)
    }

    /// The text of a symbolic link, where it is kept in memory: of ext4 and tmpfs
    /// if it is short.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn link_text(&self) -> Result<Option<Vec<u8>>, KernelError> {
        let (at, len) = (self.link()?, self.size()?);
        if at.is_null() || len == 0 || len >= PATH_MAX {
            return Ok(None);
        }
        let mut text = vec![0; len as usize];
        self.kernel().read(at, &mut text)?;
        Ok(Some(text))
    }

    /// Nanoseconds of the last change beyond its seconds.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn ctime_nanoseconds(&self) -> Result<u32, KernelError> {
        // `I_CTIME_QUERIED` (`include/linux/fs.h`)
        Ok(self.raw_ctime_nanoseconds()? & !(1 << 31))
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
        name_at(self.kernel(), kind.name()?)
    }
}
