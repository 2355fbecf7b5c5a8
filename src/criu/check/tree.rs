//! Inventory, process tree and shared objects.

use std::collections::HashSet;

use super::{CheckOptions, Findings, ImageFindings};
use crate::criu::container::ImageKind;
use crate::criu::inventory::IMG_VERSION;
use crate::criu::proto::TaskKobjIdsEntry;
use crate::criu::set::{ImageSet, ProcessImages};

/// `PID_MAX_LIMIT`: no kernel has a PID above it.
const MAX_PID: u32 = 1 << 22;

/// Namespaces of a task in `ids`.
type Namespace = (&'static str, fn(&TaskKobjIdsEntry) -> Option<u32>);

/// Namespaces that must be those of the inventory: another number, also none,
/// means one of the tree's own, whose images would have to be there.
const INHERITED: [Namespace; 6] = [
    ("pid_ns_id", |ids| ids.pid_ns_id),
    ("net_ns_id", |ids| ids.net_ns_id),
    ("ipc_ns_id", |ids| ids.ipc_ns_id),
    ("uts_ns_id", |ids| ids.uts_ns_id),
    ("mnt_ns_id", |ids| ids.mnt_ns_id),
    ("user_ns_id", |ids| ids.user_ns_id),
];

pub fn check(set: &ImageSet, options: CheckOptions, findings: &mut Findings) {
    check_inventory(set, &mut findings.of(ImageKind::Inventory, 0, None));
    check_pstree(set, options, &mut findings.of(ImageKind::Pstree, 0, None));
    let Some(root) = &set.inventory.root_ids else { return };
    for process in set.processes.iter().filter(|process| !process.is_zombie()) {
        let pid = process.pstree.pid;
        check_ids(&process.ids, root, &mut findings.of(ImageKind::Ids, pid, Some(pid)));
    }
}

/// Restore refuses a set that breaks any of these.
fn check_inventory(set: &ImageSet, found: &mut ImageFindings<'_>) {
    let inventory = &set.inventory;
    found.require(inventory.img_version == IMG_VERSION, "img_version", || {
        format!("is {} instead of {IMG_VERSION}", inventory.img_version)
    });
    found.require(inventory.fdinfo_per_id == Some(true), "fdinfo_per_id", || "is not set".into());
    if inventory.root_ids.is_none() {
        found.absent("root_ids");
    }
    found.require(inventory.root_cg_set != Some(0), "root_cg_set", || "is 0".into());
    found.require(inventory.tcp_close != Some(true), "tcp_close", || {
        "asks for a restore that closes connections".into()
    });
    found.require(inventory.allow_uprobes != Some(true), "allow_uprobes", || {
        "asks for a restore that allows uprobes".into()
    });
    for plugin in inventory.plugins_entry.iter().flat_map(|entry| &entry.plugins) {
        found.add("plugins_entry", format!("asks for the plugin {plugin:?}"));
    }
}

fn check_pstree(set: &ImageSet, options: CheckOptions, found: &mut ImageFindings<'_>) {
    found.require(!set.processes.is_empty(), "", || "holds no process".into());
    let pids: HashSet<u32> = set.processes.iter().map(|process| process.pstree.pid).collect();
    let mut tids = HashSet::new();
    let mut seen = HashSet::new();
    for (position, process) in set.processes.iter().enumerate() {
        let entry = &process.pstree;
        found.process = Some(entry.pid);
        if position == 0 {
            found.require(entry.ppid == 0, "ppid", || format!("of the root is {}", entry.ppid));
        } else {
            found.require(seen.contains(&entry.ppid), "ppid", || {
                format!("{} is of no process before it", entry.ppid)
            });
        }
        seen.insert(entry.pid);
        check_threads(process, &mut tids, found);
        // Restore hangs on a session whose leader it cannot make, and takes
        // the group's number away from a process that has it as PID.
        for (field, id) in [("sid", entry.sid), ("pgid", entry.pgid)] {
            found.require(options.shell_job || pids.contains(&id), field, || {
                format!("{id} is of no process in the set, which takes --shell-job")
            });
        }
    }
}

fn check_threads(process: &ProcessImages, tids: &mut HashSet<u32>, found: &mut ImageFindings<'_>) {
    let entry = &process.pstree;
    if process.is_zombie() {
        found.require(tids.insert(entry.pid), "pid", || "is not unique".into());
        return;
    }
    found.require(entry.threads.first() == Some(&entry.pid), "threads", || {
        "do not begin with the leader".into()
    });
    for tid in &entry.threads {
        found.require((1..=MAX_PID).contains(tid), "threads", || format!("hold the ID {tid}"));
        found.require(tids.insert(*tid), "threads", || format!("hold {tid} again"));
    }
}

fn check_ids(ids: &TaskKobjIdsEntry, root: &TaskKobjIdsEntry, found: &mut ImageFindings<'_>) {
    found.require(ids.files_id != root.files_id, "files_id", || {
        format!("is the inventory's {}", root.files_id)
    });
    for (field, namespace) in INHERITED {
        found.require(namespace(ids).is_some() && namespace(ids) == namespace(root), field, || {
            "is not the inventory's, but the set has no images of a namespace".into()
        });
    }
    found.require(
        ids.time_ns_id.is_none() || ids.time_ns_id == root.time_ns_id,
        "time_ns_id",
        || "is not the inventory's, but the set has no images of a namespace".into(),
    );
}
