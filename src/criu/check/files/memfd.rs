//! Shared memory.

use std::collections::HashSet;

use crate::criu::container::ImageKind;
use crate::criu::findings::{Findings, ImageFindings};
use crate::criu::proto::MemfdFileEntry;
use crate::criu::set::ImageSet;

/// The longest name that `memfd_create()` takes, in bytes (`mm/memfd.c`).
const MAX_NAME: usize = 249;
/// All seals: `F_SEAL_*` (`include/uapi/linux/fcntl.h`).
const SEALS: u32 = 0x3f;

pub fn check_file(set: &ImageSet, id: u32, file: &MemfdFileEntry, found: &mut ImageFindings<'_>) {
    found.require(file.id == id, "memfd.id", || format!("of file {id} is {}", file.id));
    let is_known = set.memories.contains_key(&file.inode_id.into());
    found.require(is_known, "memfd.inode_id", || {
        format!("{} of file {id} is not in memfd.img", file.inode_id)
    });
}

pub fn check(set: &ImageSet, findings: &mut Findings) {
    let mut found = findings.of(ImageKind::Memfd, 0, None);
    let mut shmids = HashSet::new();
    for (id, memory) in &set.memories {
        let name = &memory.name;
        found.require(name.len() <= MAX_NAME && !name.contains(&0), "name", || {
            format!("of {id} is none that memfd_create() takes: {}", name.escape_ascii())
        });
        found.require(memory.seals & !SEALS == 0, "seals", || {
            format!("of {id} are {:#x}, which are not all known", memory.seals)
        });
        found.require(shmids.insert(memory.shmid), "shmid", || {
            format!("{} of {id} is not unique", memory.shmid)
        });
    }
}
