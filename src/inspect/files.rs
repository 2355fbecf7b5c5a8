//! A process's open files: `/proc/PID/fd` and `/proc/PID/fdinfo`.

use serde::Serialize;

use crate::kernel::KernelError;
use crate::linux::{OpenFd, Path, Task};

/// `O_CLOEXEC`, which a descriptor has and not its file.
const O_CLOEXEC: u32 = 0o2_000_000;

/// An open descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpenFile {
    /// Its number.
    pub fd: u32,
    /// `O_*` flags of the file, `O_CLOEXEC` where the descriptor has it.
    pub flags: u32,
    /// Offset in bytes.
    pub position: u64,
    /// Inode of the file.
    pub inode: u64,
    /// What `/proc/PID/fd/N` links to: a path, or a name such as
    /// `socket:[1234]`.
    pub name: String,
}

/// The open files of a process, ascending, with paths as seen from `root`.
pub(super) fn open_files(task: &Task<'_>, root: &Path<'_>) -> Result<Vec<OpenFile>, KernelError> {
    let Some(files) = task.files()? else { return Ok(Vec::new()) };
    files.open_fds()?.iter().map(|fd| open_file(fd, root)).collect()
}

fn open_file(fd: &OpenFd<'_>, root: &Path<'_>) -> Result<OpenFile, KernelError> {
    let file = fd.file;
    let cloexec = if fd.cloexec { O_CLOEXEC } else { 0 };
    Ok(OpenFile {
        fd: fd.fd,
        flags: file.flags()? & !O_CLOEXEC | cloexec,
        position: file.pos()?,
        inode: file.inode()?.map_or(Ok(0), |inode| inode.ino())?,
        name: String::from_utf8_lossy(&file.path()?.display(root)?).into_owned(),
    })
}
