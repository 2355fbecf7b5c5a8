//! `cgroup.img`

use std::collections::HashSet;

use crate::criu::cgroup::{AS_IT_IS, ROOT_SET};
use crate::criu::container::ImageKind;
use crate::criu::findings::{Findings, ImageFindings};
use crate::criu::proto::{CgMemberEntry, CgroupDirEntry, CgroupEntry};
use crate::criu::set::{ImageSet, ProcessImages};

/// The longest path of a cgroup. Restore puts it behind others in `PATH_MAX` bytes
/// without looking at how many there are (`prepare_cgroup_dirs()`,
/// `criu/cgroup.c`).
const LONGEST_PATH: usize = 3072;
/// The longest value: a page, of which the kernel takes no more at once.
const LONGEST_VALUE: usize = 4096;

/// The longest list of controllers: of all that a kernel may have
/// (`CGROUP_SUBSYS_COUNT`, 16 at most), each of `MAX_CGROUP_TYPE_NAMELEN` bytes.
const LONGEST_NAMES: usize = 16 * 32;
/// How many cgroups there may be: restore has to look at each of them in the guest,
/// which is told its whole path.
const MOST_CGROUPS: usize = 1 << 16;

/// Restore refuses a process whose set is not there, and a set of a hierarchy that
/// it knows nothing of.
pub fn check(set: &ImageSet, findings: &mut Findings) {
    let mut found = findings.of(ImageKind::Cgroup, 0, None);
    let none = CgroupEntry::default();
    let entry = set.cgroup.as_ref().unwrap_or(&none);
    let names: HashSet<String> =
        entry.controllers.iter().map(|controller| controller.cnames.join(",")).collect();
    let mut ids = HashSet::new();
    for cgroups in &entry.sets {
        let new = ids.insert(cgroups.id);
        found.require(new && cgroups.id > ROOT_SET, "sets.id", || {
            format!("{} is none, or another's", cgroups.id)
        });
        for member in &cgroups.ctls {
            check_member(&names, member, &mut found);
        }
    }
    let mut count = 0;
    for controller in &entry.controllers {
        let names = &controller.cnames;
        let length: usize = names.iter().map(|name| name.len() + 1).sum();
        let are_names = !names.is_empty() && length <= LONGEST_NAMES;
        found.require(are_names, "controllers.cnames", || "are none, or too long".into());
        for dir in &controller.dirs {
            count += check_dir(dir, 0, true, &mut found);
        }
    }
    found.require(count <= MOST_CGROUPS, "controllers.dirs", || {
        format!("are {count}, more than {MOST_CGROUPS}")
    });
    for process in &set.processes {
        found.process = Some(process.pstree.pid);
        for id in wanted(process) {
            if set.cgroup.is_none() {
                found.add("", format!("is missing, and the set {id} with it"));
                return;
            }
            found.require(ids.contains(&id), "sets", || format!("has none of the number {id}"));
        }
    }
}

/// The sets that the threads of a process name.
fn wanted(process: &ProcessImages) -> impl Iterator<Item = u32> {
    let cores = process.cores.values();
    let named = cores.flat_map(|core| {
        let thread = core.thread_core.as_ref().and_then(|thread| thread.cg_set);
        let task = core.tc.as_ref().and_then(|task| task.cg_set);
        [thread, task]
    });
    named.flatten().filter(|&id| id > ROOT_SET)
}

fn check_member(names: &HashSet<String>, member: &CgMemberEntry, found: &mut ImageFindings<'_>) {
    let path = member.path.as_slice();
    let is_path = path.starts_with(b"/") && path.len() <= LONGEST_PATH && is_plain(&path[1..]);
    found.require(is_path, "sets.ctls.path", || "is no path of a cgroup".into());
    let known = names.contains(&member.name);
    found.require(known, "sets.ctls.name", || format!("{:?} is of no controller", member.name));
    found.require(member.cgns_prefix.is_none(), "sets.ctls.cgns_prefix", || {
        "asks for a namespace".into()
    });
}

/// Names with slashes between, none of which leads elsewhere.
fn is_plain(path: &[u8]) -> bool {
    let names = path.split(|byte| *byte == b'/');
    path.is_empty()
        || names.into_iter().all(|name| !matches!(name, b"" | b"." | b"..") && !name.contains(&0))
}

/// Checks a cgroup and those below it, and counts them.
fn check_dir(
    dir: &CgroupDirEntry,
    above: usize,
    is_root: bool,
    found: &mut ImageFindings<'_>,
) -> usize {
    let field = "controllers.dirs.dir_name";
    let len = above.saturating_add(dir.dir_name.len()).saturating_add(1);
    let name = dir.dir_name.as_slice();
    let is_name = is_plain(name) && (is_root || !name.is_empty()) && len <= LONGEST_PATH;
    found.require(is_name, field, || "is no path of a cgroup".into());
    if !is_name {
        return 1;
    }
    for property in &dir.properties {
        let file = property.name.strip_prefix(AS_IT_IS).unwrap_or(&property.name);
        let is_file = !file.is_empty() && !file.contains(['/', '\0']) && file != "..";
        found.require(is_file, "controllers.dirs.properties.name", || {
            format!("{:?} is no file of a cgroup", property.name)
        });
        found.require(
            property.value.len() < LONGEST_VALUE,
            "controllers.dirs.properties.value",
            || format!("has {} bytes", property.value.len()),
        );
    }
    let below = dir.children.iter().map(|child| check_dir(child, len, false, found));
    1 + below.sum::<usize>()
}
