//! Cgroups that processes are in, and their limits.

mod dumped;
mod legacy;
mod unsupported;

use crate::harness::{Guest, Guests, TestKernel, guests, kept, wait_for};

/// Where version 2 is mounted, and the cgroups of the tests are.
const ROOT: &str = "/sys/fs/cgroup";
const PLACE: &str = "/sys/fs/cgroup/ovmigrate";

/// Controllers, which a guest gives its cgroups for these tests alone.
const CONTROLLERS: [&str; 6] = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"];

/// Limits of two cgroups and of that above them; `DISK` is the disk of the guest.
const LIMITS: [&str; 22] = [
    "cgroup.subtree_control=+cpuset +cpu +io +memory +hugetlb +pids",
    "memory.max=536870912",
    "inner/cgroup.max.depth=3",
    "inner/cgroup.max.descendants=5",
    "inner/cpuset.cpus=0",
    "inner/cpuset.mems=0",
    "inner/cpu.weight=50",
    "inner/cpu.max=150000 200000",
    "inner/io.max=DISK rbps=104857600 wiops=5000",
    "inner/io.weight=default 300",
    "inner/memory.min=1048576",
    "inner/memory.low=4194304",
    "inner/memory.high=209715200",
    "inner/memory.max=268435456",
    "inner/memory.swap.max=67108864",
    "inner/memory.oom.group=1",
    "inner/pids.max=20",
    "inner/hugetlb.2MB.max=4194304",
    "inner/hugetlb.2MB.rsvd.max=8388608",
    "other/cpuset.cpus=0-1",
    "other/cpu.max=max 50000",
    "other/pids.max=max",
];

/// Those of kernels since 5.15.
const NEWER_LIMITS: [&str; 2] = ["inner/cpu.max.burst=50000", "other/cpu.idle=1"];

/// Where hierarchies of version 1 are mounted.
const LEGACY_ROOT: &str = "/run/ovmigrate-v1";

/// Takes away the cgroups of a test, once what was in them has ended. A hierarchy
/// of version 1 that is unmounted while a cgroup is on its way out keeps its
/// controllers, until it is mounted and unmounted once more.
fn clear(guest: &Guest) {
    wait_for("the cgroups of the test are gone", || {
        let script = format!(
            "for group in $(find {PLACE}* {LEGACY_ROOT}/*/ovmigrate -depth -type d); do \
                 for pid in $(cat $group/cgroup.procs); do kill -KILL $pid; done; \
                 rmdir $group; \
             done; \
             for mount in {LEGACY_ROOT}/*; do \
                 [ -d $mount/ovmigrate ] || {{ umount $mount; rmdir $mount; }}; \
             done; \
             for left in $(grep -v ^0: /proc/self/cgroup | cut -d : -f 2); do \
                 mkdir -p {LEGACY_ROOT}/left && \
                     mount -t cgroup -o $left cgroup {LEGACY_ROOT}/left && \
                     umount {LEGACY_ROOT}/left; \
             done; \
             for name in cpuset cpu io hugetlb; do echo -$name >{ROOT}/cgroup.subtree_control; done; \
             ! ls -d {PLACE}* {LEGACY_ROOT}/* | grep . && ! grep -v ^0: /proc/self/cgroup"
        );
        guest.try_sh(&format!("{{ {script}; }} 2>/dev/null")).status.success().then_some(())
    });
}

/// Clears both guests at its begin and end.
struct Cleared<'a>(&'a Guests);

impl<'a> Cleared<'a> {
    fn before(guests: &'a Guests) -> Self {
        let cleared = Self(guests);
        cleared.clear();
        cleared
    }

    fn clear(&self) {
        clear(&self.0.source);
        clear(&self.0.destination);
    }
}

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.clear();
        }
    }
}

/// Gives the cgroups of a guest their controllers and makes one.
fn make_place(guest: &Guest) {
    for name in CONTROLLERS {
        guest.sh(&format!("echo +{name} >{ROOT}/cgroup.subtree_control"));
    }
    guest.sh(&format!("mkdir {PLACE}"));
}

/// The limits with what this guest has of disks.
fn limits(guest: &Guest) -> Vec<String> {
    let disk = guest.sh("cat /sys/block/vda/dev");
    let newer = TestKernel::chosen().release != "5.10";
    let newer = NEWER_LIMITS.iter().filter(|_| newer);
    LIMITS.iter().chain(newer).map(|limit| limit.replace("DISK", disk.trim())).collect()
}

#[test]
fn processes_are_where_they_were_with_the_same_limits() {
    let guests = guests();
    let _cleared = Cleared::before(&guests);
    make_place(&guests.source);
    let limits = limits(&guests.source);
    let args: Vec<&str> = [PLACE].into_iter().chain(limits.iter().map(String::as_str)).collect();
    let job = guests.start("cgroups", &args, "ready");
    let said = job.migrate(&guests, &[]).ask();
    assert!(said.ends_with("done, 0 failures\n"), "{said}");
    kept(&[
        "the cgroup of version 2 that a process is in, by its path",
        "limits of its controllers cpu, cpuset, memory, io, pids and hugetlb, and of those above it",
    ]);
}

/// Mounts a hierarchy of version 1, whose controllers a guest may take a moment to
/// be done with elsewhere.
fn mount_legacy(guest: &Guest, options: &str) -> String {
    let place = format!("{LEGACY_ROOT}/{}", options.replace([',', '='], "-"));
    wait_for(&format!("{options} is mounted"), || {
        let mount = format!("mkdir -p {place} && mount -t cgroup -o {options} cgroup {place}");
        guest.try_sh(&mount).status.success().then_some(())
    });
    format!("{place}/ovmigrate")
}

#[test]
fn cgroups_that_are_there_keep_their_limits_unless_told_otherwise() {
    let guests = guests();
    let _cleared = Cleared::before(&guests);
    make_place(&guests.source);
    make_place(&guests.destination);
    let limits = ["cgroup.subtree_control=+pids", "inner/pids.max=20", "other/pids.max=30"];
    let args: Vec<&str> = [PLACE].into_iter().chain(limits).collect();
    let job = guests.start("cgroups", &args, "ready");
    guests.save(job.pid, &[]).stdout();
    guests.copy(&[&job.log]);
    guests.destination.sh(&format!("mkdir {PLACE}/inner"));
    guests.destination.sh(&format!("echo +pids >{PLACE}/cgroup.subtree_control"));
    let shown = |file: &str| guests.destination.sh(&format!("cat {PLACE}/{file}"));
    let end = || {
        guests.destination.end_all("cgroups");
    };
    let restored = guests.restore_by(&["--json"]).json();
    let differ = restored["other_cgroups"].to_string();
    assert!(differ.contains("/ovmigrate/inner has pids.max"), "{differ}");
    assert_eq!((shown("inner/pids.max"), shown("other/pids.max")), ("max\n".into(), "30\n".into()));
    assert_eq!(shown("inner/cgroup.procs"), format!("{}\n", job.pid));
    end();
    guests.restore_by(&["--manage-cgroups", "full"]).stdout();
    assert_eq!(shown("inner/pids.max"), "20\n");
    end();
    guests.restore_by(&["--manage-cgroups", "ignore"]).stdout();
    let cgroup = guests.destination.sh(&format!("cat /proc/{}/cgroup", job.pid));
    assert_eq!(cgroup, "0::/\n");
    end();
}

#[test]
fn a_restore_that_fails_leaves_no_cgroups() {
    let guests = guests();
    let _cleared = Cleared::before(&guests);
    make_place(&guests.source);
    let limits = ["cgroup.subtree_control=+pids +cpu", "inner/pids.max=20", "other/cpu.weight=7"];
    let args: Vec<&str> = [PLACE].into_iter().chain(limits).collect();
    let job = guests.start("cgroups", &args, "ready");
    guests.save(job.pid, &[]).stdout();
    guests.copy(&[&job.log]);
    // CRIU finds out that it is another file.
    guests.destination.sh(&format!("chmod 700 {}", job.log));
    let control = format!("cat {ROOT}/cgroup.subtree_control");
    let before = guests.destination.sh(&control);
    guests.restore().error();
    assert!(!guests.destination.try_sh(&format!("ls -d {PLACE}")).status.success());
    assert_eq!(guests.destination.sh(&control), before);
}
