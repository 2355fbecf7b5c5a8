//! `cgroup.img`: the cgroups that processes are in, and what is set for them.
//!
//! Restore makes the cgroups that are not there, moves processes into them as it
//! forks, and writes to their files when all is restored and nothing runs yet
//! (`criu/cgroup.c`), whatever files the image names. Its own dump names few of
//! version 2.

use std::collections::HashMap;

use super::container::{ImageKind, ImageWriter};
use super::{EncodeError, proto};
use crate::snapshot::{Cgroup, CgroupHierarchy, CgroupSet, Id, Snapshot};

/// The file that gives cgroups of version 2 their controllers.
pub const SUBTREE_CONTROL: &str = "cgroup.subtree_control";
/// Stands before a name that restore would take for another. What has the names
/// of `cpuset` it writes as soon as the directory is there, as version 1 asks for,
/// and version 2 has no such files then (`restore_special_props()`). Of
/// `cgroup.subtree_control` CRIU 4 takes names of controllers, and CRIU 3 what the
/// kernel does.
pub const AS_IT_IS: &str = "./";

/// The number that stands for the cgroups of whoever restores, which are the root:
/// CRIU gives it to its own. 0 stands for none.
pub const ROOT_SET: u32 = 1;

/// The number of a set.
pub fn set_id(id: Id<CgroupSet>) -> u32 {
    id.index().saturating_add(ROOT_SET + 1)
}

/// `cgroup.img`; `None` where all processes are in the root.
pub fn image(snapshot: &Snapshot) -> Result<Option<Vec<u8>>, EncodeError> {
    if snapshot.cgroup_hierarchies.is_empty() {
        return Ok(None);
    }
    let hierarchies = &snapshot.cgroup_hierarchies;
    let mut image = ImageWriter::new(ImageKind::Cgroup);
    image.record(&proto::CgroupEntry {
        sets: snapshot.cgroup_sets.iter().map(|(id, set)| members(hierarchies, id, set)).collect(),
        controllers: hierarchies.iter().map(controller).collect(),
    })?;
    Ok(Some(image.finish()))
}

fn members(
    hierarchies: &[CgroupHierarchy],
    id: Id<CgroupSet>,
    set: &CgroupSet,
) -> proto::CgSetEntry {
    let member = |(hierarchy, path): (&CgroupHierarchy, _)| proto::CgMemberEntry {
        name: hierarchy.name.clone(),
        path,
        cgns_prefix: None,
    };
    let paths = set.paths.iter().map(|path| path.as_bytes().to_vec());
    proto::CgSetEntry { id: set_id(id), ctls: hierarchies.iter().zip(paths).map(member).collect() }
}

fn controller(hierarchy: &CgroupHierarchy) -> proto::CgControllerEntry {
    proto::CgControllerEntry {
        cnames: hierarchy.name.split(',').map(str::to_owned).collect(),
        // Its name is empty, and restore leaves it as it is.
        dirs: dirs(hierarchy),
        is_threaded: Some(false),
    }
}

/// Cgroups by the path of the one above them.
type Below<'a> = HashMap<Option<&'a [u8]>, Vec<&'a Cgroup>>;

/// The root's directory, with all others in it.
fn dirs(hierarchy: &CgroupHierarchy) -> Vec<proto::CgroupDirEntry> {
    let mut below = Below::new();
    for cgroup in &hierarchy.cgroups {
        below.entry(above(cgroup.path.as_bytes())).or_default().push(cgroup);
    }
    below.get(&None).into_iter().flatten().map(|root| dir(hierarchy, root, &below)).collect()
}

fn dir(hierarchy: &CgroupHierarchy, cgroup: &Cgroup, below: &Below<'_>) -> proto::CgroupDirEntry {
    let path = cgroup.path.as_bytes();
    let is_root = path == b"/";
    let children = below.get(&Some(path)).into_iter().flatten();
    let Cgroup { mode, uid, gid, .. } = *cgroup;
    proto::CgroupDirEntry {
        dir_name: path.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec(),
        children: children.map(|cgroup| dir(hierarchy, cgroup, below)).collect(),
        properties: properties(hierarchy, cgroup),
        dir_perms: (!is_root).then_some(proto::CgroupPerms { mode, uid, gid }),
    }
}

/// The path of the cgroup above another one.
fn above(path: &[u8]) -> Option<&[u8]> {
    let end = path.iter().rposition(|byte| *byte == b'/')?;
    match (end, path.len()) {
        (0, 1) => None,
        (0, _) => Some(b"/"),
        _ => Some(&path[..end]),
    }
}

fn properties(hierarchy: &CgroupHierarchy, cgroup: &Cgroup) -> Vec<proto::CgroupPropEntry> {
    let property =
        |name: String, value: String| proto::CgroupPropEntry { name, value, perms: None };
    let enabled: Vec<String> =
        cgroup.subtree_control.iter().map(|controller| format!("+{controller}")).collect();
    let mut properties = Vec::new();
    if !enabled.is_empty() {
        properties.push(property(format!("{AS_IT_IS}{SUBTREE_CONTROL}"), enabled.join(" ")));
    }
    for parameter in &cgroup.parameters {
        let early = hierarchy.is_unified() && parameter.name.starts_with("cpuset.");
        let before = if early { AS_IT_IS } else { "" };
        properties.push(property(format!("{before}{}", parameter.name), parameter.value.clone()));
    }
    properties
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::criu::sample;
    use crate::criu::set::ImageSet;

    #[test]
    fn cgroups_stand_below_each_other() {
        let set = sample::image_set_of(&sample::with_cgroups());
        let set = ImageSet::decoded(&set);
        let entry = set.cgroup.expect("cgroups");
        let told = |dir: &proto::CgroupDirEntry| {
            let properties = dir.properties.iter();
            let told = properties.map(|property| format!("{}={}", property.name, property.value));
            (String::from_utf8_lossy(&dir.dir_name).into_owned(), told.collect::<Vec<_>>())
        };
        let root = &entry.controllers[0].dirs[0];
        assert_eq!(told(root), (String::new(), vec!["./cgroup.subtree_control=+cpuset".into()]));
        assert_eq!(root.dir_perms, None);
        let group = &root.children[0];
        assert_eq!(told(group).1, ["./cpuset.cpus=0-1", "pids.max=7"]);
        assert_eq!(told(&group.children[0]).0, "below");
        assert_eq!(entry.sets[0].ctls[0].path, b"/group/below");
        assert_eq!(entry.sets[0].id, 2);
    }

    #[test]
    fn what_is_in_the_root_has_no_image() {
        assert_eq!(image(&sample::snapshot()), Ok(None));
    }
}
