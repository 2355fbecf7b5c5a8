//! CRIU's image files: written from a [`Snapshot`], read back and checked.
//!
//! Images are in the vocabulary of CRIU 4.1 where 3.17.1 and 4.2 read it too:
//! what one of them does not know it ignores, and the page count is in the
//! field that all of them read.

mod budget;
mod cgroup;
mod check;
mod container;
mod core;
mod cpuinfo;
mod files;
mod findings;
mod fs;
mod ids;
mod inventory;
mod mm;
mod pagemap;
mod pstree;
mod registers;
#[cfg(test)]
mod sample;
mod seccomp;
mod set;
mod store;
mod timens;
mod timers;
mod version;
mod vma;

use std::collections::{BTreeMap, HashSet};

use thiserror::Error;

pub use cgroup::{AS_IT_IS, SUBTREE_CONTROL};
pub use check::{CheckError, CheckOptions, check};
pub use container::{
    ImageKind, ImageReader, ImageWriter, MAX_RECORD, ReadError, RecordTooLong, Records,
    is_pages_file, pages_file_name,
};
pub use cpuinfo::instructions;
pub use findings::Violation;
use ids::FileIds;
pub use set::{GhostImage, ImageSet, ProcessImages};
pub use store::{ImageContent, ImageDirectory, ImageStore};
pub use version::{CriuVersion, Need, NoVersion};

use crate::snapshot::{Id, Mm, PAGE_SIZE, Process, SharedMemory, Snapshot};

/// Messages of the records in images, one for each in `proto/criu/`.
///
/// Where `restore` demands a field that these types hold as optional, the
/// check of a finished set says so; a `required` field is always written.
#[allow(missing_docs)]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/criu.rs"));
}

/// A finished image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    /// File name.
    pub name: String,
    /// Content.
    pub bytes: Vec<u8>,
}

/// A pages file that is still to be written: the pages of one thing, in order,
/// and nothing else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PagesFile {
    /// File name.
    pub name: String,
    /// Whose pages.
    pub owner: PagesOwner,
    /// Size in bytes.
    pub size: u64,
}

/// What pages belong to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PagesOwner {
    /// An address space: [`Mm::pages`].
    Mm(Id<Mm>),
    /// Shared memory: [`SharedMemory::pages`].
    Memory(Id<SharedMemory>),
}

/// Why a snapshot has no images.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum EncodeError {
    /// A reference leads nowhere, which is a mistake of whoever made the
    /// snapshot.
    #[error("snapshot refers to a {0} that it does not hold")]
    Dangling(&'static str),
    /// Something is too large for a record.
    #[error(transparent)]
    TooLong(#[from] RecordTooLong),
}

/// All images of a snapshot but the pages files. The inventory is the last:
/// without it no `restore` takes a set for complete.
///
/// # Errors
/// See [`EncodeError`]; a snapshot that capture made has none of these.
pub fn images(snapshot: &Snapshot) -> Result<Vec<Image>, EncodeError> {
    let files = FileIds::assign(snapshot);
    let mut images = Images::default();
    images.add(ImageKind::Pstree, 0, pstree::image(snapshot)?);
    files::add_images(snapshot, &files, &mut images)?;
    let filters = seccomp::Filters::of(snapshot)?;
    images.add(ImageKind::Seccomp, 0, filters.image()?);
    if let Some(cgroups) = cgroup::image(snapshot)? {
        images.add(ImageKind::Cgroup, 0, cgroups);
    }
    images.add(ImageKind::Cpuinfo, 0, cpuinfo::image(&snapshot.cpu)?);
    let timens = timens::INITIAL_NAMESPACE;
    images.add(ImageKind::Timens, timens, timens::image(snapshot.clocks)?);
    let mut tables = HashSet::new();
    for process in &snapshot.processes {
        process_images(snapshot, process, &files, &filters, &mut images)?;
        if tables.insert(process.files) {
            let table = snapshot.fd_tables.get(process.files);
            let table = table.ok_or(EncodeError::Dangling("descriptor table"))?;
            let image = files::fdinfo_image(snapshot, table, &files)?;
            images.add(ImageKind::Fdinfo, ids::object_id(process.files), image);
        }
    }
    for zombie in &snapshot.zombies {
        images.add(ImageKind::Core, zombie.pid, core::zombie_image(zombie)?);
    }
    images.add(ImageKind::Inventory, 0, inventory::image(snapshot)?);
    Ok(images.0)
}

fn process_images(
    snapshot: &Snapshot,
    process: &Process,
    files: &FileIds,
    filters: &seccomp::Filters,
    images: &mut Images,
) -> Result<(), EncodeError> {
    let pid = process.pid;
    let mm = snapshot.mms.get(process.mm).ok_or(EncodeError::Dangling("mm"))?;
    images.add(ImageKind::Ids, pid, ids::image(process)?);
    for thread in &process.threads {
        images.add(ImageKind::Core, thread.tid, core::image(snapshot, process, thread, filters)?);
    }
    images.add(ImageKind::Mm, pid, mm::image(mm, files)?);
    let pagemap = pagemap::of_mm(mm, pages_id::of_mm(process.mm), files)?;
    images.add(ImageKind::Pagemap, pid, pagemap);
    images.add(ImageKind::Fs, pid, fs::image(snapshot, process.fs, files)?);
    Ok(())
}

/// What a snapshot has that needs a later version of CRIU than the oldest.
///
/// # Errors
/// As [`images`].
pub fn needs(snapshot: &Snapshot) -> Result<Vec<Need>, EncodeError> {
    let images = images(snapshot)?.into_iter().map(|image| (image.name, image.bytes));
    Ok(ImageSet::decoded(&images.collect::<BTreeMap<_, _>>()).needs())
}

/// The pages files that belong to the images of a snapshot.
pub fn pages_files(snapshot: &Snapshot) -> Vec<PagesFile> {
    let file = |pages_id, owner, pages: u64| PagesFile {
        name: pages_file_name(pages_id),
        owner,
        size: pages.saturating_mul(PAGE_SIZE),
    };
    let mms = snapshot
        .mms
        .iter()
        .map(|(id, mm)| file(pages_id::of_mm(id), PagesOwner::Mm(id), mm.page_count()));
    let memories = snapshot.memories.iter().map(|(id, memory)| {
        let pages_id = pages_id::of_memory(snapshot, id);
        file(pages_id, PagesOwner::Memory(id), memory.page_count())
    });
    mms.chain(memories).collect()
}

/// Numbers of pages files, from 1: of address spaces, then of shared memory.
mod pages_id {
    use super::{Id, Mm, SharedMemory, Snapshot};

    pub fn of_mm(mm: Id<Mm>) -> u32 {
        mm.index().saturating_add(1)
    }

    pub fn of_memory(snapshot: &Snapshot, memory: Id<SharedMemory>) -> u32 {
        let before = snapshot.mms.len() as u32;
        before.saturating_add(memory.index()).saturating_add(1)
    }
}

#[derive(Default)]
struct Images(Vec<Image>);

impl Images {
    fn add(&mut self, kind: ImageKind, id: u32, bytes: Vec<u8>) {
        self.0.push(Image { name: kind.file_name(id), bytes });
    }
}
