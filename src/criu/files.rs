//! `files.img` and `fdinfo-ID.img`: open files and descriptors.

use super::EncodeError;
use super::container::{ImageKind, ImageWriter};
use super::ids::{FileIds, FileUse};
use super::proto;
use crate::snapshot::{FdTable, FileOwner, FilePath, Id, OpenFileKind, Snapshot};

/// `FD_CLOEXEC` in `fdinfo_entry.flags`.
const CLOEXEC: u32 = 1;

/// `files.img`
pub fn image(snapshot: &Snapshot, ids: &FileIds) -> Result<Vec<u8>, EncodeError> {
    let mut image = ImageWriter::new(ImageKind::Files);
    for (id, file) in ids.iter() {
        image.record(&proto::FileEntry {
            r#type: proto::FdTypes::Reg as i32,
            id,
            reg: Some(reg_file(snapshot, id, file)?),
        })?;
    }
    Ok(image.finish())
}

/// `fdinfo-ID.img`
pub fn fdinfo_image(table: &FdTable, ids: &FileIds) -> Result<Vec<u8>, EncodeError> {
    let mut image = ImageWriter::new(ImageKind::Fdinfo);
    for descriptor in &table.descriptors {
        image.record(&proto::FdinfoEntry {
            id: ids.get(FileUse::Open(descriptor.file))?,
            flags: if descriptor.cloexec { CLOEXEC } else { 0 },
            r#type: proto::FdTypes::Reg as i32,
            fd: descriptor.fd,
        })?;
    }
    Ok(image.finish())
}

fn reg_file(
    snapshot: &Snapshot,
    id: u32,
    file: FileUse,
) -> Result<proto::RegFileEntry, EncodeError> {
    let fs_context = |id| snapshot.fs_contexts.get(id).ok_or(EncodeError::Dangling("fs"));
    match file {
        FileUse::Mapped(path) => by_path(snapshot, id, path),
        FileUse::Cwd(fs) => by_path(snapshot, id, fs_context(fs)?.cwd),
        FileUse::Root(fs) => by_path(snapshot, id, fs_context(fs)?.root),
        FileUse::Open(file) => {
            let file = snapshot.files.get(file).ok_or(EncodeError::Dangling("file"))?;
            let OpenFileKind::Path { path, pos } = file.kind;
            Ok(proto::RegFileEntry {
                flags: file.flags,
                pos,
                fown: owner(file.owner),
                ..by_path(snapshot, id, path)?
            })
        }
    }
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

fn owner(owner: FileOwner) -> proto::FownEntry {
    proto::FownEntry {
        uid: owner.uid,
        euid: owner.euid,
        signum: owner.signum,
        pid_type: owner.pid_type,
        pid: owner.pid,
    }
}
