//! The inner loops of reading guest memory: how fast addresses are translated and
//! page tables walked, on memory of our own that is mapped as a guest's is.

use std::fs::File;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use memmap2::MmapMut;
use nix::sys::memfd::{MFdFlags, memfd_create};
use ovmigrate::memory::{
    AddressSpace, FilePiece, GuestMemory, GuestPhys, GuestVirt, MappedFile, MemoryError, PAGE_SIZE,
    PageTableLevels, Region,
};

/// Bits of an entry: present, writable, user (`pgtable_types.h`).
const PRESENT: u64 = 0x7;
const ENTRIES: u64 = 512;
/// Pages that are mapped, in 4 KiB entries: 1 GiB.
const PAGES: u64 = 512 * ENTRIES;
/// Where they are mapped.
const START: u64 = 0x7f00_0000_0000;
/// The tables: three levels of one, and one for each 512 pages.
const TABLES: u64 = 3 + PAGES / ENTRIES;

/// Four-level tables at the start of a memory that map its other pages in an
/// order that leaves no two side by side.
fn tables() -> AddressSpace {
    let len = (TABLES + PAGES) * PAGE_SIZE;
    let file = File::from(memfd_create("bench", MFdFlags::MFD_CLOEXEC).expect("a memfd"));
    file.set_len(len).expect("room");
    // SAFETY: nobody else has the file, so that nobody changes it under us.
    let mut memory = unsafe { MmapMut::map_mut(&file) }.expect("a mapping");
    let mut put = |table: u64, index: u64, entry: u64| {
        let at = (table * PAGE_SIZE + index * 8) as usize;
        memory[at..at + 8].copy_from_slice(&(entry | PRESENT).to_le_bytes());
    };
    for level in [4, 3] {
        let index = (START >> (12 + 9 * (level - 1))) % ENTRIES;
        put(4 - level, index, (5 - level) * PAGE_SIZE);
    }
    for table in 0..PAGES / ENTRIES {
        put(2, table, (3 + table) * PAGE_SIZE);
        for index in 0..ENTRIES {
            // An odd factor reaches every page once.
            let page = ((table * ENTRIES + index) * 7919) % PAGES;
            put(3 + table, index, (TABLES + page) * PAGE_SIZE);
        }
    }
    drop(memory);
    let backing = MappedFile::new(FilePiece { file, offset: 0 }, len, None).expect("a mapping");
    let region = Region { start: GuestPhys::new(0), len, backing: Box::new(backing) };
    let memory = Arc::new(GuestMemory::new(vec![region]).expect("one region"));
    AddressSpace::new(memory, GuestPhys::new(0), PageTableLevels::Four)
}

fn memory(criterion: &mut Criterion) {
    let space = tables();
    let end = START + PAGES * PAGE_SIZE;
    let mut group = criterion.benchmark_group("page tables");
    group.throughput(Throughput::Elements(PAGES));
    group.bench_function("walk", |bencher| {
        bencher.iter(|| {
            let mut count = 0;
            let range = GuestVirt::new(START)..GuestVirt::new(end);
            let walked = space.walk::<MemoryError>(range, |leaf| {
                black_box(leaf);
                count += 1;
                Ok(())
            });
            walked.expect("good tables");
            assert_eq!(count, PAGES);
        });
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("translate", |bencher| {
        let mut page = 0;
        bencher.iter(|| {
            page = (page + 7919) % PAGES;
            space.translate(GuestVirt::new(START + page * PAGE_SIZE)).expect("a page")
        });
    });
    group.bench_function("read 8 bytes", |bencher| {
        let (mut page, mut word) = (0, [0; 8]);
        bencher.iter(|| {
            page = (page + 7919) % PAGES;
            space.read(GuestVirt::new(START + page * PAGE_SIZE), &mut word).expect("a page");
            word
        });
    });
    group.finish();
}

criterion_group!(benches, memory);
criterion_main!(benches);
