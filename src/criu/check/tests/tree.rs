//! Inventory, tree and what processes share.

use super::*;

fn inventory(set: &mut Set, f: impl Fn(&mut InventoryEntry)) {
    change(set, ImageKind::Inventory, 0, |entries| f(&mut entries[0]));
}

fn pstree(set: &mut Set, f: impl Fn(&mut PstreeEntry)) {
    change(set, ImageKind::Pstree, 0, |entries| f(&mut entries[0]));
}

fn ids(set: &mut Set, f: impl Fn(&mut TaskKobjIdsEntry)) {
    change(set, ImageKind::Ids, 100, |entries| f(&mut entries[0]));
}

#[test]
fn mistakes_in_the_tree_are_found() {
    assert_found(&[
        (|s| inventory(s, |i| i.img_version = 1), "inventory.img", "img_version"),
        (|s| inventory(s, |i| i.fdinfo_per_id = None), "inventory.img", "fdinfo_per_id"),
        (|s| inventory(s, |i| i.root_ids = None), "inventory.img", "root_ids"),
        (|s| inventory(s, |i| i.root_cg_set = Some(0)), "inventory.img", "root_cg_set"),
        (|s| inventory(s, |i| i.tcp_close = Some(true)), "inventory.img", "tcp_close"),
        (|s| inventory(s, |i| i.allow_uprobes = Some(true)), "inventory.img", "allow_uprobes"),
        (
            |s| {
                inventory(s, |i| {
                    i.plugins_entry = Some(PluginsEntry { plugins: vec!["foo".into()] });
                });
            },
            "inventory.img",
            "plugins_entry",
        ),
        (|s| pstree(s, |p| p.ppid = 1), "pstree.img", "ppid"),
        (|s| pstree(s, |p| p.sid = 777), "pstree.img", "sid"),
        (|s| pstree(s, |p| p.pgid = 1), "pstree.img", "pgid"),
        (|s| pstree(s, |p| p.has_terminal = Some(true)), "pstree.img", "has_terminal"),
        (|s| pstree(s, |p| p.threads.reverse()), "pstree.img", "threads"),
        (|s| pstree(s, |p| p.threads.push(101)), "pstree.img", "threads"),
        (|s| ids(s, |i| i.files_id = 1), "fdinfo-1.img", ""),
        (|s| ids(s, |i| i.pid_ns_id = None), "ids-100.img", "pid_ns_id"),
        (|s| ids(s, |i| i.net_ns_id = Some(99)), "ids-100.img", "net_ns_id"),
        (|s| ids(s, |i| i.time_ns_id = Some(99)), "ids-100.img", "time_ns_id"),
    ]);
}

#[test]
fn a_foreign_session_takes_a_shell_job() {
    let mut set = sample::image_set();
    pstree(&mut set, |entry| (entry.sid, entry.pgid) = (50, 51));
    assert!(check(&set, CheckOptions::default()).is_err());
    assert!(check(&set, CheckOptions { shell_job: true }).is_ok());
}

#[test]
fn a_descriptor_table_of_the_restorer_is_found() {
    let mut set = sample::image_set();
    let table = set["fdinfo-2.img"].clone();
    set.insert("fdinfo-1.img".into(), table);
    ids(&mut set, |ids| ids.files_id = 1);
    let error = check(&set, CheckOptions::default()).unwrap_err();
    assert_eq!(error.violations[0].field, "files_id");
}

#[test]
fn a_zombie_has_a_core_alone() {
    let mut set = sample::image_set();
    change(&mut set, ImageKind::Pstree, 0, |entries: &mut Vec<PstreeEntry>| {
        let zombie = PstreeEntry { pid: 102, ppid: 100, threads: vec![9], ..entries[0].clone() };
        entries.push(zombie);
    });
    let task = TaskCoreEntry { task_state: 2, ..TaskCoreEntry::default() };
    let core = CoreEntry { mtype: 1, tc: Some(task), ..CoreEntry::default() };
    let mut image = ImageWriter::new(ImageKind::Core);
    image.record(&core).unwrap();
    set.insert("core-102.img".into(), image.finish());
    check(&set, CheckOptions::default()).expect("a good set");
}
