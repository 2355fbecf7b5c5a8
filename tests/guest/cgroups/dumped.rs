//! Cgroups in an image, and what the guest's CRIU dumps of the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use ovmigrate::criu::proto::{CgroupDirEntry, CgroupEntry, CgroupPerms};
use ovmigrate::criu::{ImageKind, ImageReader};

use super::{Cleared, PLACE, ROOT, make_place, mount_legacy};
use crate::harness::{Guests, Job, guests, ovmigrate};

/// What an image tells of a cgroup: who owns it, and its files.
type Group = (Option<CgroupPerms>, BTreeMap<String, String>);

/// An image of cgroups.
struct Image {
    /// Hierarchy and path in it of each cgroup that processes are in.
    used: BTreeSet<(String, String)>,
    /// By hierarchy and path.
    groups: BTreeMap<(String, String), Group>,
}

impl Image {
    fn read(path: &Path) -> Self {
        let file = fs::read(path).unwrap();
        let mut reader = ImageReader::new(ImageKind::Cgroup, file.as_slice()).unwrap();
        let entry: CgroupEntry = reader.next_record().unwrap().expect("a record");
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("a path of the tests");
        let members = entry.sets.iter().flat_map(|set| &set.ctls);
        let used = members.map(|member| (member.name.clone(), text(&member.path)));
        let mut image = Self { used: used.collect(), groups: BTreeMap::new() };
        for controller in &entry.controllers {
            for dir in &controller.dirs {
                image.add(&controller.cnames.join(","), "", dir);
            }
        }
        image
    }

    fn add(&mut self, hierarchy: &str, above: &str, dir: &CgroupDirEntry) {
        let name = String::from_utf8(dir.dir_name.clone()).expect("a path of the tests");
        let path = if name.is_empty() { above.to_owned() } else { format!("{above}/{name}") };
        let files = dir.properties.iter().map(|property| {
            (property.name.trim_start_matches("./").to_owned(), property.value.clone())
        });
        let group = (dir.dir_perms, files.collect());
        self.groups.insert((hierarchy.to_owned(), path.clone()), group);
        for child in &dir.children {
            self.add(hierarchy, &path, child);
        }
    }
}

/// What CRIU names that says nothing: who may write to it, or that it is not set.
fn says_nothing(name: &str, value: &str) -> bool {
    matches!(name, "cgroup.procs" | "tasks")
        || matches!(
            (name, value),
            ("cgroup.freeze" | "notify_on_release" | "cgroup.clone_children", "0")
                | ("cgroup.type", "domain")
                | ("cgroup.subtree_control", "")
                | ("memory.oom_control" | "memory.move_charge_at_immigrate", "0")
                | ("memory.swappiness", "60")
                | ("memory.use_hierarchy", "1")
                | (
                    "memory.kmem.limit_in_bytes" | "memory.kmem.tcp.limit_in_bytes",
                    "9223372036854771712"
                )
        )
}

/// Saves a process with `ovmigrate`, has the guest's CRIU dump it, and compares what
/// both tell of the cgroups of the test, of which the values of at least `count`
/// files must be the same. The process runs on.
pub(super) fn compare(guests: &Guests, job: &Job<'_>, count: usize) {
    let (pid, images) = (job.pid.to_string(), guests.images());
    let save = ["save", "--leave-running", "--domain", job.guest.name, "--pid", &pid];
    ovmigrate(save.iter().chain(&["--images-dir", &images])).stdout();
    let ours = Image::read(&Path::new(&images).join("cgroup.img"));
    fs::remove_dir_all(images).unwrap();
    let images = format!("{}.criu", job.log);
    job.guest.sh(&format!(
        "echo $$ >{ROOT}/cgroup.procs; mkdir {images}; \
         criu dump -t {pid} -D {images} --leave-running -o dump.log"
    ));
    let theirs = guests.folder.join("criu-cgroup.img");
    job.guest.pull(&format!("{images}/cgroup.img"), &theirs);
    let theirs = Image::read(&theirs);
    job.guest.sh(&format!("rm -r {images}"));
    let is_of_test = |(_, path): &(String, String)| path.starts_with("/ovmigrate");
    for place in theirs.used.iter().filter(|place| is_of_test(place)) {
        assert!(ours.used.contains(place), "{place:?} is not in {:?}", ours.used);
    }
    let (mut compared, mut differing) = (0, Vec::new());
    for (place, (owner, files)) in theirs.groups.iter().filter(|(place, _)| is_of_test(place)) {
        let Some((own, known)) = ours.groups.get(place) else {
            panic!("{place:?} is not in {:?}", ours.groups.keys());
        };
        assert_eq!(own, owner, "{place:?}");
        for (name, value) in files.iter().filter(|(name, value)| !says_nothing(name, value)) {
            let ours = known.get(name).map(|value| value.replace('+', ""));
            if ours.as_ref() != Some(value) {
                differing.push(format!("{name} of {place:?}: ovmigrate {ours:?}, criu {value}"));
            }
            compared += 1;
        }
    }
    assert!(differing.is_empty(), "{differing:#?}");
    assert!(compared >= count, "{compared} values were compared");
}

/// Of version 2 CRIU knows no files of controllers (`cgp_parse_builtins()`,
/// `criu/cgroup-props.c`).
#[test]
fn cgroups_are_those_that_criu_dumps() {
    let guests = guests();
    let _cleared = Cleared::before(&guests);
    make_place(&guests.source);
    guests.source.sh(&format!("echo -cpu >{ROOT}/cgroup.subtree_control"));
    let legacy = mount_legacy(&guests.source, "cpu,cpuacct");
    guests.source.sh(&format!("mkdir {legacy}; chown 3:4 {legacy}"));
    let args = [
        PLACE,
        "cgroup.subtree_control=+pids +memory",
        "inner/pids.max=20",
        "other/cgroup.max.depth=7",
        &legacy,
        "inner/cpu.shares=512",
        "other/cpu.cfs_quota_us=50000",
    ];
    let job = guests.source.start_for_criu("cgroups", &args, "ready");
    compare(&guests, &job, 4);
}
