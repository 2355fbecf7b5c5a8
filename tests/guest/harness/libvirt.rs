//! A VM that libvirt runs, for one test at a time.

use std::fs::File;
use std::process::Command;

use nix::fcntl::{Flock, FlockArg};

use super::{Guest, KernelLog, Run, TestKernel, ovmigrate};

/// The VM, until dropped. Its memory is as libvirt makes it by itself: QEMU's
/// own, shared with nobody.
#[derive(Debug)]
pub struct LibvirtGuest {
    pub guest: Guest,
    /// Files of this test on the host.
    pub scratch: tempfile::TempDir,
    log: KernelLog,
    _turn: Flock<File>,
}

/// The libvirt domain of the kernel under test, once no other test has it.
pub fn libvirt_guest() -> LibvirtGuest {
    let kernel = TestKernel::chosen();
    let name = format!("ovmigrate-test-{}-libvirt.lock", kernel.release);
    let lock = File::create(std::env::temp_dir().join(name)).unwrap();
    let turn = Flock::lock(lock, FlockArg::LockExclusive).expect("a lock on a file of ours");
    let guest = Guest::up(kernel, kernel.libvirt_vm, &["--libvirt", "--memory-backend", "none"]);
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    LibvirtGuest { log: KernelLog::of(&guest), guest, scratch, _turn: turn }
}

impl LibvirtGuest {
    /// Runs `ovmigrate COMMAND` on the VM.
    pub fn ovmigrate(&self, command: &str, options: &[&str]) -> Run {
        ovmigrate(self.command(command, options))
    }

    /// The arguments of `ovmigrate` for that.
    pub fn command(&self, command: &str, options: &[&str]) -> Vec<String> {
        // Whichever way a run takes to the other VMs, there is one to this.
        let access: &[&str] = if command == "restore" { &[] } else { &["--access", "auto"] };
        let options = options.iter().chain(access).map(|&option| option.to_owned());
        [command.to_owned()].into_iter().chain(self.guest.arguments()).chain(options).collect()
    }

    /// Runs `virsh` on the connection that has the VM.
    #[track_caller]
    pub fn virsh(&self, args: &[&str]) -> String {
        let uri = self.guest.libvirt.as_deref().expect("libvirt runs it");
        let output = Command::new("virsh").args(["--quiet", "--connect", uri]).args(args).output();
        let output = output.expect("virsh is installed");
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for LibvirtGuest {
    fn drop(&mut self) {
        self.guest.clean();
        if std::thread::panicking() {
            return;
        }
        let log = KernelLog::of(&self.guest);
        let new = log.new_since(&self.log);
        assert!(new.is_empty(), "the kernel of {} complains: {new:#?}", self.guest.name);
    }
}
