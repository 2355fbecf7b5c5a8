//! `remap-fpath.img` and `ghost-file-ID.img`: files that have no name any more.
//! Restore makes them beside their old place, links them to it for the moment in
//! which they are opened, and deletes them again.

use super::super::container::{ImageKind, ImageWriter};
use super::super::ids::{FileIds, FileUse};
use super::super::{EncodeError, Images, proto};
use super::reg;
use crate::snapshot::{FileTime, GhostFile, Id, Snapshot};

/// Files below this size are written as they are, others as chunks without
/// their holes: `GHOST_CHUNKS_THRESH` (`criu/files-reg.c`).
const CHUNKS_FROM: u64 = 3 * 4096;

/// The images of all deleted files, if there are any.
pub fn add_images(
    snapshot: &Snapshot,
    ids: &FileIds,
    images: &mut Images,
) -> Result<(), EncodeError> {
    let mut remaps = ImageWriter::new(ImageKind::RemapFpath);
    let mut is_empty = true;
    for (orig_id, file) in ids.iter() {
        let Some(ghost) = ghost_of(snapshot, file)? else { continue };
        remaps.record(&proto::RemapFilePathEntry {
            orig_id,
            remap_id: ghost_id(ghost),
            remap_type: Some(proto::RemapType::Ghost as i32),
        })?;
        is_empty = false;
    }
    if is_empty {
        return Ok(());
    }
    images.add(ImageKind::RemapFpath, 0, remaps.finish());
    for (id, ghost) in snapshot.ghosts.iter() {
        images.add(ImageKind::GhostFile, ghost_id(id), image(ghost)?);
    }
    Ok(())
}

/// CRIU counts them from 1.
fn ghost_id(id: Id<GhostFile>) -> u32 {
    id.index().saturating_add(1)
}

fn ghost_of(snapshot: &Snapshot, file: FileUse) -> Result<Option<Id<GhostFile>>, EncodeError> {
    let Some(path) = reg::path_of(snapshot, file)? else { return Ok(None) };
    let path = snapshot.paths.get(path).ok_or(EncodeError::Dangling("path"))?;
    Ok(path.ghost)
}

fn image(ghost: &GhostFile) -> Result<Vec<u8>, EncodeError> {
    let mut image = ImageWriter::new(ImageKind::GhostFile);
    // Behind that of a directory there is nothing: its size is 0.
    let in_chunks = ghost.size >= CHUNKS_FROM;
    image.record(&proto::GhostFileEntry {
        uid: ghost.uid,
        gid: ghost.gid,
        mode: ghost.mode,
        dev: Some(kernel_device(ghost.dev)),
        ino: Some(ghost.ino),
        rdev: None,
        atim: Some(time(ghost.atime)),
        mtim: Some(time(ghost.mtime)),
        chunks: in_chunks.then_some(true),
        size: in_chunks.then_some(ghost.size),
    })?;
    let mut at = 0;
    for chunk in &ghost.chunks {
        if in_chunks {
            let len = chunk.data.len() as u64;
            image.record(&proto::GhostChunkEntry { len, off: chunk.offset })?;
        } else {
            image.payload(&vec![0; chunk.offset.saturating_sub(at) as usize]);
        }
        image.payload(&chunk.data);
        at = chunk.offset.saturating_add(chunk.data.len() as u64);
    }
    if !in_chunks {
        image.payload(&vec![0; ghost.size.saturating_sub(at) as usize]);
    }
    Ok(image.finish())
}

/// A device number as the kernel has it (`MKKDEV()`, `criu/include/kdev.h`), of
/// one as `stat()` gives it (`new_encode_dev()`, `include/linux/kdev_t.h`).
fn kernel_device(dev: u64) -> u32 {
    let (major, minor) = (dev >> 8 & 0xfff, dev & 0xff | dev >> 12 & 0xf_ff00);
    (major << 20 | minor) as u32
}

fn time(time: FileTime) -> proto::Timeval {
    proto::Timeval {
        tv_sec: time.seconds.cast_unsigned(),
        tv_usec: u64::from(time.nanoseconds / 1000),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::criu::container::ImageReader;
    use crate::criu::sample;

    #[test]
    fn devices_are_as_in_the_kernel() {
        assert_eq!(kernel_device(0xfe01), 254 << 20 | 1);
        assert_eq!(kernel_device(0x123 << 20 | 0x456 << 8 | 0x78), 0x456 << 20 | 0x1_2378);
    }

    #[test]
    fn a_directory_has_no_content() {
        let set = sample::image_set();
        let bytes = &set["ghost-file-3.img"];
        let mut reader = ImageReader::new(ImageKind::GhostFile, Cursor::new(bytes)).expect("image");
        let entry: proto::GhostFileEntry = reader.next_record().expect("entry").expect("entry");
        assert_eq!((entry.mode, entry.chunks, entry.size), (0o40_700, None, None));
        assert_eq!(reader.skip_rest().expect("nothing"), 0);
    }
}
