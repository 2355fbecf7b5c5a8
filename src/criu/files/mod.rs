//! `files.img`, `fdinfo-ID.img` and the images beside them: open files and
//! descriptors. One file for each kind of open file.

mod ghost;
mod lock;
mod memfd;
mod pidfd;
mod pipe;
mod reg;

use super::container::{ImageKind, ImageWriter};
use super::ids::{FileIds, FileUse};
use super::{EncodeError, Images, proto};
use crate::snapshot::{FdTable, FileOwner, Id, OpenFile, OpenFileKind, Snapshot};

pub use lock::flag as lock_flag;

/// `FD_CLOEXEC` in `fdinfo_entry.flags`.
const CLOEXEC: u32 = 1;

/// All images of open files but those of descriptor tables.
pub fn add_images(
    snapshot: &Snapshot,
    ids: &FileIds,
    images: &mut Images,
) -> Result<(), EncodeError> {
    images.add(ImageKind::Files, 0, image(snapshot, ids)?);
    pipe::add_data(snapshot, ids, images)?;
    ghost::add_images(snapshot, ids, images)?;
    memfd::add_images(snapshot, images)?;
    lock::add(snapshot, images)
}

/// `files.img`
fn image(snapshot: &Snapshot, ids: &FileIds) -> Result<Vec<u8>, EncodeError> {
    let mut image = ImageWriter::new(ImageKind::Files);
    for (id, file) in ids.iter() {
        match file {
            // CRIU writes the path of a FIFO before the FIFO.
            FileUse::FifoPath(_) => {}
            FileUse::Open(open) => {
                let path = FileUse::FifoPath(open);
                if let Ok(path_id) = ids.get(path) {
                    image.record(&reg::record(snapshot, path_id, path)?)?;
                }
                image.record(&record(snapshot, ids, id, open)?)?;
            }
            FileUse::MappedMemory(memory) => image.record(&memfd::mapped(id, memory))?,
            file => image.record(&reg::record(snapshot, id, file)?)?,
        }
    }
    Ok(image.finish())
}

/// `fdinfo-ID.img`
pub fn fdinfo_image(
    snapshot: &Snapshot,
    table: &FdTable,
    ids: &FileIds,
) -> Result<Vec<u8>, EncodeError> {
    let mut image = ImageWriter::new(ImageKind::Fdinfo);
    for descriptor in &table.descriptors {
        image.record(&proto::FdinfoEntry {
            id: ids.get(FileUse::Open(descriptor.file))?,
            flags: if descriptor.cloexec { CLOEXEC } else { 0 },
            r#type: fd_type(open_file(snapshot, descriptor.file)?) as i32,
            fd: descriptor.fd,
        })?;
    }
    Ok(image.finish())
}

fn open_file(snapshot: &Snapshot, file: Id<OpenFile>) -> Result<&OpenFile, EncodeError> {
    snapshot.files.get(file).ok_or(EncodeError::Dangling("file"))
}

fn fd_type(file: &OpenFile) -> proto::FdTypes {
    match file.kind {
        OpenFileKind::Path { .. } => proto::FdTypes::Reg,
        OpenFileKind::Memory { .. } => proto::FdTypes::Memfd,
        OpenFileKind::Pipe { .. } => proto::FdTypes::Pipe,
        OpenFileKind::Fifo { .. } => proto::FdTypes::Fifo,
        OpenFileKind::Pidfd { .. } => proto::FdTypes::Pidfd,
    }
}

/// The record of an open file.
fn record(
    snapshot: &Snapshot,
    ids: &FileIds,
    id: u32,
    file: Id<OpenFile>,
) -> Result<proto::FileEntry, EncodeError> {
    let open = open_file(snapshot, file)?;
    let of = proto::FileEntry { r#type: fd_type(open) as i32, id, ..proto::FileEntry::default() };
    Ok(match open.kind {
        OpenFileKind::Path { .. } => reg::record(snapshot, id, FileUse::Open(file))?,
        OpenFileKind::Memory { memory, pos } => {
            let memfd = memfd::opened(id, open, memory, pos);
            proto::FileEntry { memfd: Some(memfd), ..of }
        }
        OpenFileKind::Pipe { pipe } => {
            let pipe = pipe::end(open, id, ids.pipe(pipe)?);
            proto::FileEntry { pipe: Some(pipe), ..of }
        }
        OpenFileKind::Fifo { pipe, .. } => {
            let regf_id = Some(ids.get(FileUse::FifoPath(file))?);
            let fifo = proto::FifoEntry { id, pipe_id: ids.pipe(pipe)?, regf_id };
            proto::FileEntry { fifo: Some(fifo), ..of }
        }
        OpenFileKind::Pidfd { process, ino } => {
            proto::FileEntry { pidfd: Some(pidfd::entry(open, id, process, ino)), ..of }
        }
    })
}

/// Who is told of I/O by a signal.
fn owner(owner: FileOwner) -> proto::FownEntry {
    proto::FownEntry {
        uid: owner.uid,
        euid: owner.euid,
        signum: owner.signum,
        pid_type: owner.pid_type,
        pid: owner.pid,
    }
}
