//! A domain of libvirt as it ships: nothing is set for `ovmigrate`, neither its
//! memory nor a monitor.

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::harness::{LibvirtGuest, libvirt_guest, rounds, wait_for, works_on};

const LIBVIRT: &str = "libvirt domain without memoryBacking";

/// Fails if something of ours is left in QEMU or in the domain's folder.
#[track_caller]
fn assert_clean(vm: &LibvirtGuest) {
    let name = vm.guest.name;
    let chardevs = vm.virsh(&["qemu-monitor-command", name, r#"{"execute":"query-chardev"}"#]);
    // The stub's own name, and ours.
    for label in [r#""label":"gdb""#, r#""label":"ovmigrate"#] {
        assert!(!chardevs.contains(label), "{label} is left: {chardevs}");
    }
    let pid = vm.guest.info()["pid"].to_string();
    let sockets = std::fs::read_to_string(format!("/proc/{pid}/net/unix")).unwrap();
    let left: Vec<_> = sockets.lines().filter(|line| line.contains("/ovmigrate-gdb")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(vm.virsh(&["domstate", name]), "running");
}

#[test]
fn processes_are_shown_signalled_and_frozen() {
    let vm = libvirt_guest();
    let job = vm.guest.start("sleepers", &["pause", "0"], "1 begin");
    let pid = job.pid.to_string();
    let processes = vm.ovmigrate("ps", &["--json"]).json();
    let ours = |process: &&serde_json::Value| process["pid"] == job.pid;
    let shown = processes.as_array().unwrap().iter().find(ours).expect("ps shows it");
    assert_eq!(shown["comm"], "sleepers");
    let details = vm.ovmigrate("inspect", &["--pid", &pid, "--json"]).json();
    assert!(
        details.to_string().contains(&job.log),
        "its output file is among its files: {details}"
    );
    for _ in 0..rounds(20) {
        vm.ovmigrate("freeze", &["--pid", &pid]).stdout();
        let processes = vm.ovmigrate("ps", &["--json"]).json();
        let shown = processes.as_array().unwrap().iter().find(ours).unwrap().clone();
        assert_eq!(shown["frozen"], true, "{shown}");
        vm.ovmigrate("thaw", &["--pid", &pid]).stdout();
    }
    vm.ovmigrate("signal", &["--pid", &pid, "KILL"]).stdout();
    job.wait_for_end();
    assert_clean(&vm);
    works_on(LIBVIRT, "process", &["ps", "inspect", "signal", "freeze"]);
}

#[test]
fn a_counter_is_saved_and_goes_on_where_it_stopped() {
    let vm = libvirt_guest();
    let job = vm.guest.start("counter", &["200"], "3\n");
    let images = vm.scratch.path().join("images");
    let images = ["--images-dir", images.to_str().unwrap()];
    let pid = job.pid.to_string();
    vm.ovmigrate("save", &["--pid", &pid, images[0], images[1]]).stdout();
    assert!(!job.is_alive(), "the source still runs");
    assert_clean(&vm);
    let before = job.log();
    vm.ovmigrate("restore", &images).stdout();
    wait_for("it counts on", || {
        (job.log().lines().count() > before.lines().count() + 5).then_some(())
    });
    let counted: Vec<usize> = job.log().lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(counted, (1..=counted.len()).collect::<Vec<_>>(), "a tick is lost or came twice");
    assert_clean(&vm);
    works_on(LIBVIRT, "process", &["save", "restore"]);
}

#[test]
fn images_come_on_a_disk_to_a_domain_too() {
    let vm = libvirt_guest();
    let job = vm.guest.start("counter", &["200"], "3\n");
    let images = vm.scratch.path().join("images");
    let images = ["--images-dir", images.to_str().unwrap()];
    let pid = job.pid.to_string();
    vm.ovmigrate("save", &["--pid", &pid, images[0], images[1]]).stdout();
    let options = [images[0], images[1], "--via", "disk", "--json"];
    let restored = vm.ovmigrate("restore", &options).json();
    assert_eq!(restored["way"], "disk", "{restored}");
    job.wait_for_output();
    assert_clean(&vm);
    let nodes = r#"{"execute":"query-named-block-nodes","arguments":{"flat":true}}"#;
    let nodes = vm.virsh(&["qemu-monitor-command", vm.guest.name, nodes]);
    assert!(!nodes.contains("ovmigrate-disk-"), "{nodes}");
    assert_eq!(vm.guest.sh("ls /sys/block").trim(), "vda");
}

#[test]
fn a_killed_ovmigrate_leaves_no_paused_domain() {
    let vm = libvirt_guest();
    let job = vm.guest.start("counter", &["200"], "3\n");
    let pid = job.pid.to_string();
    let mut seen_paused = 0;
    for _ in 0..rounds(100) {
        for command in ["freeze", "thaw"] {
            let mut child = Command::new(env!("CARGO_BIN_EXE_ovmigrate"))
                .args(vm.command(command, &["--pid", &pid]))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            // Within a pause, where one is seen, else anywhere.
            for _ in 0..fastrand::u32(1..20) {
                if vm.virsh(&["domstate", vm.guest.name]) == "paused" {
                    seen_paused += 1;
                    break;
                }
            }
            child.kill().unwrap();
            child.wait().unwrap();
            // Long enough for a stop that was under way to show.
            thread::sleep(Duration::from_millis(200));
            wait_for("the domain runs", || {
                (vm.virsh(&["domstate", vm.guest.name]) == "running").then_some(())
            });
        }
    }
    assert!(seen_paused > 0, "no pause was ever met");
    // What continues the domain for one that was killed may take its time, and
    // has it for itself until then.
    wait_for("it is thawed", || {
        vm.ovmigrate("thaw", &["--pid", &pid]).status.success().then_some(())
    });
    job.wait_for_output();
    // The next command takes away what the killed ones left in QEMU.
    vm.ovmigrate("freeze", &["--pid", &pid]).stdout();
    vm.ovmigrate("thaw", &["--pid", &pid]).stdout();
    assert_clean(&vm);
}
