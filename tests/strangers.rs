//! VMs that run no x86-64 Linux, on live QEMU processes: what is said of them.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ovmigrate::attach::{AccessChoice, Attachment};
use ovmigrate::kernel::{Knowledge, ProfileCache};

/// Where a blob is loaded.
const LOAD: u32 = 0x10_0000;

/// `cli; hlt; jmp` back to the `hlt`.
const WAIT: [u8; 4] = [0xfa, 0xf4, 0xeb, 0xfd];

/// 32-bit paging on, with one 4 MiB page that maps itself; the directory lies
/// at 2 MiB.
const PAGING: [u8; 38] = [
    0xc7, 0x05, 0x00, 0x00, 0x20, 0x00, 0x83, 0x00, 0x00, 0x00, // mov [0x200000], 0x83
    0xb8, 0x00, 0x00, 0x20, 0x00, 0x0f, 0x22, 0xd8, // cr3 = 0x200000
    0x0f, 0x20, 0xe0, 0x83, 0xc8, 0x10, 0x0f, 0x22, 0xe0, // cr4 |= PSE
    0x0f, 0x20, 0xc0, 0x0d, 0x00, 0x00, 0x00, 0x80, 0x0f, 0x22, 0xc0, // cr0 |= PG
];

/// A kernel for QEMU's multiboot loader: a header (Multiboot 0.6.96, 3.1) with
/// addresses, code, and text that lies in memory behind it.
fn multiboot(code: &[u8], text: &str) -> Vec<u8> {
    const HEADER: u32 = 32;
    let flags = 1_u32 << 16;
    let magic = 0x1bad_b002_u32;
    let len = HEADER + code.len() as u32 + text.len() as u32;
    let (end, entry) = (LOAD + len, LOAD + HEADER);
    let sum = 0_u32.wrapping_sub(magic).wrapping_sub(flags);
    let words = [magic, flags, sum, LOAD, LOAD, end, end, entry];
    let header = words.iter().flat_map(|word| word.to_le_bytes());
    header.chain(code.iter().copied()).chain(text.bytes()).collect()
}

struct Vm {
    child: Child,
    dir: tempfile::TempDir,
}

impl Vm {
    fn start(kernel: Option<&[u8]>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-accel", "tcg", "-display", "none", "-nodefaults", "-m", "16M"]);
        command.args(["-qmp", "unix:qmp,server=on,wait=off"]);
        if let Some(kernel) = kernel {
            fs::write(dir.path().join("kernel"), kernel).unwrap();
            command.args(["-kernel", "kernel"]);
        }
        let child = command.current_dir(dir.path()).stdin(Stdio::null()).spawn();
        let vm = Self { child: child.expect("qemu-system-x86_64 is installed"), dir };
        let deadline = Instant::now() + Duration::from_secs(20);
        while !vm.dir.path().join("qmp").exists() {
            assert!(Instant::now() < deadline, "QEMU does not start");
            thread::sleep(Duration::from_millis(20));
        }
        vm
    }

    /// The message of an attach.
    fn message(&self) -> String {
        let knowledge = Knowledge::with_cache(ProfileCache::none());
        let spec = format!("pid:{}", self.child.id());
        let error = Attachment::open_with(&spec, &knowledge, AccessChoice::Auto).unwrap_err();
        let message = error.to_string();
        assert_eq!(message.lines().count(), 1, "{message}");
        message
    }

    /// Waits until the message has `part`: the firmware comes first.
    #[track_caller]
    fn assert_said(&self, part: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let message = self.message();
            if message.contains(part) {
                return;
            }
            assert!(Instant::now() < deadline, "{part:?} is not in: {message}");
            thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn firmware_without_a_disk_is_no_operating_system() {
    Vm::start(None).assert_said("it runs no operating system: its CPUs are in real mode");
}

#[test]
fn a_kernel_without_paging_has_not_begun() {
    Vm::start(Some(&multiboot(&WAIT, ""))).assert_said("its CPUs are without paging");
}

#[test]
fn a_32_bit_system_is_named_by_what_its_memory_holds() {
    let code = [&PAGING[..], &WAIT].concat();
    for (text, said) in [
        ("Linux version 2.6.32-5-686 (Debian)", "it runs 32-bit Linux"),
        ("@(#)FreeBSD 8.4-RELEASE", "it runs 32-bit FreeBSD"),
        ("ntkrnlmp.pdb", "it runs 32-bit Windows"),
        ("MINIX", "it runs a 32-bit system"),
    ] {
        Vm::start(Some(&multiboot(&code, text))).assert_said(said);
    }
}
