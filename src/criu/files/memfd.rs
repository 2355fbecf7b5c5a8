//! Memory that processes share: files of type MEMFD, `memfd.img` and
//! `pagemap-shmem-ID.img`. CRIU writes shared anonymous memory as such files,
//! too, and restores it by `memfd_create()`.

use super::super::container::{ImageKind, ImageWriter};
use super::super::vma::huge_page_size;
use super::super::{EncodeError, Images, pagemap, pages_id, proto};
use super::owner;
use crate::snapshot::{FileOwner, Id, OpenFile, SharedMemory, Snapshot};

const O_RDWR: u32 = 2;
/// `include/uapi/linux/memfd.h`
const MFD_HUGETLB: u32 = 4;

/// What is open of some memory.
pub fn opened(
    id: u32,
    file: &OpenFile,
    memory: Id<SharedMemory>,
    pos: u64,
) -> proto::MemfdFileEntry {
    let fown = owner(file.owner);
    proto::MemfdFileEntry { id, flags: file.flags, pos, fown, inode_id: number(memory) }
}

/// The record of memory that is mapped. An area says itself how it is opened.
pub fn mapped(id: u32, memory: Id<SharedMemory>) -> proto::FileEntry {
    let memfd = proto::MemfdFileEntry {
        id,
        flags: O_RDWR,
        pos: 0,
        fown: owner(FileOwner::default()),
        inode_id: number(memory),
    };
    proto::FileEntry {
        r#type: proto::FdTypes::Memfd as i32,
        id,
        memfd: Some(memfd),
        ..proto::FileEntry::default()
    }
}

/// The images of all shared memory, if there is any.
pub fn add_images(snapshot: &Snapshot, images: &mut Images) -> Result<(), EncodeError> {
    if snapshot.memories.is_empty() {
        return Ok(());
    }
    let mut inodes = ImageWriter::new(ImageKind::Memfd);
    for (id, memory) in snapshot.memories.iter() {
        inodes.record(&inode(id, memory))?;
        // Restore reads it unless there is nothing to be read.
        if memory.size > 0 {
            let pages_id = pages_id::of_memory(snapshot, id);
            let pagemap = pagemap::of_memory(memory, pages_id)?;
            images.add(ImageKind::PagemapShmem, number(id), pagemap);
        }
    }
    images.add(ImageKind::Memfd, 0, inodes.finish());
    Ok(())
}

fn inode(id: Id<SharedMemory>, memory: &SharedMemory) -> proto::MemfdInodeEntry {
    proto::MemfdInodeEntry {
        name: memory.name.as_bytes().to_vec(),
        uid: memory.uid,
        gid: memory.gid,
        size: memory.size,
        shmid: number(id),
        seals: memory.seals,
        inode_id: number(id).into(),
        hugetlb_flag: memory.huge_page_bits.map(|bits| MFD_HUGETLB | huge_page_size(bits)),
        mode: Some(memory.mode),
    }
}

/// The number of the inode, and of its pagemap.
fn number(id: Id<SharedMemory>) -> u32 {
    id.index().saturating_add(1)
}
