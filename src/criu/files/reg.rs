//! Files that restore opens by their path.

use super::super::ids::FileUse;
use super::super::{EncodeError, proto};
use super::{open_file, owner};
use crate::snapshot::{FilePath, Id, OpenFileKind, Snapshot};

/// The record of a file that is mapped, open or a directory of a process.
pub fn record(
    snapshot: &Snapshot,
    id: u32,
    file: FileUse,
) -> Result<proto::FileEntry, EncodeError> {
    let fs_context = |id| snapshot.fs_contexts.get(id).ok_or(EncodeError::Dangling("fs"));
    let reg = match file {
        FileUse::Mapped(path) => by_path(snapshot, id, path)?,
        FileUse::Cwd(fs) => by_path(snapshot, id, fs_context(fs)?.cwd)?,
        FileUse::Root(fs) => by_path(snapshot, id, fs_context(fs)?.root)?,
        FileUse::Open(file) | FileUse::FifoPath(file) => {
            let file = open_file(snapshot, file)?;
            let (path, pos) = match file.kind {
                OpenFileKind::Path { path, pos } => (path, pos),
                OpenFileKind::Fifo { path, .. } => (path, 0),
                OpenFileKind::Pipe { .. } => return Err(EncodeError::Dangling("path")),
            };
            let fown = owner(file.owner);
            proto::RegFileEntry { flags: file.flags, pos, fown, ..by_path(snapshot, id, path)? }
        }
    };
    let of = proto::FileEntry { r#type: proto::FdTypes::Reg as i32, id, ..Default::default() };
    Ok(proto::FileEntry { reg: Some(reg), ..of })
}

/// A record that says by which path to open the file, read-only from its
/// beginning, and what it must be: restore compares mode and, of a regular
/// file, size with what it finds, as it does for CRIU's own images.
fn by_path(
    snapshot: &Snapshot,
    id: u32,
    path: Id<FilePath>,
) -> Result<proto::RegFileEntry, EncodeError> {
    let file = snapshot.paths.get(path).ok_or(EncodeError::Dangling("path"))?;
    Ok(proto::RegFileEntry {
        id,
        name: file.path.as_bytes().to_vec(),
        size: file.is_regular().then_some(file.size),
        mode: Some(file.mode),
        ..proto::RegFileEntry::default()
    })
}
