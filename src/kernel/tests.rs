//! Attaching to a guest made by hand: page tables, VMCOREINFO, symbol tables,
//! types and the variables of a kernel in some pages of RAM.

use std::fs;
use std::sync::Arc;

use proptest::prelude::*;

use super::btf::{kind, tests::Builder};
use super::kallsyms::tests::{LAYOUTS, START, image};
use super::*;
use crate::memory::tests::region;
use crate::memory::{CpuPaging, GuestMemory, GuestPhys, GuestVirt, PageTableLevels};

const RAM: u64 = 8 << 20;
const NOTE: u64 = 0x5000;
const KASLR_OFFSET: u64 = 0x900_0000;
const BUILD_ID: &str = "bb603a9147d3efe4744bf83c83eee397c591cc20";
const PAGE_OFFSET: u64 = 0xffff_8880_0000_0000;
const INSTANCE: InstanceId = InstanceId { pid: 1, start_time: 2 };

// Offsets in the kernel image, which fills 2 MiB.
const BANNER: u64 = 0x800;
const NOTES: u64 = 0xc00;
const TYPES: u64 = 0x8_0000;
const TOP_TABLE: u64 = 0x10_0000;
const VARIABLES: u64 = 0x11_0000;
const INIT_TASK: u64 = 0x12_0000;
// In low memory.
const REAL_MODE_HEADER: u64 = 0x9_9000;
const TRAMPOLINE: u64 = 0x9_a000;

static TASK: StructDecl = StructDecl {
    name: "task_struct",
    fields: &[FieldDecl { name: "pid", paths: &["tgid_absent", "pid"], optional: false }],
    optional: false,
};
static DECLARATIONS: Declarations = Declarations {
    structs: &[&TASK],
    symbols: &[SymbolDecl { name: "runqueues", names: &["runqueues"], optional: false }],
};
static MORE: Declarations = Declarations {
    structs: &[&TASK],
    symbols: &[
        SymbolDecl { name: "runqueues", names: &["runqueues"], optional: false },
        SymbolDecl { name: "cpu_info", names: &["cpu_info"], optional: true },
    ],
};

/// A kernel in a guest's RAM.
#[derive(Clone, Copy)]
struct Spec {
    /// Where its VMCOREINFO is.
    note: u64,
    /// Where its image is.
    phys: u64,
    /// Which layout of the symbol tables it has.
    layout: usize,
    /// Offset of `task_struct.pid`.
    pid_offset: u32,
    /// Offset in the image of `secondary_startup_64`.
    startup: u64,
}

const KERNEL: Spec =
    Spec { note: NOTE, phys: 0x20_0000, layout: 1, pid_offset: 16, startup: 0x100 };

fn empty() -> Vec<u8> {
    vec![0; RAM as usize]
}

fn put(ram: &mut [u8], at: u64, bytes: &[u8]) {
    ram[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
}

fn build_id_note() -> Vec<u8> {
    let mut note: Vec<u8> = [4u32, 20, 3].iter().flat_map(|word| word.to_le_bytes()).collect();
    note.extend(b"GNU\0");
    note.extend((0..20).map(|byte| u8::from_str_radix(&BUILD_ID[byte * 2..][..2], 16).unwrap()));
    note
}

fn types(spec: Spec) -> Vec<u8> {
    let mut btf = Builder::new();
    let int = btf.int("int", 4, 1);
    let long = btf.int("u64", 8, 0);
    let char = btf.int("char", 1, 1);
    let comm = btf.array(char, 16);
    let task = [("comm", comm, 0, 0), ("pid", int, spec.pid_offset * 8, 0)];
    btf.composite(kind::STRUCT, "task_struct", 64, &task);
    btf.composite(kind::STRUCT, "real_mode_header", 16, &[("trampoline_header", int, 64, 0)]);
    btf.composite(kind::STRUCT, "trampoline_header", 8, &[("start", long, 0, 0)]);
    btf.finish(24)
}

/// Boots a kernel: puts it into `ram`, and its trampoline over the last one's.
fn boot(ram: &mut [u8], spec: Spec) {
    let types = types(spec);
    let mut symbols: Vec<(u64, String)> = [
        (0, "T_stext"),
        (spec.startup, "Tsecondary_startup_64"),
        (BANNER, "Dlinux_banner"),
        (NOTES, "R__start_notes"),
        (NOTES + 36, "R__stop_notes"),
        (TYPES, "D__start_BTF"),
        (TYPES + types.len() as u64, "D__stop_BTF"),
        (TOP_TABLE, "Dinit_top_pgt"),
        (VARIABLES, "Dpage_offset_base"),
        (VARIABLES + 8, "Dvmemmap_base"),
        (VARIABLES + 16, "Dreal_mode_header"),
        (INIT_TASK, "Dinit_task"),
        (INIT_TASK + 0x1000, "Drunqueues"),
    ]
    .map(|(offset, name)| (START + offset, name.to_owned()))
    .into();
    symbols.extend((0..20).map(|number| (START + INIT_TASK + 0x2000, format!("dvar_{number}"))));
    let (image, tables) = image(LAYOUTS[spec.layout], &symbols);
    put(ram, spec.phys, &image);
    put(ram, spec.phys + BANNER, b"Linux version 6.1.0-test (somebody@somewhere)\n\0");
    put(ram, spec.phys + NOTES, &build_id_note());
    put(ram, spec.phys + TYPES, &types);
    put(ram, spec.phys + INIT_TASK, b"swapper/0\0");
    let variables = [PAGE_OFFSET, 0xffff_ea00_0000_0000, PAGE_OFFSET + REAL_MODE_HEADER];
    let words: Vec<u8> = variables.iter().flat_map(|word| word.to_le_bytes()).collect();
    put(ram, spec.phys + VARIABLES, &words);
    // Top table, two tables for the image in 2 MiB, one for all RAM in 1 GiB.
    let top = spec.phys + TOP_TABLE;
    for (table, index, entry) in [
        (0, 511, (top + 0x1000) | 3),
        (0x1000, 510, (top + 0x2000) | 3),
        (0x2000, (START >> 21) & 511, spec.phys | 0x83),
        (0, (PAGE_OFFSET >> 39) & 511, (top + 0x3000) | 3),
        (0x3000, 0, 0x83),
    ] {
        put(ram, top + table + index * 8, &u64::to_le_bytes(entry));
    }
    put(ram, REAL_MODE_HEADER + 8, &(TRAMPOLINE as u32).to_le_bytes());
    put(ram, TRAMPOLINE, &(START + spec.startup).to_le_bytes());
    let phys_base = spec.phys.wrapping_sub(START - 0xffff_ffff_8000_0000).cast_signed();
    let mut text = format!(
        "OSRELEASE=6.1.0-test\nBUILD-ID={BUILD_ID}\nSYMBOL(_stext)={START:x}\n\
         SYMBOL(init_top_pgt)={:x}\nNUMBER(phys_base)={phys_base}\n\
         KERNELOFFSET={KASLR_OFFSET:x}\n",
        START + TOP_TABLE,
    );
    for (name, addr) in [
        ("num_syms", Some(tables.num_syms)),
        ("names", Some(tables.names)),
        ("token_table", Some(tables.token_table)),
        ("token_index", Some(tables.token_index)),
        ("offsets", Some(tables.offsets)),
        ("relative_base", tables.relative_base),
    ] {
        if let Some(addr) = addr {
            text += &format!("SYMBOL(kallsyms_{name})={:x}\n", addr.get());
        }
    }
    put(ram, spec.note, text.as_bytes());
    put(ram, spec.note + text.len() as u64, &[0]);
}

fn memory(ram: &[u8]) -> Arc<GuestMemory> {
    Arc::new(GuestMemory::new(vec![region(0, ram.to_vec())]).unwrap())
}

fn attach(ram: &[u8], cache: &ProfileCache) -> Result<(Kernel, AttachReport), KernelError> {
    attach_with(ram, cache, &DECLARATIONS, &|| Vec::new())
}

/// Attaches to a VM whose CPUs are in the kernel at `spec`.
fn attach_by_cpu(
    ram: &[u8],
    cache: &ProfileCache,
    spec: Spec,
) -> Result<(Kernel, AttachReport), KernelError> {
    let paging = CpuPaging { cr3: spec.phys + TOP_TABLE, levels: PageTableLevels::Four };
    attach_with(ram, cache, &DECLARATIONS, &|| vec![paging])
}

fn attach_with(
    ram: &[u8],
    cache: &ProfileCache,
    declarations: &Declarations,
    cpus: &dyn Fn() -> Vec<CpuPaging>,
) -> Result<(Kernel, AttachReport), KernelError> {
    let library = ProfileLibrary::none();
    let knowledge = Knowledge { cache: cache.clone(), library, given: None };
    attach_knowing(ram, &knowledge, declarations, cpus)
}

fn attach_knowing(
    ram: &[u8],
    knowledge: &Knowledge,
    declarations: &Declarations,
    cpus: &dyn Fn() -> Vec<CpuPaging>,
) -> Result<(Kernel, AttachReport), KernelError> {
    let options = AttachOptions { declarations, knowledge, instance: Some(INSTANCE), cpus };
    Kernel::attach(memory(ram), &options)
}

fn pid_offset(kernel: &Kernel) -> u64 {
    kernel.layout(&TASK).unwrap().members[0].unwrap().offset
}

#[test]
fn a_kernel_is_found_in_every_layout() {
    for layout in 0..LAYOUTS.len() {
        let mut ram = empty();
        boot(&mut ram, Spec { layout, ..KERNEL });
        let (kernel, report) = attach(&ram, &ProfileCache::none()).unwrap();
        assert_eq!(report.profile_from, ProfileFrom::Guest);
        assert_eq!(report.found_by, FoundBy::Vmcoreinfo(GuestPhys::new(NOTE)));
        assert_eq!(kernel.release(), "6.1.0-test");
        assert_eq!(kernel.profile().symbols["init_task"], START + INIT_TASK - KASLR_OFFSET);
        assert_eq!(kernel.symbol("runqueues"), Some(GuestVirt::new(START + INIT_TASK + 0x1000)));
        assert_eq!(pid_offset(&kernel), 16);
        let mut comm = [0; 7];
        kernel.read(GuestVirt::new(START + INIT_TASK), &mut comm).unwrap();
        assert_eq!(&comm, b"swapper");
    }
}

#[test]
fn a_kernel_without_a_note_is_found_by_a_cpu_in_every_layout() {
    for layout in 0..LAYOUTS.len() {
        let mut ram = empty();
        let spec = Spec { layout, ..KERNEL };
        boot(&mut ram, spec);
        let (by_note, _) = attach(&ram, &ProfileCache::none()).unwrap();
        put(&mut ram, NOTE, &[0; 4096]);
        assert!(attach(&ram, &ProfileCache::none()).is_err());
        let (kernel, report) = attach_by_cpu(&ram, &ProfileCache::none(), spec).unwrap();
        assert_eq!(report.found_by, FoundBy::Cpu);
        assert_eq!(kernel.located(), by_note.located());
        assert_eq!(kernel.profile(), by_note.profile());
    }
}

#[test]
fn a_cpu_in_user_mode_under_page_table_isolation_leads_to_the_kernel() {
    let mut ram = empty();
    boot(&mut ram, KERNEL);
    put(&mut ram, NOTE, &[0; 4096]);
    // The halves of a pair are neighbours; the user's maps one page of entry
    // code. CR3 also has a PCID.
    let (kernel_half, user_half) = (0x70_0000, 0x70_1000);
    let top = KERNEL.phys + TOP_TABLE;
    ram.copy_within(top as usize..top as usize + 0x1000, kernel_half);
    for (table, index, entry) in
        [(user_half, 511, 0x70_2003), (0x70_2000, 510, 0x70_3003), (0x70_3000, 80, 0x70_4003)]
    {
        put(&mut ram, table as u64 + index * 8, &u64::to_le_bytes(entry));
    }
    put(&mut ram, 0x70_4000, &u64::to_le_bytes(KERNEL.phys | 1));
    let cr3 = user_half as u64 | 0x5;
    let cpu = CpuPaging { cr3, levels: PageTableLevels::Four };
    let (kernel, report) =
        attach_with(&ram, &ProfileCache::none(), &DECLARATIONS, &|| vec![cpu]).unwrap();
    assert_eq!(report.found_by, FoundBy::Cpu);
    assert_eq!(kernel.located().page_table, GuestPhys::new(top));
}

#[test]
fn a_second_attach_uses_the_cache_and_other_declarations_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let cache = ProfileCache::at(folder.path());
    let mut ram = empty();
    boot(&mut ram, KERNEL);
    let (cold, _) = attach(&ram, &cache).unwrap();
    let (warm, report) = attach(&ram, &cache).unwrap();
    assert_eq!(report.profile_from, ProfileFrom::Cache);
    assert_eq!(cold.profile(), warm.profile());
    let (_, report) = attach_with(&ram, &cache, &MORE, &|| Vec::new()).unwrap();
    assert_eq!(report.profile_from, ProfileFrom::Guest);
}

#[test]
fn a_kernel_that_moved_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let cache = ProfileCache::at(folder.path());
    let mut ram = empty();
    boot(&mut ram, KERNEL);
    attach(&ram, &cache).unwrap();
    let mut ram = empty();
    let note = 0x7_7000;
    boot(&mut ram, Spec { note, phys: 0x40_0000, ..KERNEL });
    for found_by in [FoundBy::Vmcoreinfo(GuestPhys::new(note)), FoundBy::Cache] {
        let (_, report) = attach(&ram, &cache).unwrap();
        assert_eq!(report.profile_from, ProfileFrom::Cache);
        assert_eq!(report.found_by, found_by);
    }
}

#[test]
fn a_guest_that_lies_about_its_build_id_spoils_no_other_guest() {
    let folder = tempfile::tempdir().unwrap();
    let cache = ProfileCache::at(folder.path());
    for pid_offset_there in [32, 16] {
        let mut ram = empty();
        boot(&mut ram, Spec { pid_offset: pid_offset_there, ..KERNEL });
        let (kernel, report) = attach(&ram, &cache).unwrap();
        assert_eq!(report.profile_from, ProfileFrom::Guest);
        assert_eq!(pid_offset(&kernel), u64::from(pid_offset_there));
    }
}

#[test]
fn spoilt_cache_files_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let cache = ProfileCache::at(folder.path());
    let mut ram = empty();
    boot(&mut ram, KERNEL);
    attach(&ram, &cache).unwrap();
    for room in ["profiles", "instances"] {
        for entry in fs::read_dir(folder.path().join(room)).unwrap() {
            fs::write(entry.unwrap().path(), "{\"parts\": [[0,").unwrap();
        }
    }
    assert_eq!(attach(&ram, &cache).unwrap().1.profile_from, ProfileFrom::Guest);
    assert_eq!(attach(&ram, &cache).unwrap().1.profile_from, ProfileFrom::Cache);
}

#[test]
fn a_kernel_of_before_the_reboot_is_not_attached_to() {
    let mut ram = empty();
    let old = Spec { note: 0x3000, ..KERNEL };
    let new = Spec { note: 0x7000, phys: 0x40_0000, startup: 0x200, pid_offset: 32, ..KERNEL };
    boot(&mut ram, old);
    let folder = tempfile::tempdir().unwrap();
    let cache = ProfileCache::at(folder.path());
    attach(&ram, &cache).unwrap();
    boot(&mut ram, new);
    let (kernel, report) = attach(&ram, &cache).unwrap();
    assert_eq!(report.found_by, FoundBy::Vmcoreinfo(GuestPhys::new(new.note)));
    assert_eq!(pid_offset(&kernel), 32);
}

/// A kernel whose memory tells no types, and the profile that it would have.
fn without_types() -> (Vec<u8>, Profile) {
    let mut ram = empty();
    boot(&mut ram, KERNEL);
    let (kernel, _) = attach(&ram, &ProfileCache::none()).unwrap();
    put(&mut ram, KERNEL.phys + TYPES, &[0; 64]);
    (ram, Profile::clone(kernel.profile()))
}

fn knowing(library: ProfileLibrary, given: Option<(&Profile, bool)>) -> Knowledge {
    let given = given.map(|(profile, force)| GivenProfile {
        known: KnownProfile { profile: profile.clone(), place: Place::BuiltIn("given") },
        force,
    });
    Knowledge { cache: ProfileCache::none(), library, given }
}

#[test]
fn a_kernel_without_types_is_read_by_the_stored_profile_of_its_build() {
    let (ram, profile) = without_types();
    let no_cpus = &Vec::new;
    let error = attach(&ram, &ProfileCache::none()).unwrap_err();
    assert!(matches!(&error, KernelError::NoTypes { build_id, .. } if build_id == BUILD_ID));
    let folder = tempfile::tempdir().unwrap();
    let other = Profile { build_id: "f".repeat(40), ..profile.clone() };
    fs::write(folder.path().join("a.json"), other.to_file()).unwrap();
    let knowledge = knowing(ProfileLibrary::at(folder.path()), None);
    assert!(attach_knowing(&ram, &knowledge, &DECLARATIONS, no_cpus).is_err());
    let path = folder.path().join("b.json");
    fs::write(&path, profile.to_file()).unwrap();
    let (kernel, report) = attach_knowing(&ram, &knowledge, &DECLARATIONS, no_cpus).unwrap();
    assert_eq!(report.profile_from, ProfileFrom::Stored(Place::File(path)));
    assert_eq!(**kernel.profile(), profile);
}

#[test]
fn a_given_profile_of_another_build_is_refused_unless_forced() {
    let (ram, profile) = without_types();
    let no_cpus = &Vec::new;
    let attach = |profile: &Profile, force| {
        let knowledge = knowing(ProfileLibrary::none(), Some((profile, force)));
        let attached = attach_knowing(&ram, &knowledge, &DECLARATIONS, no_cpus);
        attached.map(|(kernel, _)| Profile::clone(kernel.profile()))
    };
    assert_eq!(attach(&profile, false).unwrap(), profile);
    let mut other = Profile { build_id: "f".repeat(40), ..profile.clone() };
    // As of a build with other code: the guest's own symbols count.
    *other.symbols.get_mut("runqueues").unwrap() += 0x40;
    let error = attach(&other, false).unwrap_err();
    assert!(matches!(error, KernelError::OtherBuild { .. }), "{error}");
    let forced = attach(&other, true).unwrap();
    assert_eq!(forced.symbols, profile.symbols);
    assert_eq!(forced.structs, profile.structs);
    assert!(forced.origin.types.contains("forced"));
    // A profile that only claims to be of this build.
    let liar = Profile { build_id: BUILD_ID.to_owned(), ..other };
    let error = attach(&liar, false).unwrap_err();
    assert!(matches!(error, KernelError::OtherSymbols { .. }), "{error}");
}

#[test]
fn memory_without_a_kernel_says_so() {
    let error = attach(&empty(), &ProfileCache::none()).unwrap_err();
    assert!(matches!(error, KernelError::NotFound { claims: 0 }), "{error}");
    let mut ram = empty();
    boot(&mut ram, KERNEL);
    put(&mut ram, KERNEL.phys + BANNER, b"Linux version 5.4");
    let error = attach(&ram, &ProfileCache::none()).unwrap_err();
    assert!(matches!(error, KernelError::NotFound { claims: 1 }), "{error}");
}

#[test]
fn what_the_kernel_lacks_is_named() {
    static LACKING: Declarations = Declarations {
        structs: &[&TASK],
        symbols: &[SymbolDecl { name: "absent", names: &["absent", "gone"], optional: false }],
    };
    let mut ram = empty();
    boot(&mut ram, KERNEL);
    let attached = attach_with(&ram, &ProfileCache::none(), &LACKING, &|| Vec::new());
    let error = attached.unwrap_err();
    assert_eq!(error.to_string(), "kernel 6.1.0-test has no symbol: absent, gone");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_guest_that_spoils_its_memory_is_attached_to_or_refused(
        layout in 0..LAYOUTS.len(),
        spoilt in proptest::collection::vec((0..8usize, any::<u16>(), any::<u8>()), 1..40),
    ) {
        let mut ram = empty();
        boot(&mut ram, Spec { layout, ..KERNEL });
        for (place, offset, byte) in spoilt {
            let start = [
                NOTE,
                KERNEL.phys,
                KERNEL.phys + 0x1000,
                KERNEL.phys + TYPES,
                KERNEL.phys + TOP_TABLE,
                KERNEL.phys + TOP_TABLE + 0x1000,
                KERNEL.phys + VARIABLES,
                REAL_MODE_HEADER,
            ][place];
            ram[(start + u64::from(offset) % 0x1000) as usize] = byte;
        }
        // Without VMCOREINFO the banner alone tells the release.
        let banner = &ram[(KERNEL.phys + BANNER) as usize..];
        let attached = [
            attach(&ram, &ProfileCache::none()),
            attach_by_cpu(&ram, &ProfileCache::none(), KERNEL),
        ];
        for (kernel, _) in attached.into_iter().flatten() {
            let expected = format!("Linux version {} (", kernel.release());
            prop_assert!(banner.starts_with(expected.as_bytes()), "{expected}");
        }
    }
}
