//! What is demanded of several processes together.

use super::*;

/// Entries of the sample: 100, 110, 120, 121, and the zombie 130.
fn pstree(set: &mut Set, f: impl Fn(&mut Vec<PstreeEntry>)) {
    change(set, ImageKind::Pstree, 0, f);
}

fn ids(set: &mut Set, pid: u32, f: impl Fn(&mut TaskKobjIdsEntry)) {
    change(set, ImageKind::Ids, pid, |entries| f(&mut entries[0]));
}

fn exit_code(set: &mut Set, code: u32) {
    change(set, ImageKind::Core, 130, |cores: &mut Vec<CoreEntry>| {
        cores[0].tc.as_mut().expect("tc").exit_code = code;
    });
}

#[test]
fn a_good_tree_passes() {
    let set = check(&sample::image_set_of(&sample::tree()), CheckOptions::default());
    let set = set.expect("a good set");
    let tree: Vec<_> = set
        .processes
        .iter()
        .map(|process| (process.pstree.pid, process.pstree.ppid, process.is_zombie()))
        .collect();
    let expected = [
        (100, 0, false),
        (110, 100, false),
        (120, 100, false),
        (121, 120, false),
        (130, 120, true),
    ];
    assert_eq!(tree, expected);
    assert_eq!(set.processes[0].ids.files_id, set.processes[1].ids.files_id);
    let zombie = set.processes[4].leader().and_then(|core| core.tc.as_ref()).expect("tc");
    assert_eq!((zombie.exit_code, zombie.comm.as_slice()), (42 << 8, &b"gone"[..]));
}

#[test]
fn images_of_processes_that_share_nothing_are_apart() {
    let set = sample::image_set_of(&sample::tree());
    let count = |kind: &str| set.keys().filter(|name| name.starts_with(kind)).count();
    assert_eq!([count("mm-"), count("pages-"), count("fs-"), count("ids-")], [4, 4, 4, 4]);
    assert_eq!(count("fdinfo-"), 3, "one table is shared");
    assert_eq!(count("core-"), 6, "five first threads, one other");
}

#[test]
fn mistakes_between_processes_are_found() {
    type Mistake = (fn(&mut Set), &'static str, &'static str);
    let mistakes: [Mistake; 19] = [
        (|s| pstree(s, |p| p[1].ppid = 120), "pstree.img", "ppid"),
        (|s| pstree(s, |p| p[4].ppid = 0), "pstree.img", "ppid"),
        (|s| pstree(s, |p| p.swap(2, 3)), "pstree.img", "ppid"),
        (|s| pstree(s, |p| p[4].pid = 1 << 23), "core-8388608.img", ""),
        // Sessions: of nobody, of one that is no ancestor, of one that is not
        // its leader's own.
        (|s| pstree(s, |p| p[1].sid = 77), "pstree.img", "sid"),
        (|s| pstree(s, |p| p[1].sid = 120), "pstree.img", "sid"),
        (|s| pstree(s, |p| p[4].sid = 77), "pstree.img", "sid"),
        (|s| pstree(s, |p| p[0].sid = 110), "pstree.img", "sid"),
        // Groups: of another session, left by its leader, of a thread, none.
        (|s| pstree(s, |p| p[1].pgid = 120), "pstree.img", "pgid"),
        (|s| pstree(s, |p| p[2].pgid = 110), "pstree.img", "pgid"),
        (|s| pstree(s, |p| p[1].pgid = 101), "pstree.img", "pgid"),
        (|s| pstree(s, |p| p[1].pgid = 1), "pstree.img", "pgid"),
        (|s| pstree(s, |p| p[1].pgid = 1 << 23), "pstree.img", "pgid"),
        // What restore would not share.
        (|s| ids(s, 110, |i| i.vm_id = 2), "ids-110.img", "vm_id"),
        (|s| ids(s, 110, |i| i.fs_id = 2), "ids-110.img", "fs_id"),
        (|s| ids(s, 121, |i| i.sighand_id = 2), "ids-121.img", "sighand_id"),
        (|s| ids(s, 121, |i| i.files_id = 2), "ids-121.img", "files_id"),
        // The wait status that restore would change.
        (|s| exit_code(s, 200 << 8), "core-130.img", "tc.exit_code"),
        (|s| exit_code(s, 0x80 | 11), "core-130.img", "tc.exit_code"),
    ];
    for (position, (make, image, field)) in mistakes.into_iter().enumerate() {
        let mut set = sample::image_set_of(&sample::tree());
        make(&mut set);
        let error = check(&set, CheckOptions::default())
            .expect_err(&format!("mistake {position} in {field} of {image}"));
        assert!(
            error.violations.iter().any(|found| found.image == image && found.field == field),
            "mistake {position} in {field} of {image}: {error}"
        );
    }
}

#[test]
fn a_zombie_has_no_threads_whatever_its_entry_says() {
    let mut set = sample::image_set_of(&sample::tree());
    pstree(&mut set, |entries| entries[4].threads = vec![0, 7, 7]);
    check(&set, CheckOptions::default()).expect("CRIU writes such entries");
}

#[test]
fn a_job_of_a_shell_has_its_group_in_all_members() {
    let mut set = sample::image_set_of(&sample::tree());
    pstree(&mut set, |entries| {
        for entry in &mut entries[..2] {
            (entry.sid, entry.pgid) = (50, 51);
        }
    });
    assert!(check(&set, CheckOptions::default()).is_err());
    check(&set, CheckOptions { shell_job: true }).expect("a good set with --shell-job");
}
