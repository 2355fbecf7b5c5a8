//! Files that have no name any more.

use super::super::Findings;
use crate::criu::container::ImageKind;
use crate::criu::proto::{FdTypes, RemapType};
use crate::criu::set::ImageSet;

/// Each record of a deleted file finds its content. Restore compares the size
/// of what it made with that of the record.
pub fn check(set: &ImageSet, findings: &mut Findings) {
    for remap in &set.remaps {
        let mut found = findings.of(ImageKind::RemapFpath, 0, None);
        let id = remap.orig_id;
        let file = set.files.get(&id).filter(|file| file.r#type == FdTypes::Reg as i32);
        let Some(reg) = file.and_then(|file| file.reg.as_ref()) else {
            found.add("orig_id", format!("{id} is no path in files.img"));
            continue;
        };
        if remap.remap_type != Some(RemapType::Ghost as i32) {
            continue;
        }
        let Some(ghost) = set.ghosts.get(&remap.remap_id) else {
            // What is wrong with the image was told when it was read.
            continue;
        };
        let mut found = findings.of(ImageKind::GhostFile, remap.remap_id, None);
        found.require(reg.size.is_none_or(|size| size == ghost.size), "size", || {
            format!("is {}, that of file {id} is {:?}", ghost.size, reg.size)
        });
        found.require(reg.mode.is_none_or(|mode| mode == ghost.entry.mode), "mode", || {
            format!("is {:o}, that of file {id} is {:o}", ghost.entry.mode, reg.mode.unwrap_or(0))
        });
    }
    for (&id, ghost) in &set.ghosts {
        let mut found = findings.of(ImageKind::GhostFile, id, None);
        let has_size = ghost.entry.chunks != Some(true) || ghost.entry.size.is_some();
        found.require(has_size, "size", || "is absent, and there are chunks".into());
        found.require(ghost.end <= ghost.size, "off", || {
            format!("of a chunk: it ends at {}, the file at {}", ghost.end, ghost.size)
        });
    }
}
