//! Kernels that tell little of themselves: no VMCOREINFO, no types.

use std::io;
use std::ops::Range;
use std::process::Command;
use std::sync::Arc;

use ovmigrate::attach::Attachment;
use ovmigrate::inspect;
use ovmigrate::kernel::{
    AttachOptions, AttachReport, FoundBy, Kernel, KernelError, Knowledge, Place, Profile,
    ProfileCache, ProfileFrom, ProfileLibrary,
};
use ovmigrate::linux::DECLARATIONS;
use ovmigrate::memory::{
    Backing, CpuPaging, FilePiece, GuestMemory, GuestPhys, GuestVirt, MappedFile, Region,
};
use serde_json::Value;

use crate::harness::{Guest, guests, ovmigrate};

/// RAM with parts that read as zeros.
#[derive(Debug)]
struct Censored {
    ram: MappedFile,
    /// Offsets in the region.
    hidden: Vec<Range<u64>>,
}

impl Backing for Censored {
    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.ram.read(offset, buf)?;
        let end = offset + buf.len() as u64;
        for hidden in &self.hidden {
            let (from, to) = (hidden.start.max(offset), hidden.end.min(end));
            if from < to {
                buf[(from - offset) as usize..(to - offset) as usize].fill(0);
            }
        }
        Ok(())
    }

    fn write(&self, _offset: u64, _bytes: &[u8]) -> io::Result<()> {
        Err(io::Error::other("nothing is written here"))
    }

    fn borrow(&self, _offset: u64, _len: usize) -> Option<&[u8]> {
        None
    }

    fn next_data(&self, offset: u64) -> Option<Range<u64>> {
        self.ram.next_data(offset)
    }
}

/// A guest's memory without what lies in `hidden`.
fn censored(vm: &Attachment, hidden: &[Range<GuestPhys>]) -> Arc<GuestMemory> {
    let blocks = vm.domain.ram_blocks().unwrap();
    let regions = blocks.iter().map(|block| {
        let shared = block.backing.as_ref().expect("the test VMs share their RAM");
        let file = FilePiece { file: shared.open().unwrap(), offset: shared.offset };
        let ram = MappedFile::new(file, block.len, None).unwrap();
        let offset = |phys: GuestPhys| phys.get().saturating_sub(block.guest_phys);
        let hidden = hidden.iter().map(|range| offset(range.start)..offset(range.end)).collect();
        let backing = Box::new(Censored { ram, hidden });
        Region { start: GuestPhys::new(block.guest_phys), len: block.len, backing }
    });
    Arc::new(GuestMemory::new(regions.collect()).unwrap())
}

fn cpus(vm: &Attachment) -> Vec<CpuPaging> {
    let registers = vm.domain.control_registers().unwrap();
    let paging = registers
        .iter()
        .filter_map(|cpu| CpuPaging::from_registers(cpu.cr0, cpu.cr3, cpu.cr4, cpu.efer));
    paging.collect()
}

fn attach(
    memory: &Arc<GuestMemory>,
    library: ProfileLibrary,
    cpus: &dyn Fn() -> Vec<CpuPaging>,
) -> Result<(Kernel, AttachReport), KernelError> {
    let knowledge = Knowledge { cache: ProfileCache::none(), library, given: None };
    let declarations = &DECLARATIONS;
    let options = AttachOptions { declarations, knowledge: &knowledge, instance: None, cpus };
    Kernel::attach(memory.clone(), &options)
}

/// The profile that a VM's memory tells.
fn told(guest: &Guest) -> Value {
    let shown = ovmigrate(["profile", "show", "--json", "--domain", guest.name]).json();
    shown["profile"].clone()
}

/// The kernel file that the guest has booted, copied to the host.
fn vmlinuz(guest: &Guest, folder: &std::path::Path) -> String {
    let script = "release=$(uname -r); for file in /boot/vmlinuz-$release \
                  /usr/lib/modules/$release/vmlinuz; do test -e $file && echo $file; done; true";
    let path = guest.sh(script);
    let path = path.lines().next().expect("the guest has its kernel's file");
    let here = folder.join("vmlinuz");
    guest.pull(path, &here);
    here.to_str().unwrap().to_owned()
}

#[test]
fn a_kernels_file_and_its_memory_tell_the_same() {
    let guests = guests();
    let file = vmlinuz(&guests.source, &guests.folder);
    let built = ovmigrate(["profile", "build", "--vmlinux", &file]).json();
    let told = told(&guests.source);
    for part in ["release", "build_id", "symbols", "structs"] {
        assert_eq!(built[part], told[part], "{part}");
    }
    assert!(built["structs"]["task_struct"]["members"]["pid"]["offset"].is_u64());
}

#[test]
fn everything_that_is_read_is_checked() {
    let guests = guests();
    let check = ["profile", "check", "--json", "--domain", guests.source.name];
    let checked = ovmigrate(check).json();
    assert_eq!(checked["complete"], true);
    let items = checked["items"].as_array().unwrap();
    let find = |structure: Value, name: &str| {
        items.iter().find(|item| item["struct"] == structure && item["name"] == name).unwrap()
    };
    let state = find("task_struct".into(), "pid");
    assert_eq!((&state["found"], &state["from"]), (&"pid".into(), &"BTF in guest memory".into()));
    assert_eq!(find(Value::Null, "init_task")["from"], "kallsyms in guest memory");
    // Without something that must be there it fails and says what.
    let mut spoilt: Value = told(&guests.source);
    spoilt["format"] = 1.into();
    spoilt["structs"]["task_struct"]["members"].as_object_mut().unwrap().remove("pid");
    let path = guests.folder.join("spoilt.json");
    std::fs::write(&path, spoilt.to_string()).unwrap();
    let failed = ovmigrate(["profile", "check", path.to_str().unwrap()]);
    assert!(failed.error().contains("task_struct.pid"));
}

#[test]
fn a_profile_of_another_build_is_refused_unless_forced() {
    let guests = guests();
    let mut other = told(&guests.source);
    let build_id = "0123456789abcdef0123456789abcdef01234567";
    other["format"] = 1.into();
    other["build_id"] = build_id.into();
    let path = guests.folder.join("other.json");
    std::fs::write(&path, other.to_string()).unwrap();
    let path = path.to_str().unwrap();
    let ps = ["ps", "--domain", guests.source.name, "--profile", path];
    let message = ovmigrate(ps).error();
    assert!(message.contains(build_id) && message.contains("--force-profile"), "{message}");
    let forced = ovmigrate(ps.iter().chain(&["--force-profile"]));
    assert!(forced.stderr.contains(build_id), "no warning: {}", forced.stderr);
    assert!(forced.stdout().contains("/sbin/init"));
}

#[test]
fn a_kernel_without_vmcoreinfo_is_found_by_its_cpus() {
    let guests = guests();
    let vm = guests.source.attach();
    let (whole, no_cpus) = (censored(&vm, &[]), &Vec::new);
    // Every copy of the note: they are found by looking for them.
    let mut hidden = Vec::new();
    let by_note = loop {
        let memory = censored(&vm, &hidden);
        match attach(&memory, ProfileLibrary::none(), no_cpus) {
            Ok((kernel, report)) => {
                let FoundBy::Vmcoreinfo(page) = report.found_by else { panic!("{report:?}") };
                hidden.push(page..page.checked_add(4096).unwrap());
                assert!(hidden.len() < 100, "the note is everywhere");
                if hidden.len() == 1 {
                    assert_eq!(kernel.located(), vm.kernel.located());
                }
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(by_note, KernelError::NotFound { .. }), "{by_note}");
    assert!(!hidden.is_empty());
    let memory = censored(&vm, &hidden);
    let (kernel, report) = attach(&memory, ProfileLibrary::none(), &|| cpus(&vm)).unwrap();
    assert_eq!(report.found_by, FoundBy::Cpu);
    assert_eq!(kernel.located(), vm.kernel.located());
    let (noted, _) = attach(&whole, ProfileLibrary::none(), no_cpus).unwrap();
    assert_eq!(kernel.profile(), noted.profile());
}

#[test]
fn a_guest_without_types_is_read_by_a_stored_profile() {
    let guests = guests();
    let vm = guests.source.attach();
    let file = vmlinuz(&guests.source, &guests.folder);
    let path = guests.folder.join("built.json");
    let output = path.to_str().unwrap();
    ovmigrate(["profile", "build", "--vmlinux", &file, "--output", output]).stdout();
    let memory = censored(&vm, &[types(&guests.source, &vm.kernel)]);
    let cpus = || cpus(&vm);
    let error = attach(&memory, ProfileLibrary::none(), &cpus).unwrap_err();
    assert!(matches!(error, KernelError::NoTypes { .. }), "{error}");
    let library = ProfileLibrary::at(&guests.folder);
    let (kernel, report) = attach(&memory, library, &cpus).unwrap();
    assert_eq!(report.profile_from, ProfileFrom::Stored(Place::File(path)));
    let profile: &Profile = kernel.profile();
    assert_eq!(profile.structs, vm.kernel.profile().structs);
    // Those that never end; kernel threads come and go.
    let first = |kernel: &Kernel| -> Vec<_> {
        let processes = inspect::processes(kernel, false).unwrap().into_iter();
        processes.map(|process| process.pid).filter(|pid| [1, 2].contains(pid)).collect()
    };
    assert_eq!(first(&kernel), first(&vm.kernel));
    assert_eq!(first(&kernel).len(), 2);
}

/// Where the kernel's BTF lies, as the guest itself tells.
fn types(guest: &Guest, kernel: &Kernel) -> Range<GuestPhys> {
    let symbols = guest.sh("grep -E ' __(start|stop)_BTF$' /proc/kallsyms | sort");
    let mut ends = symbols.lines().map(|line| {
        let addr = u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap();
        kernel.located().image_phys(GuestVirt::new(addr))
    });
    ends.next().expect("__start_BTF")..ends.next().expect("__stop_BTF")
}

#[test]
fn files_that_are_no_kernel_are_named() {
    let guests = guests();
    let path = guests.folder.join("file");
    for (content, part) in [(&b"text"[..], "neither vmlinux nor a bzImage"), (b"", "no ELF")] {
        std::fs::write(&path, content).unwrap();
        let message = ovmigrate(["profile", "build", "--vmlinux", path.to_str().unwrap()]).error();
        assert!(message.contains(part), "{message}");
    }
    let message = ovmigrate(["profile", "build", "--vmlinux", "/bin/true"]).error();
    assert!(message.contains("/bin/true"), "{message}");
}

#[test]
fn stored_profiles_are_listed() {
    let guests = guests();
    let told = told(&guests.source);
    let mut file = told.clone();
    file["format"] = 1.into();
    std::fs::write(guests.folder.join("mine.json"), file.to_string()).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_ovmigrate"))
        .args(["profile", "list", "--json"])
        .env("OVMIGRATE_PROFILES", &guests.folder)
        .output()
        .unwrap();
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let listed = listed.as_array().unwrap();
    let places: Vec<_> = listed
        .iter()
        .filter(|known| known["build_id"] == told["build_id"])
        .map(|known| known["place"].as_str().unwrap())
        .collect();
    assert!(places[0].ends_with("mine.json"), "{places:?}");
    assert!(places.iter().any(|place| place.starts_with("cache (")), "{places:?}");
    assert!(listed.iter().any(|known| known["place"].as_str().unwrap().starts_with("built in")));
}
