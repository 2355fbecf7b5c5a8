//! Files that have no name any more.

use std::collections::HashMap;

use crate::criu::container::ImageKind;
use crate::criu::findings::Findings;
use crate::criu::proto::{FdTypes, RemapType};
use crate::criu::set::{GhostImage, ImageSet};
use crate::snapshot::{NamedFile, taken_directories};

/// Each record of a deleted file finds its content.
pub fn check(set: &ImageSet, findings: &mut Findings) {
    check_remaps(set, findings);
    check_contents(set, findings);
    check_directories(set, findings);
}

/// Restore compares the size of what it made with that of the record.
fn check_remaps(set: &ImageSet, findings: &mut Findings) {
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
}

fn check_contents(set: &ImageSet, findings: &mut Findings) {
    for (&id, ghost) in &set.ghosts {
        let mut found = findings.of(ImageKind::GhostFile, id, None);
        let has_size = ghost.entry.chunks != Some(true) || ghost.entry.size.is_some();
        found.require(has_size, "size", || "is absent, and there are chunks".into());
        found.require(ghost.end <= ghost.size, "off", || {
            format!("of a chunk: it ends at {}, the file at {}", ghost.end, ghost.size)
        });
    }
}

/// Restore deletes directories of that name.
fn check_directories(set: &ImageSet, findings: &mut Findings) {
    let mut found = findings.of(ImageKind::Files, 0, None);
    let ghosts = ghosts_of_files(set);
    let paths = set.files.iter().filter_map(|(id, file)| {
        let ghost = ghosts.get(id).copied();
        let image = ghost.and_then(|ghost| set.ghosts.get(&ghost));
        let is_directory = image.is_some_and(GhostImage::is_directory);
        Some(NamedFile { path: &file.reg.as_ref()?.name, ghost, is_directory })
    });
    for ghost in taken_directories(&paths.collect::<Vec<_>>()) {
        found.add("reg.name", format!("leads to the deleted directory {ghost} and elsewhere"));
    }
}

/// Numbers of deleted files by those of the records that stand for them.
fn ghosts_of_files(set: &ImageSet) -> HashMap<u32, u32> {
    let ghosts =
        set.remaps.iter().filter(|remap| remap.remap_type == Some(RemapType::Ghost as i32));
    ghosts.map(|remap| (remap.orig_id, remap.remap_id)).collect()
}
