//! Finding VMs and their RAM, and pausing them, on live QEMU processes that run firmware only.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ovmigrate::domain::{Domain, DomainError, Interrupt};
use serde_json::json;

/// A QEMU without disks; killed when dropped.
struct Firmware {
    child: Child,
    dir: tempfile::TempDir,
    name: String,
}

impl Firmware {
    fn start(name: &str, args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let name = format!("{name}-{}", std::process::id());
        let child = Command::new("qemu-system-x86_64")
            .args(["-accel", "tcg", "-display", "none", "-nodefaults", "-device", "VGA"])
            .args(["-name", &format!("guest={name},debug-threads=on")])
            .args(["-qmp", "unix:first.qmp,server=on,wait=off"])
            .args(["-chardev", "socket,id=second,path=second.qmp,server=on,wait=off"])
            .args(["-mon", "chardev=second,mode=control"])
            .args(args)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .spawn()
            .expect("qemu-system-x86_64 is installed");
        let vm = Self { child, dir, name };
        let deadline = Instant::now() + Duration::from_secs(20);
        while !vm.socket("second.qmp").exists() {
            assert!(Instant::now() < deadline, "QEMU does not start");
            thread::sleep(Duration::from_millis(20));
        }
        vm
    }

    fn socket(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }
}

impl Drop for Firmware {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes a pattern through the file that is said to be behind the guest's
/// RAM; QEMU's own `pmemsave` must see it.
fn assert_backed(vm: &Firmware, domain: &Domain, guest_phys: u64) {
    let blocks = domain.ram_blocks().unwrap();
    let holds = |start: u64, len: u64| (start..start + len).contains(&guest_phys);
    let block = blocks.iter().find(|block| holds(block.guest_phys, block.len)).unwrap();
    let shared = block.backing.as_ref().expect("the backend is shared");
    let pattern: Vec<u8> = (0..4096).map(|i| (i * 7 + guest_phys / 4096) as u8).collect();
    let offset = shared.offset + (guest_phys - block.guest_phys);
    shared.open().unwrap().write_all_at(&pattern, offset).unwrap();
    let dump = vm.socket("dump");
    let args = json!({ "val": guest_phys, "size": pattern.len(), "filename": dump });
    domain.qmp().execute("pmemsave", args).unwrap();
    assert!(fs::read(&dump).unwrap() == pattern, "at {guest_phys:#x}");
}

#[test]
fn found_by_name_socket_and_pid() {
    let vm = Firmware::start("found", &["-m", "64M"]);
    let pid = vm.child.id() as i32;
    let by_name = Domain::find(&vm.name).unwrap();
    assert_eq!((by_name.process().pid(), by_name.name()), (pid, vm.name.as_str()));
    // The first monitor is now taken: the second one serves.
    let by_pid = Domain::find(&format!("pid:{pid}")).unwrap();
    assert_eq!(by_pid.name(), vm.name);
    by_pid.require_running().unwrap();
    let error = Domain::find(&vm.name).unwrap_err().to_string();
    assert!(error.contains("first.qmp") && error.contains("second.qmp"), "{error}");
    drop(by_name);
    let by_socket = Domain::find(&format!("qmp:{}", vm.socket("first.qmp").display())).unwrap();
    assert_eq!(by_socket.process().pid(), pid);
}

#[test]
fn what_is_wrong_is_said() {
    let vm = Firmware::start("twin", &["-m", "64M", "-S"]);
    let missing = Domain::find("no-such-vm").unwrap_err().to_string();
    assert!(missing.contains("no-such-vm") && missing.contains(&vm.name), "{missing}");
    let stopped = Domain::find(&vm.name).unwrap().require_running().unwrap_err().to_string();
    assert!(stopped.contains("prelaunch"), "{stopped}");
    assert!(matches!(Domain::find("pid:1"), Err(DomainError::NotQemu(1))));
    assert!(matches!(Domain::find("pid:x"), Err(DomainError::BadSpec(_))));
    assert!(matches!(Domain::find(""), Err(DomainError::BadSpec(_))));
    let twin = Firmware::start("twin", &["-m", "64M"]);
    let ambiguous = Domain::find(&twin.name).unwrap_err();
    assert!(matches!(ambiguous, DomainError::Ambiguous { pids, .. } if pids.len() == 2));
    let absent = Domain::find("qmp:/nowhere/qmp").unwrap_err().to_string();
    assert!(absent.contains("/nowhere/qmp"), "{absent}");
}

#[test]
fn ram_of_a_shared_backend_on_both_sides_of_the_pci_hole() {
    for machine in ["q35", "pc"] {
        let machine = format!("{machine},memory-backend=ram0");
        let object = "memory-backend-memfd,id=ram0,size=6G,share=on";
        let vm = Firmware::start("shared", &["-machine", &machine, "-m", "6G", "-object", object]);
        let domain = Domain::find(&vm.name).unwrap();
        let blocks = domain.ram_blocks().unwrap();
        // What firmware and the video window hide lies below 1 MiB.
        let total: u64 = blocks.iter().map(|block| block.len).sum();
        assert!((6 << 30) - (1 << 20) < total && total <= 6 << 30, "{machine}: {total:#x}");
        assert!(blocks.iter().any(|block| block.guest_phys == 4 << 30), "{machine}");
        let ends = blocks.iter().map(|block| block.guest_phys + block.len);
        assert!(ends.zip(&blocks[1..]).all(|(end, next)| end <= next.guest_phys));
        domain.qmp().execute("stop", json!({})).unwrap();
        for guest_phys in [0, 1 << 20, 5 << 30] {
            assert_backed(&vm, &domain, guest_phys);
        }
    }
}

#[test]
fn ram_of_a_private_backend_has_no_file() {
    let vm = Firmware::start("private", &["-m", "1G"]);
    let domain = Domain::find(&vm.name).unwrap();
    let blocks = domain.ram_blocks().unwrap();
    assert!(!blocks.is_empty());
    assert!(blocks.iter().all(|block| block.backing.is_none() && block.host_virt != 0));
}

fn state(domain: &Domain) -> String {
    domain.qmp().run_state().unwrap()
}

#[test]
fn a_pause_ends_with_its_guard_or_with_us() {
    let vm = Firmware::start("pause", &["-m", "64M", "-smp", "2"]);
    let domain = Domain::find(&vm.name).unwrap();
    for _ in 0..50 {
        let pause = domain.pause().unwrap();
        assert_eq!(state(&domain), "paused");
        assert!(matches!(domain.pause(), Err(DomainError::NotRunning { .. })), "nested");
        pause.resume().unwrap();
        assert_eq!(state(&domain), "running");
    }
    drop(domain.pause().unwrap());
    assert_eq!(state(&domain), "running");
    // What a SIGKILL leaves: a pause that nobody ends.
    std::mem::forget(domain.pause().unwrap());
    let second = Domain::find(&format!("qmp:{}", vm.socket("second.qmp").display())).unwrap();
    assert_eq!(state(&second), "paused");
    drop(domain);
    assert_eq!(state(&second), "running");
}

#[test]
fn an_operators_pause_stays() {
    let vm = Firmware::start("operator", &["-m", "64M"]);
    let domain = Domain::find(&vm.name).unwrap();
    domain.qmp().execute("stop", json!({})).unwrap();
    let error = domain.pause().unwrap_err().to_string();
    assert!(error.contains("paused by its operator"), "{error}");
    drop(domain);
    let domain = Domain::find(&vm.name).unwrap();
    assert_eq!(state(&domain), "paused");
}

#[test]
fn raising_an_interrupt_leaves_the_vm_paused_and_the_stub_closed() {
    let vm = Firmware::start("gdb", &["-m", "64M", "-smp", "2"]);
    let domain = Domain::find(&vm.name).unwrap();
    let chardevs = |domain: &Domain| {
        let answer = domain.qmp().execute("query-chardev", json!({})).unwrap();
        answer.as_array().unwrap().iter().map(|c| c["label"].to_string()).collect::<Vec<_>>()
    };
    for vcpu in domain.vcpus().unwrap().iter().cycle().take(20) {
        let mut pause = domain.pause_to_interrupt().unwrap();
        pause.raise(&[Interrupt { apic_id: vcpu.apic_id, vector: 0xfd }]).unwrap();
        assert_eq!(state(&domain), "paused");
        pause.resume().unwrap();
        assert_eq!(state(&domain), "running");
    }
    assert!(!chardevs(&domain).iter().any(|label| label.contains("ovmigrate")));
    // What a process of ours that was killed leaves is removed.
    let mut pause = domain.pause().unwrap();
    pause.raise(&[Interrupt { apic_id: 1, vector: 0xfd }]).unwrap();
    std::mem::forget(pause);
    drop(domain);
    let domain = Domain::find(&vm.name).unwrap();
    let mut pause = domain.pause().unwrap();
    pause.raise(&[Interrupt { apic_id: 1, vector: 0xfd }]).unwrap();
    pause.resume().unwrap();
    assert!(!chardevs(&domain).iter().any(|label| label.contains("ovmigrate")));
    // A debugger is not thrown out.
    let path = vm.socket("gdb");
    domain.qmp().human(&format!("gdbserver unix:{},server=on,wait=off", path.display())).unwrap();
    let mut pause = domain.pause().unwrap();
    let error = pause.raise(&[Interrupt { apic_id: 0, vector: 0xfd }]).unwrap_err().to_string();
    assert!(error.contains("stub is in use"), "{error}");
}

#[test]
fn apic_ids_follow_the_topology() {
    let vm = Firmware::start("smp", &["-m", "64M", "-smp", "6,sockets=2,cores=3,threads=1"]);
    let domain = Domain::find(&vm.name).unwrap();
    let ids: Vec<u32> = domain.vcpus().unwrap().iter().map(|vcpu| vcpu.apic_id).collect();
    // Three cores take two bits of the ID.
    assert_eq!(ids, [0, 1, 2, 4, 5, 6]);
}
