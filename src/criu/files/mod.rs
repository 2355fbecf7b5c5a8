//! `files.img`, `fdinfo-ID.img` and the images beside them: open files and
//! descriptors. One file for each kind of open file.

mod event;
mod ghost;
mod lock;
mod memfd;
mod pidfd;
mod pipe;
mod reg;
mod socket;
mod tty;
mod watched;

use super::container::{ImageKind, ImageWriter};
use super::ids::{FileIds, FileUse};
use super::{EncodeError, Images, proto};
use crate::snapshot::{FdTable, FileOwner, Id, OpenFile, OpenFileKind, Snapshot};

pub use lock::flag as lock_flag;
pub use socket::SCM_RIGHTS;

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
    socket::add_queues(snapshot, ids, images)?;
    tty::add_images(snapshot, images)?;
    lock::add(snapshot, images)
}

/// `files.img`
fn image(snapshot: &Snapshot, ids: &FileIds) -> Result<Vec<u8>, EncodeError> {
    let mut image = ImageWriter::new(ImageKind::Files);
    let mut files: Vec<_> = ids.iter().collect();
    files.sort_by_key(|(_, file)| match file {
        FileUse::Open(open) => {
            snapshot.files.get(*open).map_or(0, |open| socket::place(snapshot, open))
        }
        _ => 0,
    });
    for (id, file) in files {
        match file {
            // CRIU writes the path of a FIFO or terminal before these.
            FileUse::PathOf(_) => {}
            FileUse::Open(open) => {
                let path = FileUse::PathOf(open);
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
            r#type: fd_type(snapshot, open_file(snapshot, descriptor.file)?)? as i32,
            fd: descriptor.fd,
        })?;
    }
    Ok(image.finish())
}

fn open_file(snapshot: &Snapshot, file: Id<OpenFile>) -> Result<&OpenFile, EncodeError> {
    snapshot.files.get(file).ok_or(EncodeError::Dangling("file"))
}

fn fd_type(snapshot: &Snapshot, file: &OpenFile) -> Result<proto::FdTypes, EncodeError> {
    Ok(match file.kind {
        OpenFileKind::Path { .. } => proto::FdTypes::Reg,
        OpenFileKind::Memory { .. } => proto::FdTypes::Memfd,
        OpenFileKind::Pipe { .. } => proto::FdTypes::Pipe,
        OpenFileKind::Fifo { .. } => proto::FdTypes::Fifo,
        OpenFileKind::Terminal { .. } => proto::FdTypes::Tty,
        OpenFileKind::Pidfd { .. } => proto::FdTypes::Pidfd,
        OpenFileKind::Socket { socket } => socket::fd_type(snapshot, socket)?,
        OpenFileKind::Eventfd { .. } => proto::FdTypes::Eventfd,
        OpenFileKind::Signalfd { .. } => proto::FdTypes::Signalfd,
        OpenFileKind::Timerfd { .. } => proto::FdTypes::Timerfd,
        OpenFileKind::Epoll { .. } => proto::FdTypes::Eventpoll,
        OpenFileKind::Inotify { .. } => proto::FdTypes::Inotify,
        OpenFileKind::Fanotify { .. } => proto::FdTypes::Fanotify,
    })
}

/// The record of an open file.
fn record(
    snapshot: &Snapshot,
    ids: &FileIds,
    id: u32,
    file: Id<OpenFile>,
) -> Result<proto::FileEntry, EncodeError> {
    let open = open_file(snapshot, file)?;
    let r#type = fd_type(snapshot, open)? as i32;
    let of = proto::FileEntry { r#type, id, ..proto::FileEntry::default() };
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
            let regf_id = Some(ids.get(FileUse::PathOf(file))?);
            let fifo = proto::FifoEntry { id, pipe_id: ids.pipe(pipe)?, regf_id };
            proto::FileEntry { fifo: Some(fifo), ..of }
        }
        OpenFileKind::Terminal { terminal, .. } => {
            let regf_id = ids.get(FileUse::PathOf(file))?;
            let tty = tty::opened(snapshot, id, open, terminal, regf_id)?;
            proto::FileEntry { tty: Some(tty), ..of }
        }
        OpenFileKind::Pidfd { process, ino } => {
            proto::FileEntry { pidfd: Some(pidfd::entry(open, id, process, ino)), ..of }
        }
        OpenFileKind::Socket { socket } => socket::record(snapshot, ids, id, file, socket)?,
        OpenFileKind::Eventfd { count } => {
            proto::FileEntry { efd: Some(event::eventfd(open, id, count)), ..of }
        }
        OpenFileKind::Signalfd { mask } => {
            proto::FileEntry { sgfd: Some(event::signalfd(open, id, mask)), ..of }
        }
        OpenFileKind::Timerfd { ref timer } => {
            proto::FileEntry { tfd: Some(event::timerfd(open, id, timer)), ..of }
        }
        OpenFileKind::Epoll { ref targets } => {
            proto::FileEntry { epfd: Some(event::epoll(open, id, targets)), ..of }
        }
        OpenFileKind::Inotify { ref watches } => {
            let ify = watched::inotify(snapshot, open, id, watches)?;
            proto::FileEntry { ify: Some(ify), ..of }
        }
        OpenFileKind::Fanotify { group, ref marks } => {
            let ffy = watched::fanotify(snapshot, open, id, group, marks)?;
            proto::FileEntry { ffy: Some(ffy), ..of }
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
