//! Pipes and FIFOs, and `pipes-data.img` and `fifo-data.img`.

use std::collections::HashSet;

use super::super::container::{ImageKind, ImageWriter};
use super::super::ids::FileIds;
use super::super::{EncodeError, Images, proto};
use super::owner;
use crate::snapshot::{Id, OpenFile, OpenFileKind, Pipe, Snapshot};

const O_WRONLY: u32 = 1;

/// An end of a pipe.
pub fn end(file: &OpenFile, id: u32, pipe_id: u32) -> proto::PipeEntry {
    proto::PipeEntry { id, pipe_id, flags: file.flags, fown: owner(file.owner) }
}

/// What a pipe can hold that nobody has given another size
/// (`PIPE_DEF_BUFFERS`, `include/linux/pipe_fs_i.h`).
const DEFAULT_CAPACITY: u32 = 16 * 4096;

/// What pipes and FIFOs hold. CRIU has an image for each of both, with all that
/// are open for reading, empty ones too: their size is there.
pub fn add_data(
    snapshot: &Snapshot,
    ids: &FileIds,
    images: &mut Images,
) -> Result<(), EncodeError> {
    let with_end = |wanted: fn(&OpenFile) -> Option<Id<Pipe>>| -> HashSet<Id<Pipe>> {
        snapshot.files.iter().filter_map(|(_, file)| wanted(file)).collect()
    };
    let fifos = with_end(|file| match file.kind {
        OpenFileKind::Fifo { pipe, .. } => Some(pipe),
        _ => None,
    });
    let readable = with_end(|file| match file.kind {
        OpenFileKind::Pipe { pipe } | OpenFileKind::Fifo { pipe, .. } => {
            (file.flags & O_WRONLY == 0).then_some(pipe)
        }
        _ => None,
    });
    for (kind, of_fifos) in [(ImageKind::PipesData, false), (ImageKind::FifoData, true)] {
        let mut image = ImageWriter::new(kind);
        let mut is_empty = true;
        for (id, pipe) in snapshot.pipes.iter().filter(|(id, _)| fifos.contains(id) == of_fifos) {
            let is_new = pipe.data.is_empty() && pipe.capacity == DEFAULT_CAPACITY;
            if is_new && !readable.contains(&id) {
                continue;
            }
            image.record(&proto::PipeDataEntry {
                pipe_id: ids.pipe(id)?,
                bytes: pipe.data.len() as u32,
                size: Some(pipe.capacity),
            })?;
            image.payload(&pipe.data);
            is_empty = false;
        }
        if !is_empty {
            images.add(kind, 0, image.finish());
        }
    }
    Ok(())
}
