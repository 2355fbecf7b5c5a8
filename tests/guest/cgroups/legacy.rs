//! Cgroups of version 1.

use super::{Cleared, ROOT, dumped, mount_legacy};
use crate::harness::{FreshVm, Job, TestKernel, guests, kept, ovmigrate, unknown, wait_for};

/// Hierarchies of version 1: how each is mounted, and limits there.
const LEGACY: [(&str, &[&str]); 7] = [
    (
        "cpu,cpuacct",
        &[
            "inner/cpu.shares=512",
            "inner/cpu.cfs_quota_us=150000",
            "other/cpu.cfs_period_us=50000",
            "other/cpu.shares=2",
        ],
    ),
    ("blkio", &["inner/blkio.throttle.read_bps_device=DISK 104857600"]),
    ("hugetlb", &["inner/hugetlb.2MB.limit_in_bytes=4194304"]),
    ("none,name=ovmigrate", &["inner/notify_on_release=1", "other/notify_on_release=0"]),
    (
        "cpuset",
        &[
            "cpuset.cpus=0-1",
            "cpuset.mems=0",
            "inner/cpuset.cpus=0",
            "inner/cpuset.mems=0",
            "inner/cpuset.memory_migrate=1",
            "other/cpuset.cpus=1",
            "other/cpuset.mems=0",
            "other/cpuset.mem_hardwall=1",
        ],
    ),
    (
        "memory",
        &[
            "inner/memory.limit_in_bytes=268435456",
            "inner/memory.soft_limit_in_bytes=134217728",
            "inner/memory.swappiness=10",
            "other/memory.oom_control=1",
        ],
    ),
    ("pids", &["inner/pids.max=20"]),
];

/// How many of them there are beside version 2: systemd has the others there.
const BESIDE: usize = 4;

/// The VM has used no cgroups of version 2 before: a controller can be had for
/// version 1 once nothing is left of those, and what is cached of files keeps some.
#[test]
fn processes_are_in_the_same_cgroups_of_version_1() {
    // The systemd of newer guests knows version 2 alone.
    let is_old = ["5.10", "6.1"].contains(&TestKernel::chosen().release);
    let append = if is_old { "systemd.unified_cgroup_hierarchy=0" } else { "quiet" };
    let vm = FreshVm::boot(&["--memory", "512M", "--append", append]);
    let guests = guests();
    let disk = vm.guest.sh("cat /sys/block/vda/dev");
    let (mut args, mut places) = (Vec::new(), Vec::new());
    for (options, limits) in if is_old { &LEGACY[..] } else { &LEGACY[..BESIDE] } {
        let place = match is_old && !options.starts_with("none") {
            true => format!("{ROOT}/{options}/ovmigrate"),
            false => mount_legacy(&vm.guest, options),
        };
        vm.guest.sh(&format!("mkdir {place}"));
        args.push(place.clone());
        args.extend(limits.iter().map(|limit| limit.replace("DISK", disk.trim())));
        places.push(place);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let job: Job<'_> = vm.guest.start_for_criu("cgroups", &args, "ready");
    dumped::compare(&guests, &job, if is_old { 20 } else { 4 });
    let (pid, images) = (job.pid.to_string(), guests.images());
    let at = ["--domain", vm.guest.name, "--images-dir", &images];
    ovmigrate(["save", "--pid", &pid].iter().chain(&at)).stdout();
    assert!(!job.is_alive());
    // They are made anew.
    let places = places.join(" ");
    let remove =
        format!("for place in {places}; do rmdir $place/*/ $place; done; ! ls -d {places}");
    wait_for("nothing is in the cgroups", || {
        vm.guest.try_sh(&remove).status.success().then_some(())
    });
    ovmigrate(["restore"].iter().chain(&at)).stdout();
    let said = job.ask();
    assert!(said.ends_with("done, 0 failures\n"), "{said}");
    kept(&["cgroups of version 1, with limits of their controllers"]);
    let old = "cgroups of version 1 with limits of cpuset, memory and pids";
    if is_old { kept(&[old]) } else { unknown(&[old]) }
}

#[test]
fn a_hierarchy_that_the_destination_lacks_is_named() {
    let guests = guests();
    let _cleared = Cleared::before(&guests);
    let place = mount_legacy(&guests.source, "none,name=ovmigrate");
    guests.source.sh(&format!("mkdir {place}"));
    let job = guests.start("cgroups", &[&place, "inner/notify_on_release=1"], "ready");
    guests.save(job.pid, &[]).stdout();
    guests.copy(&[&job.log]);
    let message = guests.restore().error();
    assert!(message.contains("it has mounted no cgroup hierarchy name=ovmigrate"), "{message}");
    guests.restore_by(&["--manage-cgroups", "ignore"]).stdout();
    guests.destination.end_all("cgroups");
}
