//! Inventory, process tree and shared objects.

use std::collections::{HashMap, HashSet};

use super::options::CheckOptions;
use crate::criu::container::ImageKind;
use crate::criu::findings::{Findings, ImageFindings};
use crate::criu::inventory::IMG_VERSION;
use crate::criu::proto::TaskKobjIdsEntry;
use crate::criu::set::{ImageSet, ProcessImages};
use crate::snapshot::{Kin, in_session_of_root, lineage_problems};

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
    let mut shared = Shared::default();
    for process in &set.processes {
        let pid = process.pstree.pid;
        let found = &mut findings.of(ImageKind::Ids, pid, Some(pid));
        if process.is_zombie() {
            found.image = ImageKind::Core.file_name(pid);
            check_zombie(process, found);
        } else {
            check_ids(&process.ids, root, found);
            shared.check(process, found);
        }
    }
}

/// Restore lets it end with what it keeps of its wait status.
fn check_zombie(process: &ProcessImages, found: &mut ImageFindings<'_>) {
    let code = process.leader().and_then(|core| core.tc.as_ref()).map_or(0, |task| task.exit_code);
    let by_signal = code & 0x7f != 0;
    found.require(code & 0x80 == 0 && (by_signal || code & 0x8000 == 0), "tc.exit_code", || {
        format!("{code:#x} would be changed by the restore")
    });
}

/// What processes seen so far have, by its number.
#[derive(Default)]
struct Shared {
    /// Objects by the field that names them.
    seen: HashSet<(&'static str, u32)>,
    /// Descriptor tables by PID.
    tables: HashMap<u32, u32>,
}

impl Shared {
    /// Restore makes each process an own one of all but descriptors, and shares
    /// those with the parent only (`get_clone_mask()`, `criu/pstree.c`).
    fn check(&mut self, process: &ProcessImages, found: &mut ImageFindings<'_>) {
        let ids = &process.ids;
        let parts = [("vm_id", ids.vm_id), ("fs_id", ids.fs_id), ("sighand_id", ids.sighand_id)];
        for (field, id) in parts {
            let new = self.seen.insert((field, id));
            found.require(new, field, || format!("{id} is that of another process, too"));
        }
        let known = !self.seen.insert(("files_id", ids.files_id));
        let of_parent = self.tables.get(&process.pstree.ppid) == Some(&ids.files_id);
        found.require(!known || of_parent, "files_id", || {
            format!("{} is that of a process that is not its parent", ids.files_id)
        });
        self.tables.insert(process.pstree.pid, ids.files_id);
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
    let mut tids = HashSet::new();
    let mut seen = HashSet::new();
    let terminals = set.terminals.iter().filter(|info| info.pty.is_some());
    let controlled: HashSet<u32> = terminals.map(|info| info.sid).collect();
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
        let is_controlled = entry.sid != entry.pid && controlled.contains(&entry.sid);
        found.require(is_controlled || entry.has_terminal != Some(true), "has_terminal", || {
            format!("is set, but session {} has no terminal of a leader", entry.sid)
        });
        check_threads(process, &mut tids, found);
    }
    check_lineage(set, options, &tids, found);
}

/// Restore fails or hangs on sessions and groups that no order of forks makes.
fn check_lineage(
    set: &ImageSet,
    options: CheckOptions,
    tids: &HashSet<u32>,
    found: &mut ImageFindings<'_>,
) {
    let Some(root) = set.processes.first().map(|process| &process.pstree) else { return };
    // Those of the root are then replaced by those of `restore`.
    let shell_job = options.shell_job && root.sid != root.pid;
    let group = |id: u32| if shell_job && id == root.pgid { root.pid } else { id };
    let mut kin: Vec<Kin> = set
        .processes
        .iter()
        .map(|process| &process.pstree)
        .map(|entry| Kin {
            pid: entry.pid,
            ppid: entry.ppid,
            pgid: group(entry.pgid),
            sid: entry.sid,
        })
        .collect();
    if shell_job {
        in_session_of_root(&mut kin);
    }
    let pids: HashSet<u32> = kin.iter().map(|kin| kin.pid).collect();
    for problem in lineage_problems(&kin) {
        found.process = Some(problem.pid);
        found.add(if problem.of_session { "sid" } else { "pgid" }, problem.why);
    }
    for kin in &kin {
        // A leader that is to be made for the group would have its ID.
        let taken = tids.contains(&kin.pgid) && !pids.contains(&kin.pgid);
        found.process = Some(kin.pid);
        found.require(!taken && kin.pgid <= MAX_PID, "pgid", || {
            format!("{} is that of a thread, or of none", kin.pgid)
        });
    }
}

/// That each is unique was seen when it was read.
fn check_threads(process: &ProcessImages, tids: &mut HashSet<u32>, found: &mut ImageFindings<'_>) {
    let entry = &process.pstree;
    if process.is_zombie() {
        tids.insert(entry.pid);
        found.require((1..=MAX_PID).contains(&entry.pid), "pid", || "is none".into());
        return;
    }
    found.require(entry.threads.first() == Some(&entry.pid), "threads", || {
        "do not begin with the leader".into()
    });
    for tid in &entry.threads {
        found.require((1..=MAX_PID).contains(tid), "threads", || format!("hold the ID {tid}"));
        tids.insert(*tid);
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
