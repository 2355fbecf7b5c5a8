//! Cgroups.

use super::*;

fn cgroups(set: &mut Set, f: impl Fn(&mut CgroupEntry)) {
    change(set, ImageKind::Cgroup, 0, |entries| f(&mut entries[0]));
}

fn group(entry: &mut CgroupEntry, f: impl Fn(&mut CgroupDirEntry)) {
    f(&mut entry.controllers[0].dirs[0].children[0]);
}

fn named(name: &str) -> CgroupDirEntry {
    CgroupDirEntry { dir_name: name.into(), ..CgroupDirEntry::default() }
}

#[test]
fn mistakes_in_cgroups_are_found() {
    let good = sample::image_set_of(&sample::with_cgroups());
    check(&good, CheckOptions::default()).expect("a good set");
    let name = "controllers.dirs.dir_name";
    let file = "controllers.dirs.properties.name";
    let mistakes: [Mistake; 17] = [
        (|s| drop(s.remove("cgroup.img")), "cgroup.img", ""),
        (|s| cgroups(s, |c| c.sets[0].id = 1), "cgroup.img", "sets.id"),
        (|s| cgroups(s, |c| c.sets.push(c.sets[0].clone())), "cgroup.img", "sets.id"),
        (|s| cgroups(s, |c| c.sets[0].id = 9), "cgroup.img", "sets"),
        (
            |s| cores::core(s, 101, |c| c.thread_core.as_mut().unwrap().cg_set = Some(4)),
            "cgroup.img",
            "sets",
        ),
        (|s| cgroups(s, |c| c.sets[0].ctls[0].name = "cpu".into()), "cgroup.img", "sets.ctls.name"),
        (|s| cgroups(s, |c| c.sets[0].ctls[0].path = "a".into()), "cgroup.img", "sets.ctls.path"),
        (
            |s| cgroups(s, |c| c.sets[0].ctls[0].path = "/../a".into()),
            "cgroup.img",
            "sets.ctls.path",
        ),
        (
            |s| cgroups(s, |c| c.sets[0].ctls[0].cgns_prefix = Some(1)),
            "cgroup.img",
            "sets.ctls.cgns_prefix",
        ),
        (|s| cgroups(s, |c| c.controllers[0].cnames.clear()), "cgroup.img", "controllers.cnames"),
        (
            |s| cgroups(s, |c| c.controllers[0].cnames.push("x".repeat(600))),
            "cgroup.img",
            "controllers.cnames",
        ),
        (
            |s| cgroups(s, |c| group(c, |g| g.children = vec![named("a"); 1 << 16])),
            "cgroup.img",
            "controllers.dirs",
        ),
        (|s| cgroups(s, |c| group(c, |g| g.dir_name = "..".into())), "cgroup.img", name),
        (|s| cgroups(s, |c| group(c, |g| g.dir_name.clear())), "cgroup.img", name),
        (|s| cgroups(s, |c| group(c, |g| g.dir_name = vec![b'a'; 4000])), "cgroup.img", name),
        (
            |s| cgroups(s, |c| group(c, |g| g.properties[0].name = "../tasks".into())),
            "cgroup.img",
            file,
        ),
        (
            |s| cgroups(s, |c| group(c, |g| g.properties[0].value = "x".repeat(5000))),
            "cgroup.img",
            "controllers.dirs.properties.value",
        ),
    ];
    assert_found_in(&good, &mistakes);
}
