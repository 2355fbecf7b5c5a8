//! Open files, the root and the working directory: one file for each kind.

mod kind;
mod lock;
mod path;

use std::collections::HashMap;

use crate::control::Target;
use crate::linux::{File, Path, Struct};
use crate::memory::GuestVirt;
use crate::snapshot::{
    Descriptor, FdTable, FileOwner, FilePath, FsContext, Id, OpenFile, OpenFileKind, Table,
};

use super::Context;
use super::error::CaptureError;
use super::obstacle::Obstacles;

/// `O_PATH` and `FASYNC` (`include/uapi/asm-generic/fcntl.h`).
const O_PATH: u32 = 0o10_000_000;
const FASYNC: u32 = 0o20_000;

/// File types in `i_mode` (`include/uapi/linux/stat.h`).
mod stat {
    pub const S_IFMT: u32 = 0o170_000;
    pub const S_IFIFO: u32 = 0o010_000;
    pub const S_IFCHR: u32 = 0o020_000;
    pub const S_IFDIR: u32 = 0o040_000;
    pub const S_IFBLK: u32 = 0o060_000;
    pub const S_IFREG: u32 = 0o100_000;
    pub const S_IFSOCK: u32 = 0o140_000;
}

/// The files of a process, each kept once.
pub(super) struct Files<'k> {
    root: Path<'k>,
    opened: HashMap<GuestVirt, Id<OpenFile>>,
    files: Table<OpenFile>,
    paths: Table<FilePath>,
}

impl<'k> Files<'k> {
    pub(super) fn new(context: &Context<'k>) -> Self {
        Self {
            root: context.root,
            opened: HashMap::new(),
            files: Table::default(),
            paths: Table::default(),
        }
    }

    pub(super) fn into_tables(self) -> (Table<OpenFile>, Table<FilePath>) {
        (self.files, self.paths)
    }

    /// The open descriptors.
    pub(super) fn descriptors(
        &mut self,
        target: &Target<'k>,
        obstacles: &mut Obstacles,
    ) -> Result<FdTable, CaptureError> {
        let missing = CaptureError::Missing { pid: target.pid(), what: "file descriptors" };
        let files = target.leader().files()?.ok_or(missing)?;
        let mut table = FdTable::default();
        for open in files.open_fds()? {
            let holder = format!("fd {}", open.fd);
            let locks = lock::holds_locks(&open.file, files.addr())?;
            obstacles.add_if(locks, format!("{holder} holds file locks"));
            if let Some(file) = self.open_file(&open.file, &holder, obstacles)? {
                table.descriptors.push(Descriptor { fd: open.fd, cloexec: open.cloexec, file });
            }
        }
        Ok(table)
    }

    /// The working directory, the root and the umask.
    pub(super) fn context(
        &mut self,
        target: &Target<'k>,
        obstacles: &mut Obstacles,
    ) -> Result<FsContext, CaptureError> {
        let missing = CaptureError::Missing { pid: target.pid(), what: "working directory" };
        let fs = target.leader().fs()?.ok_or(missing)?;
        let mut directory = |path: Path<'k>, holder| -> Result<_, CaptureError> {
            let none = Id::new(0);
            Ok(self.path(&path, holder, obstacles)?.unwrap_or(none))
        };
        Ok(FsContext {
            cwd: directory(fs.pwd()?, "its working directory")?,
            root: directory(fs.root()?, "its root directory")?,
            umask: fs.umask()?,
        })
    }

    fn open_file(
        &mut self,
        file: &File<'k>,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<Option<Id<OpenFile>>, CaptureError> {
        if let Some(&known) = self.opened.get(&file.addr()) {
            return Ok(Some(known));
        }
        if let Some(kind) = kind::without_path(file)? {
            obstacles.add(format!("{holder} is {kind}"));
            return Ok(None);
        }
        let flags = file.flags()?;
        obstacles.add_if(flags & O_PATH != 0, format!("{holder} was opened with O_PATH"));
        let signals_io = flags & FASYNC != 0 || file.fown()?.is_some();
        obstacles.add_if(signals_io, format!("{holder} signals I/O (F_SETOWN or O_ASYNC)"));
        let Some(path) = self.path(&file.path()?, holder, obstacles)? else { return Ok(None) };
        let open = OpenFile {
            flags,
            owner: FileOwner::default(),
            kind: OpenFileKind::Path { path, pos: file.pos()? },
        };
        let id = self.files.push(open);
        self.opened.insert(file.addr(), id);
        Ok(Some(id))
    }
}
