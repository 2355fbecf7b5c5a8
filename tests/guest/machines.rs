//! Machines of other makes: where their RAM lies and what backs it, which CPU
//! they have, and how their kernel was told to boot. Each is booted for its
//! test.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount, umount};
use ovmigrate::attach::{AccessChoice, Attachment};
use ovmigrate::domain::{Domain, RamBlock};
use ovmigrate::kernel::{Knowledge, ProfileCache};
use ovmigrate::memory::{Access, GuestPhys};
use serde_json::json;

use crate::harness::{FreshVm, Guest, guests, ovmigrate, wait_for, works_on};
use crate::looking::{compare_inspect_with_proc, compare_ps_with_proc};

const PAGE: usize = 4096;
/// Smaller pieces are below 1 MiB, where Linux hands out no memory.
const PIECE: u64 = 32 << 20;

/// Attaches with an empty cache, as if the VM were seen for the first time.
#[track_caller]
fn attach_anew(guest: &Guest, choice: AccessChoice) -> Attachment {
    Attachment::open_with(guest.name, &Knowledge::with_cache(ProfileCache::none()), choice).unwrap()
}

/// The pieces of RAM that processes get memory from.
fn pieces(guest: &Guest) -> Vec<RamBlock> {
    let mut blocks = Domain::find(guest.name).unwrap().ram_blocks().unwrap();
    blocks.retain(|block| block.len >= PIECE);
    blocks
}

/// Has the guest write into each piece of RAM and compares, by each way to its
/// memory that there is.
fn compare_memory(guest: &Guest, expected: &[(AccessChoice, Access)]) {
    let pieces = pieces(guest);
    let ranges: Vec<String> = pieces
        .iter()
        .map(|piece| format!("{:x}-{:x}", piece.guest_phys, piece.guest_phys + piece.len))
        .collect();
    let ranges: Vec<&str> = ranges.iter().map(String::as_str).collect();
    let job = guest.start("pattern", &ranges, "ready");
    let log = job.log();
    let pages = log.lines().filter_map(|line| line.strip_prefix("page "));
    let pages: Vec<u64> = pages.map(|page| u64::from_str_radix(page, 16).unwrap()).collect();
    let mut counts = BTreeMap::new();
    for page in &pages {
        let piece = pieces
            .iter()
            .find(|piece| (piece.guest_phys..piece.guest_phys + piece.len).contains(page));
        *counts.entry(piece.expect("a page in RAM").guest_phys).or_insert(0) += 1;
    }
    assert_eq!(counts.values().copied().collect::<Vec<_>>(), vec![64; pieces.len()]);
    for &(choice, access) in expected {
        let vm = attach_anew(guest, choice);
        assert_eq!(vm.report.access, access);
        for &page in &pages {
            let mut bytes = [0; PAGE];
            vm.kernel.space().memory().read(GuestPhys::new(page), &mut bytes).unwrap();
            for (word, at) in bytes.chunks_exact(8).zip((page..).step_by(8)) {
                let expected = at.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
                assert_eq!(word, expected, "{choice:?}: at {at:#x}");
            }
        }
    }
    job.kill("KILL");
    job.wait_for_end();
}

/// Compares what is read with what the guest says, all vCPUs being busy in user
/// mode.
fn compare_processes(guest: &Guest) {
    let cpus: usize = guest.sh("nproc").trim().parse().unwrap();
    let spinning: Vec<_> =
        (0..cpus).map(|_| guest.spawn(&["sh", "-c", "while :; do :; done"])).collect();
    for job in &spinning {
        job.wait_for_states(&['R']);
    }
    let release = guest.sh("uname -r");
    assert_eq!(attach_anew(guest, AccessChoice::Auto).kernel.release(), release.trim());
    compare_ps_with_proc(guest);
    compare_inspect_with_proc(guest);
    for job in spinning {
        job.kill("KILL");
        job.wait_for_end();
    }
}

/// Saves a process with threads and restores it in the VM that all tests have.
fn migrate(guest: &Guest) {
    let guests = guests();
    guests.destination.program("threads");
    let job = guest.start("threads", &[], "round");
    let (pid, images) = (job.pid.to_string(), guests.images());
    let save = ["save", "--domain", guest.name, "--pid", &pid, "--images-dir", &images];
    ovmigrate(save).stdout();
    assert!(!job.is_alive());
    guests.copy_from(guest, &[&job.log]);
    // Its CPU offers less than that of some machines.
    guests.restore_by(&["--cpu-cap", "none"]).stdout();
    guests.destination.adopt(job.pid);
    let log = || guests.destination.sh(&format!("cat {}", job.log));
    let before = log().lines().count();
    wait_for("three more reports", || (log().lines().count() > before + 3).then_some(()));
    assert!(!log().contains("FAIL"), "{}", log());
}

/// What is to work on a machine of any make, whose RAM is reached by `access`
/// unless it is to be through QEMU's process.
fn check(guest: &Guest, make: &str, access: Access) {
    compare_processes(guest);
    compare_memory(
        guest,
        &[(AccessChoice::Auto, access), (AccessChoice::Process, Access::Process)],
    );
    migrate(guest);
    let access = match access {
        Access::Mapped => "mapped",
        Access::Process => "process",
        Access::Mixed => "mixed",
    };
    works_on(make, access, &["ps", "inspect", "save", "restore"]);
}

#[test]
fn ram_above_4_gib_on_q35_with_page_table_isolation() {
    let vm = FreshVm::boot(&[
        "--memory",
        "512M",
        "--cpus",
        "4",
        "--append",
        "pti=on",
        "--",
        "-machine",
        "max-ram-below-4g=256M",
    ]);
    assert!(pieces(&vm.guest).iter().any(|piece| piece.guest_phys == 4 << 30));
    let isolated = vm.guest.sh("dmesg | grep -c 'page tables isolation: enabled'");
    assert_eq!(isolated.trim(), "1");
    check(&vm.guest, "q35, 4 vCPUs, RAM above 4 GiB, pti=on", Access::Mapped);
}

#[test]
fn two_nodes_and_a_dimm_on_pc_with_four_levels_and_no_kaslr() {
    let vm = FreshVm::boot(&[
        "--memory",
        "512M",
        "--machine",
        "pc",
        "--cpus",
        "1",
        "--cpu",
        "max,la57=off",
        "--memory-backend",
        "none",
        "--append",
        "nokaslr memhp_default_state=online numa_balancing=disable",
        "--",
        "-machine",
        "max-ram-below-4g=256M",
        "-m",
        "512M,slots=2,maxmem=4G",
        "-object",
        "memory-backend-memfd,id=shared,size=256M,share=on",
        "-object",
        "memory-backend-ram,id=private,size=256M",
        "-numa",
        "node,nodeid=0,memdev=shared",
        "-numa",
        "node,nodeid=1,memdev=private",
    ]);
    assert_eq!(pieces(&vm.guest).len(), 2);
    let memory = |guest: &Guest| -> u64 {
        guest.sh("awk '/MemTotal/ {print $2}' /proc/meminfo").trim().parse().unwrap()
    };
    let before = memory(&vm.guest);
    let domain = Domain::find(vm.guest.name).unwrap();
    let size: u64 = 256 << 20;
    let backend =
        json!({ "qom-type": "memory-backend-memfd", "id": "plugged", "size": size, "share": true });
    domain.qmp().execute("object-add", backend).unwrap();
    let dimm = json!({ "driver": "pc-dimm", "id": "dimm", "memdev": "plugged", "node": 1 });
    domain.qmp().execute("device_add", dimm).unwrap();
    drop(domain);
    wait_for("the DIMM is online", || {
        (memory(&vm.guest) >= before + (size >> 10) - (16 << 10)).then_some(())
    });
    assert_eq!(pieces(&vm.guest).len(), 3);
    let attached = attach_anew(&vm.guest, AccessChoice::Auto);
    assert_eq!(attached.kernel.located().kaslr_offset, 0);
    drop(attached);
    check(
        &vm.guest,
        "pc, 1 vCPU, two NUMA nodes, plugged DIMM, 4-level paging, nokaslr",
        Access::Mixed,
    );
}

/// Huge pages of 2 MiB that the host keeps for a test, and where files of them
/// are made.
struct HugePages {
    folder: tempfile::TempDir,
    before: u64,
}

const NR_HUGEPAGES: &str = "/proc/sys/vm/nr_hugepages";

impl HugePages {
    fn reserve(count: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Some("pagesize=2M");
        mount(Some("none"), folder.path(), Some("hugetlbfs"), MsFlags::empty(), options).unwrap();
        let read = || -> u64 { fs::read_to_string(NR_HUGEPAGES).unwrap().trim().parse().unwrap() };
        let before = read();
        // Constructed first, so that it is undone where there are too few.
        let pages = Self { folder, before };
        wait_for(&format!("the host gives {count} huge pages"), || {
            // What is free may have to be brought together first.
            fs::write("/proc/sys/vm/compact_memory", "1").unwrap();
            fs::write(NR_HUGEPAGES, (before + count).to_string()).unwrap();
            (read() == before + count).then_some(())
        });
        pages
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        let _ = fs::write(NR_HUGEPAGES, self.before.to_string());
        let _ = umount(self.folder.path());
    }
}

/// Whether the file behind the VM's RAM has no name any more.
fn is_deleted(guest: &Guest) -> bool {
    let file = pieces(guest).remove(0).backing.expect("there is a file");
    fs::read_link(file.path).unwrap().to_string_lossy().ends_with(" (deleted)")
}

#[test]
fn huge_pages_and_a_cpu_without_xsave() {
    // Some more than the VM needs, whoever else takes any.
    let huge = HugePages::reserve(256 + 32);
    let backend = format!("file:{}", huge.folder().display());
    let vm = FreshVm::boot(&["--memory", "512M", "--memory-backend", &backend, "--cpu", "qemu64"]);
    assert!(is_deleted(&vm.guest));
    assert_eq!(vm.guest.sh("grep -cw xsave /proc/cpuinfo || true").trim(), "0");
    let free = || {
        let text = fs::read_to_string("/proc/meminfo").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("HugePages_Free:"));
        line.unwrap().trim().parse::<u64>().unwrap()
    };
    // Its kernel uses more of them while services start.
    vm.guest.sh("systemctl is-system-running --wait || true");
    let before = free();
    let search = attach_anew(&vm.guest, AccessChoice::Map);
    assert_eq!(search.report.access, Access::Mapped);
    drop(search);
    // The guest takes some itself, but not all that are left.
    assert!(free() + 8 > before, "{before} were free, {} are", free());
    check(&vm.guest, "q35, huge pages, CPU without XSAVE (qemu64)", Access::Mapped);
}

#[test]
fn a_deleted_file_of_a_disk_on_pc() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let backend = format!("file:{}", folder.display());
    let vm = FreshVm::boot(&["--memory", "512M", "--machine", "pc", "--memory-backend", &backend]);
    assert!(is_deleted(&vm.guest));
    check(&vm.guest, "pc, RAM in a deleted file", Access::Mapped);
}

#[test]
fn images_come_on_a_disk_to_pc_too() {
    let vm = FreshVm::boot(&["--memory", "512M", "--machine", "pc"]);
    let guests = guests();
    vm.guest.program("threads");
    let job = guests.start("threads", &[], "round");
    guests.save(job.pid, &[]).stdout();
    guests.copy_between(&guests.source, &vm.guest, &[&job.log]);
    let images = guests.images();
    let restore = ["restore", "--domain", vm.guest.name, "--images-dir", &images];
    let restored = ovmigrate(restore.iter().chain(&["--via", "disk", "--json"])).json();
    assert_eq!(restored["way"], "disk", "{restored}");
    let log = || vm.guest.sh(&format!("cat {}", job.log));
    let before = log().lines().count();
    wait_for("three more reports", || (log().lines().count() > before + 3).then_some(()));
    assert!(!log().contains("FAIL"), "{}", log());
    assert_eq!(vm.guest.sh("ls /sys/block; grep iso9660 /proc/mounts || true").trim(), "vda");
}

/// Memory that the host has given a process, in bytes.
fn resident(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn memory_that_qemu_keeps_to_itself_is_not_given_to_it_by_looking() {
    let vm = FreshVm::boot(&["--memory", "3G", "--memory-backend", "none", "--cpus", "1"]);
    let mapped = ovmigrate(["ps", "--domain", vm.guest.name, "--access", "map"]).error();
    assert!(mapped.contains("does not share its RAM"), "{mapped}");
    let attached = attach_anew(&vm.guest, AccessChoice::Auto);
    assert_eq!(attached.report.access, Access::Process);
    let memory = attached.kernel.space().memory();
    let pid = attached.domain.process().pid();
    let before = resident(pid);
    let mut found = 0;
    for region in memory.regions() {
        let mut from = 0;
        while let Some(data) = region.backing.next_data(from) {
            let mut bytes = vec![0; (data.end - data.start) as usize];
            region.backing.read(data.start, &mut bytes).unwrap();
            found += bytes.len() as u64;
            from = data.end;
        }
    }
    // The host may give huge pages where the guest wants small ones.
    assert!(found < 3 << 30, "a guest that just booted has used all of its memory");
    let grown = resident(pid).saturating_sub(before);
    assert!(grown < 64 << 20, "QEMU has grown by {grown} bytes");
    compare_processes(&vm.guest);
    migrate(&vm.guest);
    works_on("q35, 1 vCPU, 3 GiB of private RAM", "process", &["ps", "inspect", "save", "restore"]);

    // QEMU dies while it is attached to: an error, not a death or a wrong answer.
    let mut bytes = vec![0; 1 << 20];
    memory.read(GuestPhys::new(1 << 20), &mut bytes).unwrap();
    let qemu = attached.domain.process().hold().unwrap();
    vm.kill();
    wait_for("QEMU is gone", || qemu.has_ended().then_some(()));
    for len in [8, 4096, bytes.len()] {
        let error = memory.read(GuestPhys::new(1 << 20), &mut bytes[..len]).unwrap_err();
        assert!(error.to_string().contains("has ended"), "{error}");
    }
    let error = memory.write(GuestPhys::new(1 << 20), &[0]).unwrap_err();
    assert!(error.to_string().contains("has ended"), "{error}");
}
