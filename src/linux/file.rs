//! Open files and descriptor tables.

use crate::kernel::{Kernel, KernelError};
use crate::memory::GuestVirt;

use super::cred::Cred;
use super::path::{Inode, Path};
use super::pid::Pid;
use super::view::{Embedded, Ptr, Raw, Struct};

/// Most descriptors of a process: `fs.nr_open` as the kernel sets it. Some
/// systems raise that, but larger tables are refused here.
const MAX_FDS: u32 = 1 << 20;
/// Descriptors in a word of a bitmap.
const WORD_BITS: u32 = u64::BITS;

kernel_struct! {
    /// An open file: `struct file`.
    pub struct File: "file" {
        /// What it was opened as.
        path: Embedded<Path<'k>> = ["__f_path", "f_path"],
        /// Its inode.
        inode: Ptr<Inode<'k>> = ["f_inode"],
        /// What kind of file it is: the address of its operations.
        op: GuestVirt = ["f_op"],
        /// `O_*`.
        flags: u32 = ["f_flags"],
        /// `FMODE_*`.
        mode: u32 = ["f_mode"],
        /// Offset in bytes.
        pos: u64 = ["f_pos"],
        /// References to it, up to 6.12.
        count: u64 = ?["f_count.counter"],
        /// References to it but for the first one, later.
        further_references: u64 = ?["f_ref.refcnt.counter"],
        /// Who opened it.
        cred: Ptr<Cred<'k>> = ["f_cred"],
        /// Who is told of I/O: embedded up to 6.1, a pointer later.
        owner: Raw = ["f_owner"],
        /// What its kind keeps.
        private_data: GuestVirt = ["private_data"],
    }
}

kernel_struct! {
    /// A file below a file of overlayfs: `struct backing_file`, since 6.5.
    (optional) pub struct BackingFile: "backing_file" {
        /// What was opened by the program, since 6.7. Before that
        /// [`File::path`] says so.
        user_path: Embedded<Path<'k>> = ?["user_path"],
    }
}

kernel_struct! {
    /// Who is told of I/O by a signal (`F_SETOWN`): `struct fown_struct`.
    pub struct FownStruct: "fown_struct" {
        /// Whom to tell; null for nobody.
        pid: Ptr<Pid<'k>> = ["pid"],
        /// What of it: `enum pid_type`.
        pid_type: u32 = ["pid_type"],
        /// Real user of who asked for it.
        uid: u32 = ["uid.val"],
        /// Effective user.
        euid: u32 = ["euid.val"],
        /// The signal; 0 for SIGIO.
        signum: u32 = ["signum"],
    }
}

impl<'k> File<'k> {
    /// What a program has opened or mapped. That is another file than this one
    /// where overlayfs has put the file of a layer in the place of its own, as
    /// it does in mappings: `file_user_path()` (`include/linux/fs.h`).
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn user_path(&self) -> Result<Path<'k>, KernelError> {
        let kernel = self.kernel();
        // `FMODE_BACKING` has moved in 6.14, with which the function came.
        let has_moved = kernel.symbol("fsnotify_open_perm_and_set_mode").is_some();
        let bit = if has_moved { 24 } else { 25 };
        let below = match BackingFile::exists(kernel) && self.mode()? >> bit & 1 == 1 {
            true => BackingFile::at(kernel, self.addr())?.user_path()?,
            false => None,
        };
        below.map_or_else(|| self.path(), Ok)
    }

    /// The file of a layer that this one, a file of overlayfs, was opened with.
    /// Since 6.13 it is the first of several that overlayfs keeps with it
    /// (`struct ovl_file`, `fs/overlayfs/file.c`), whose types lie in a module.
    /// Known by what it was opened for, it can be no other.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn below(&self) -> Result<Option<Self>, KernelError> {
        let (kernel, own) = (self.kernel(), self.path()?.dentry()?);
        let Some(own) = own else { return Ok(None) };
        let is_below = |file: &Self| -> Result<bool, KernelError> {
            let opened_for = file.user_path()?.dentry()?.map(|dentry| dentry.addr());
            let [inode, ours] = [file.inode()?, self.inode()?].map(|inode| inode.map(|i| i.addr()));
            Ok(opened_for == Some(own.addr()) && inode != ours)
        };
        let mut at = self.private_data()?;
        for _ in 0..2 {
            let file = Self::at(kernel, at)?;
            // What is none may lead anywhere.
            if is_below(&file).unwrap_or(false) {
                return Ok(Some(file));
            }
            let mut first = [0; 8];
            if kernel.read(at, &mut first).is_err() {
                break;
            }
            at = GuestVirt::new(u64::from_le_bytes(first));
        }
        Ok(None)
    }

    /// The inode of [`user_path`](Self::user_path), where the kernel keeps that
    /// path apart from the file's own: `file_user_inode()`
    /// (`include/linux/fs.h`).
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn user_inode(&self) -> Result<Option<Inode<'k>>, KernelError> {
        let path = self.user_path()?;
        if path.addr() == self.path()?.addr() {
            return self.inode();
        }
        path.dentry()?.map_or(Ok(None), |dentry| dentry.inode())
    }

    /// Who is told of I/O by a signal; `None` where nobody ever was to be.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn fown(&self) -> Result<Option<FownStruct<'k>>, KernelError> {
        let place = self.owner()?;
        let addr = match place.size() {
            8 => GuestVirt::new(place.load()?),
            _ => place.addr(),
        };
        if addr.is_null() { Ok(None) } else { FownStruct::at(self.kernel(), addr).map(Some) }
    }

    /// Of a file of huge pages, their size as a power of two.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn huge_page_bits(&self) -> Result<Option<u8>, KernelError> {
        let file_system = self.inode()?.map_or(Ok(None), |inode| inode.sb())?;
        let Some(file_system) = file_system else { return Ok(None) };
        let is_huge = file_system.type_name()? == "hugetlbfs";
        is_huge.then(|| file_system.block_bits()).transpose()
    }

    /// Of a pidfd, what it stands for. They have inodes of their own since 6.9
    /// (`fs/pidfs.c`).
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn pidfd(&self) -> Result<Option<Pid<'k>>, KernelError> {
        let (kernel, op) = (self.kernel(), Some(self.op()?));
        let pid = if kernel.symbol("pidfs_file_operations") == op {
            self.inode()?.map_or(Ok(GuestVirt::NULL), |inode| inode.private())?
        } else if kernel.symbol("pidfd_fops") == op {
            self.private_data()?
        } else {
            return Ok(None);
        };
        Pid::at(kernel, pid).map(Some)
    }

    /// How many references there are to it: those of descriptors, of mappings
    /// and of system calls under way.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn references(&self) -> Result<u64, KernelError> {
        // `FILE_REF_ONEREF` is 0 (`include/linux/file_ref.h`).
        match (self.further_references()?, self.count()?) {
            (Some(further), _) => Ok(further.wrapping_add(1)),
            (None, count) => Ok(count.unwrap_or(0)),
        }
    }
}

kernel_struct! {
    /// A process's descriptors: `struct files_struct`.
    pub struct FilesStruct: "files_struct" {
        /// How many processes share it.
        count: u32 = ["count.counter"],
        /// The table.
        fdt: Ptr<Fdtable<'k>> = ["fdt"],
    }
}

kernel_struct! {
    /// A table of descriptors: `struct fdtable`.
    pub struct Fdtable: "fdtable" {
        /// Its size.
        max_fds: u32 = ["max_fds"],
        /// `struct file *` by descriptor.
        fd: GuestVirt = ["fd"],
        /// Close-on-exec, one bit each.
        close_on_exec: GuestVirt = ["close_on_exec"],
        /// In use, one bit each.
        open_fds: GuestVirt = ["open_fds"],
    }
}

/// An open descriptor.
#[derive(Clone, Copy, Debug)]
pub struct OpenFd<'k> {
    /// Its number.
    pub fd: u32,
    /// Whether `execve()` closes it.
    pub cloexec: bool,
    /// What it refers to.
    pub file: File<'k>,
}

impl<'k> FilesStruct<'k> {
    /// The open descriptors, ascending.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for a table larger than any process can have.
    pub fn open_fds(&self) -> Result<Vec<OpenFd<'k>>, KernelError> {
        let Some((table, max)) = self.table()? else { return Ok(Vec::new()) };
        let kernel = self.kernel();
        let (files, open, cloexec) = (table.fd()?, table.open_fds()?, table.close_on_exec()?);
        let mut fds = Vec::new();
        for word in 0..max / WORD_BITS {
            let [bits] = words_at(kernel, open, word)?;
            if bits == 0 {
                continue;
            }
            let [cloexec] = words_at(kernel, cloexec, word)?;
            let pointers: [u64; WORD_BITS as usize] = words_at(kernel, files, word)?;
            for (bit, pointer) in (0..WORD_BITS).zip(pointers) {
                // A descriptor is reserved before its file is installed.
                if bits >> bit & 1 == 1 && pointer != 0 {
                    let file = File::at(kernel, GuestVirt::new(pointer))?;
                    let cloexec = cloexec >> bit & 1 == 1;
                    fds.push(OpenFd { fd: word * WORD_BITS + bit, cloexec, file });
                }
            }
        }
        Ok(fds)
    }

    /// What a descriptor refers to; `None` for one that is not open.
    ///
    /// # Errors
    ///
    /// As [`open_fds`](Self::open_fds).
    pub fn file_of(&self, fd: u32) -> Result<Option<File<'k>>, KernelError> {
        let Some((table, _)) = self.table()?.filter(|(_, max)| fd < *max) else { return Ok(None) };
        let kernel = self.kernel();
        let [bits] = words_at(kernel, table.open_fds()?, fd / WORD_BITS)?;
        let [pointer] = words_at(kernel, table.fd()?, fd)?;
        let is_open = bits >> (fd % WORD_BITS) & 1 == 1 && pointer != 0;
        is_open.then(|| File::at(kernel, GuestVirt::new(pointer))).transpose()
    }

    /// The table and its size.
    fn table(&self) -> Result<Option<(Fdtable<'k>, u32)>, KernelError> {
        let Some(table) = self.fdt()? else { return Ok(None) };
        let max = table.max_fds()?;
        if max > MAX_FDS || !max.is_multiple_of(WORD_BITS) {
            let why = format!("max_fds is {max}");
            return Err(KernelError::Corrupt { what: "fdtable".into(), addr: table.addr(), why });
        }
        Ok(Some((table, max)))
    }
}

/// The group of `N` words at `index` in an array of such groups.
fn words_at<const N: usize>(
    kernel: &Kernel,
    base: GuestVirt,
    index: u32,
) -> Result<[u64; N], KernelError> {
    let mut bytes = [[0; 8]; N];
    let group = size_of_val(&bytes) as u64;
    kernel.read(base.wrapping_add(u64::from(index) * group), bytes.as_flattened_mut())?;
    Ok(bytes.map(u64::from_le_bytes))
}
