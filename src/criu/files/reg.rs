//! Files that restore opens by their path.

use super::super::ids::FileUse;
use super::super::{EncodeError, proto};
use super::{open_file, owner};
use crate::snapshot::{FilePath, Id, OpenFileKind, Snapshot};

/// `O_*` (`include/uapi/asm-generic/fcntl.h`).
const O_ACCMODE: u32 = 0o3;
const O_WRONLY: u32 = 0o1;
const O_APPEND: u32 = 0o2000;

/// The record of a file that is mapped, open or a directory of a process.
pub fn record(
    snapshot: &Snapshot,
    id: u32,
    file: FileUse,
) -> Result<proto::FileEntry, EncodeError> {
    let path = path_of(snapshot, file)?.ok_or(EncodeError::Dangling("path"))?;
    let mut reg = by_path(snapshot, id, path)?;
    if let FileUse::Open(file) | FileUse::PathOf(file) = file {
        let file = open_file(snapshot, file)?;
        reg.flags = file.flags;
        reg.fown = owner(file.owner);
        if let OpenFileKind::Path { pos, .. } = file.kind {
            reg.pos = pos;
        }
        // A log may have grown by then (`should_check_size()`,
        // `criu/files-reg.c`).
        if file.flags & (O_ACCMODE | O_APPEND) == O_WRONLY | O_APPEND {
            reg.size = None;
        }
    }
    let of = proto::FileEntry { r#type: proto::FdTypes::Reg as i32, id, ..Default::default() };
    Ok(proto::FileEntry { reg: Some(reg), ..of })
}

/// The path that a record is of; `None` for an open file that has none, and for
/// a FIFO or terminal, whose path has a record of its own.
pub fn path_of(snapshot: &Snapshot, file: FileUse) -> Result<Option<Id<FilePath>>, EncodeError> {
    let fs_context = |id| snapshot.fs_contexts.get(id).ok_or(EncodeError::Dangling("fs"));
    Ok(match file {
        FileUse::Mapped(path) => Some(path),
        FileUse::MappedMemory(_) => None,
        FileUse::Cwd(fs) => Some(fs_context(fs)?.cwd),
        FileUse::Root(fs) => Some(fs_context(fs)?.root),
        FileUse::Open(file) => match open_file(snapshot, file)?.kind {
            OpenFileKind::Path { path, .. } => Some(path),
            _ => None,
        },
        FileUse::PathOf(file) => match open_file(snapshot, file)?.kind {
            OpenFileKind::Fifo { path, .. } | OpenFileKind::Terminal { path, .. } => Some(path),
            _ => None,
        },
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::criu::sample;

    #[test]
    fn the_size_of_a_log_is_not_compared() {
        let mut snapshot = sample::snapshot();
        let path = snapshot.processes.first().map(|process| process.mm).expect("a process");
        let path = snapshot.mms.get(path).expect("an mm").exe;
        for (flags, size) in [(O_APPEND, true), (O_WRONLY, true), (O_WRONLY | O_APPEND, false)] {
            let (owner, kind) = (Default::default(), OpenFileKind::Path { path, pos: 0 });
            let file = snapshot.files.push(crate::snapshot::OpenFile { flags, owner, kind });
            let record = record(&snapshot, 1, FileUse::Open(file)).expect("a record");
            assert_eq!(record.reg.expect("reg").size.is_some(), size, "{flags:#o}");
        }
    }
}
