//! `fs-PID.img`: root, working directory and umask.

use super::EncodeError;
use super::container::{ImageKind, ImageWriter};
use super::ids::{FileIds, FileUse};
use super::proto;
use crate::snapshot::{FsContext, Id, Snapshot};

/// `fs-PID.img`
pub fn image(
    snapshot: &Snapshot,
    id: Id<FsContext>,
    files: &FileIds,
) -> Result<Vec<u8>, EncodeError> {
    let fs = snapshot.fs_contexts.get(id).ok_or(EncodeError::Dangling("fs"))?;
    let mut image = ImageWriter::new(ImageKind::Fs);
    image.record(&proto::FsEntry {
        cwd_id: files.get(FileUse::Cwd(id))?,
        root_id: files.get(FileUse::Root(id))?,
        umask: Some(fs.umask),
    })?;
    Ok(image.finish())
}
