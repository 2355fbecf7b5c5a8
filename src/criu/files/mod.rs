//! `files.img` and `fdinfo-ID.img`: open files and descriptors.

mod reg;

use super::EncodeError;
use super::container::{ImageKind, ImageWriter};
use super::ids::{FileIds, FileUse};
use super::proto;
use crate::snapshot::{FdTable, FileOwner, Snapshot};

/// `FD_CLOEXEC` in `fdinfo_entry.flags`.
const CLOEXEC: u32 = 1;

/// `files.img`
pub fn image(snapshot: &Snapshot, ids: &FileIds) -> Result<Vec<u8>, EncodeError> {
    let mut image = ImageWriter::new(ImageKind::Files);
    for (id, file) in ids.iter() {
        image.record(&proto::FileEntry {
            r#type: proto::FdTypes::Reg as i32,
            id,
            reg: Some(reg::record(snapshot, id, file)?),
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
