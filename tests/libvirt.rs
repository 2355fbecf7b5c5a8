//! Domains of a real libvirt, in a session of its own: `qemu:///session` of
//! another user where the tests run as root. The domains run firmware only.

#![cfg(feature = "libvirt")]

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::{Gid, Uid};
use ovmigrate::domain::{Domain, DomainError, Interrupt};
use serde_json::json;

/// Who has the session where the tests run as root: Debian's `nobody`.
const USER: u32 = 65534;

/// How long libvirt may take for what takes milliseconds otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// Names the domain, to the test that is run in a process of its own.
const SPEC: &str = "OVMIGRATE_TEST_LIBVIRT_DOMAIN";

fn wait_for(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !happened() {
        assert!(Instant::now() < deadline, "after {PATIENCE:?} still not: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A libvirt daemon and its domains; ended when dropped.
struct Libvirt {
    daemon: Child,
    dir: tempfile::TempDir,
    domains: Vec<String>,
}

impl Libvirt {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("libvirtd");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(fs::File::create(dir.path().join("log")).unwrap());
        command.current_dir(dir.path()).env("HOME", dir.path());
        for (name, folder) in [("RUNTIME_DIR", "r"), ("CONFIG_HOME", "c"), ("CACHE_HOME", "k")] {
            let folder = dir.path().join(folder);
            fs::create_dir(&folder).unwrap();
            command.env(format!("XDG_{name}"), folder);
        }
        if Uid::effective().is_root() {
            let (user, group) = (Uid::from_raw(USER), Gid::from_raw(USER));
            for folder in ["", "r", "c", "k"] {
                nix::unistd::chown(&dir.path().join(folder), Some(user), Some(group)).unwrap();
            }
            command.uid(USER).gid(USER);
        }
        let daemon = command.spawn().expect("libvirtd is installed");
        let libvirt = Self { daemon, dir, domains: Vec::new() };
        wait_for("libvirtd answers", || libvirt.virsh(&["list"]).is_ok());
        libvirt
    }

    fn uri(&self) -> String {
        let socket = self.dir.path().join("r/libvirt/libvirt-sock");
        format!("qemu:///session?socket={}", socket.display())
    }

    fn virsh(&self, args: &[&str]) -> Result<String, String> {
        let output = Command::new("virsh")
            .args(["--quiet", "--connect", &self.uri()])
            .args(args)
            .output()
            .expect("virsh is installed");
        let text = |bytes| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Defines and starts a domain as libvirt makes one that is told nothing.
    fn run(&mut self, name: &str) -> String {
        let name = format!("{name}-{}", std::process::id());
        let xml = format!(
            "<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory><vcpu>2</vcpu>\
             <os><type arch='x86_64' machine='q35'>hvm</type></os>\
             <devices><controller type='usb' model='none'/><memballoon model='none'/></devices>\
             </domain>"
        );
        let file = self.dir.path().join(format!("{name}.xml"));
        fs::write(&file, xml).unwrap();
        self.virsh(&["define", file.to_str().unwrap()]).unwrap();
        self.domains.push(name.clone());
        self.virsh(&["start", &name]).unwrap();
        name
    }

    fn spec(&self, name: &str) -> String {
        format!("libvirt:{}#{name}", self.uri())
    }

    fn state(&self, name: &str) -> String {
        self.virsh(&["domstate", name]).unwrap()
    }

    /// The files of a domain's own folder.
    fn files(&self, name: &str) -> Vec<PathBuf> {
        let lib = self.dir.path().join("c/libvirt/qemu/lib");
        let folders = fs::read_dir(lib).unwrap().map(|entry| entry.unwrap().path());
        let is_ours = |folder: &PathBuf| {
            let folder = folder.file_name().unwrap().to_string_lossy().into_owned();
            // libvirt shortens names to 20 characters.
            folder.starts_with("domain-") && folder.ends_with(&name[..name.len().min(20)])
        };
        let folder = folders.into_iter().find(is_ours).expect("the domain has a folder");
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        files
    }
}

impl Drop for Libvirt {
    fn drop(&mut self) {
        for name in &self.domains {
            let _ = self.virsh(&["destroy", name]);
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

fn chardevs(domain: &Domain) -> Vec<String> {
    let answer = domain.qmp().execute("query-chardev", json!({})).unwrap();
    let labels = answer.as_array().unwrap().iter().map(|c| c["label"].as_str().unwrap().to_owned());
    // The gdb stub has a monitor within QEMU that it makes once.
    labels.filter(|label| !label.starts_with('#')).collect()
}

#[test]
fn found_by_name_and_by_the_pid_that_libvirt_does_not_tell() {
    let mut libvirt = Libvirt::start();
    let name = libvirt.run("found");
    let by_name = Domain::find(&libvirt.spec(&name)).unwrap();
    let pidfile = libvirt.dir.path().join(format!("r/libvirt/qemu/run/{name}.pid"));
    let pid: i32 = fs::read_to_string(pidfile).unwrap().trim().parse().unwrap();
    assert_eq!((by_name.name(), by_name.process().pid()), (name.as_str(), pid));
    by_name.require_running().unwrap();
    assert_eq!(by_name.vcpus().unwrap().len(), 2);
    let total: u64 = by_name.ram_blocks().unwrap().iter().map(|block| block.len).sum();
    assert!((63 << 20) < total && total <= 64 << 20, "{total:#x}");
    // It belongs to libvirt by whatever name it is found; two can use it at once.
    let error = Domain::find(&format!("pid:{pid}")).err().map(|e| e.to_string());
    if let Some(error) = error {
        assert!(error.contains("--connect"), "{error}");
    }
    let again = Domain::find(&libvirt.spec(&name)).unwrap();
    again.require_running().unwrap();
    // The guest has no agent.
    let error = again.agent().unwrap().run(&["true"], b"", PATIENCE).unwrap_err().to_string();
    assert!(error.contains(&name) && error.contains("agent"), "{error}");
}

/// With all that it needs, libvirt's library takes most of the time of a short
/// command to load.
#[test]
fn a_command_starts_without_libvirt() {
    let program = fs::read(env!("CARGO_BIN_EXE_ovmigrate")).unwrap();
    let needed = goblin::elf::Elf::parse(&program).unwrap().libraries;
    assert!(needed.contains(&"libc.so.6"), "{needed:?}");
    assert!(!needed.iter().any(|name| name.contains("virt")), "{needed:?}");
}

#[test]
fn what_is_wrong_is_said() {
    let mut libvirt = Libvirt::start();
    let name = libvirt.run("wrong");
    let missing = Domain::find(&libvirt.spec("no-such-domain")).unwrap_err();
    assert!(matches!(missing, DomainError::NoLibvirtDomain { .. }), "{missing}");
    libvirt.virsh(&["suspend", &name]).unwrap();
    let domain = Domain::find(&libvirt.spec(&name)).unwrap();
    let error = domain.pause().unwrap_err().to_string();
    assert!(error.contains("paused by its operator"), "{error}");
    drop(domain);
    assert_eq!(libvirt.state(&name), "paused");
    libvirt.virsh(&["destroy", &name]).unwrap();
    let error = Domain::find(&libvirt.spec(&name)).unwrap_err().to_string();
    assert!(error.contains("has not been started"), "{error}");
    let unreachable = Domain::find("libvirt:qemu:///session?socket=/nowhere/sock#vm").unwrap_err();
    let unreachable = unreachable.to_string();
    assert!(unreachable.contains("/nowhere/sock"), "{unreachable}");
    assert_eq!(unreachable.lines().count(), 1);
}

#[test]
fn interrupts_are_raised_and_nothing_stays() {
    let mut libvirt = Libvirt::start();
    let name = libvirt.run("stub");
    let files = libvirt.files(&name);
    let domain = Domain::find(&libvirt.spec(&name)).unwrap();
    let before = chardevs(&domain);
    for vcpu in domain.vcpus().unwrap().iter().cycle().take(10) {
        let mut pause = domain.pause_to_interrupt().unwrap();
        pause.raise(&[Interrupt { apic_id: vcpu.apic_id, vector: 0xfd }]).unwrap();
        assert_eq!(libvirt.state(&name), "paused");
        pause.resume().unwrap();
        assert_eq!(libvirt.state(&name), "running");
    }
    assert_eq!(chardevs(&domain), before);
    assert_eq!(libvirt.files(&name), files);
    assert!(libvirt.virsh(&["dominfo", &name]).unwrap().contains("running"));
    drop(domain);
    assert_eq!(libvirt.state(&name), "running");
}

#[test]
fn a_pause_ends_with_the_process_that_made_it() {
    let mut libvirt = Libvirt::start();
    let name = libvirt.run("killed");
    for _ in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_process_that_pauses_and_waits", "--ignored"])
            .env(SPEC, libvirt.spec(&name))
            .spawn()
            .unwrap();
        wait_for("the domain is paused", || libvirt.state(&name) == "paused");
        thread::sleep(Duration::from_millis(fastrand::u64(..300)));
        assert_eq!(libvirt.state(&name), "paused");
        child.kill().unwrap();
        child.wait().unwrap();
        wait_for("the domain runs", || libvirt.state(&name) == "running");
    }
    // What the killed ones left in QEMU is removed, or in the way of none.
    let domain = Domain::find(&libvirt.spec(&name)).unwrap();
    let mut pause = domain.pause_to_interrupt().unwrap();
    pause.raise(&[Interrupt { apic_id: 0, vector: 0xfd }]).unwrap();
    pause.resume().unwrap();
    assert!(!chardevs(&domain).iter().any(|label| label.contains("ovmigrate")));

    let files = libvirt.files(&name);
    assert!(!files.iter().any(|path| path.to_string_lossy().contains("ovmigrate")), "{files:?}");
}

/// Run in a process of its own, which is killed.
#[test]
#[ignore = "it waits to be killed"]
fn a_process_that_pauses_and_waits() {
    let domain = Domain::find(&std::env::var(SPEC).expect("run by another test")).unwrap();
    let mut pause = domain.pause_to_interrupt().unwrap();
    pause.raise(&[Interrupt { apic_id: 0, vector: 0xfd }]).unwrap();
    thread::sleep(PATIENCE);
    drop(pause);
}
