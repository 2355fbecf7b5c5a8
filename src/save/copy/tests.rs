use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::sync::Mutex;

use proptest::prelude::*;

use super::shared::lock;
use super::*;
use crate::memory::{FilePiece, GuestPhys, MappedFile, PAGE_SIZE, Region};
use crate::sink::SinkError;

/// Guest RAM of this many pages, each filled with its number, every fourth
/// with zeros.
const RAM: u64 = 64;

fn filled() -> Vec<u8> {
    (0..RAM).flat_map(|page| [if page % 4 == 0 { 0 } else { page as u8 }; 4096]).collect()
}

fn mapped() -> GuestMemory {
    let mut file: File = tempfile::tempfile().unwrap();
    file.write_all(&filled()).unwrap();
    let backing = MappedFile::new(FilePiece { file, offset: 0 }, RAM * PAGE_SIZE, None).unwrap();
    let region =
        Region { start: GuestPhys::new(0), len: RAM * PAGE_SIZE, backing: Box::new(backing) };
    GuestMemory::new(vec![region]).unwrap()
}

fn not_mapped() -> GuestMemory {
    GuestMemory::new(vec![crate::memory::tests::region(0, filled())]).unwrap()
}

/// A file in memory.
#[derive(Default)]
struct Written {
    bytes: Mutex<Vec<u8>>,
    is_direct: bool,
    is_full: bool,
}

impl PagesWriter for Written {
    fn is_direct(&self) -> bool {
        self.is_direct
    }

    fn write_at(&self, offset: u64, pages: &[IoSlice<'_>]) -> Result<(), SinkError> {
        if self.is_full {
            return Err(SinkError::NotEmpty("pages-1.img".into()));
        }
        let added: Vec<u8> = pages.iter().flat_map(|page| page.iter().copied()).collect();
        let mut bytes = lock(&self.bytes);
        let end = offset as usize + added.len();
        if bytes.len() < end {
            bytes.resize(end, 0xff);
        }
        bytes[offset as usize..end].copy_from_slice(&added);
        Ok(())
    }

    fn finish(self: Box<Self>, _size: u64) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Runs of so many pages each from a page of RAM on, apart by address.
fn plan(runs: &[(u64, u64)]) -> PagePlan {
    let mut virt = 0x1000;
    let runs = runs.iter().map(|&(first, count)| {
        let len = count.min(RAM - first) * PAGE_SIZE;
        virt += 0x10_0000;
        PageRun { virt, phys: GuestPhys::new(first * PAGE_SIZE), len }
    });
    PagePlan::default().with_runs(runs)
}

fn copy<'a>(
    memory: &'a GuestMemory,
    writer: &'a Written,
    workers: usize,
    pace: &'a Pace,
    zeros_stay: bool,
) -> Copy<'a, impl Fn(u64) -> bool + Sync> {
    let workers = NonZeroUsize::new(workers).unwrap();
    // One place is that of a file, whose pages of zeros count.
    let may_stay = move |addr: u64| zeros_stay && addr >= 0x20_0000;
    let nice = workers.get() as u8 - 1;
    let compression = None;
    Copy { memory, writer, workers, pace, nice, compression, may_stay, piece: 8 * PAGE_SIZE }
}

/// What is to be in the file: all but zeros.
fn expected(plan: &PagePlan, zeros_stay: bool) -> Vec<(u64, u8)> {
    let pages = plan.runs().iter().flat_map(|run| run.split(PAGE_SIZE));
    let pages = pages.map(|page| {
        let number = page.phys.get() / PAGE_SIZE;
        (page.virt, if number.is_multiple_of(4) { 0 } else { number as u8 })
    });
    pages.filter(|&(addr, byte)| byte != 0 || !zeros_stay || addr < 0x20_0000).collect()
}

proptest! {
    #[test]
    fn all_but_zeros_lies_in_the_file_in_order(
        runs in proptest::collection::vec((0..RAM, 1..RAM), 0..20),
        workers in 1usize..5,
        zeros_stay: bool,
        is_mapped: bool,
        is_direct: bool,
    ) {
        let (memory, plan) = (if is_mapped { mapped() } else { not_mapped() }, plan(&runs));
        let (writer, pace) = (Written { is_direct, ..Written::default() }, Pace::new(None));
        let mut told = 0;
        let copied = copy(&memory, &writer, workers, &pace, zeros_stay)
            .run(&plan, &mut |bytes| {
                told += bytes;
                true
            })
            .unwrap();
        let runs = copied.runs;
        prop_assert_eq!(told, plan.bytes());
        let bytes = writer.bytes.into_inner().unwrap();
        let addrs = runs.iter().flat_map(|run| run.split(PAGE_SIZE)).map(|page| page.virt);
        let written: Vec<(u64, u8)> =
            addrs.zip(bytes.chunks(4096).map(|page| page[0])).collect();
        prop_assert_eq!(&written, &expected(&plan, zeros_stay));
        prop_assert!(bytes.chunks(4096).all(|page| page.iter().all(|byte| *byte == page[0])));
        prop_assert_eq!(bytes.len(), written.len() * 4096);
    }
}

#[test]
fn who_does_not_go_on_is_interrupted() {
    let (memory, plan, pace) = (mapped(), plan(&[(0, RAM), (0, RAM)]), Pace::new(None));
    for workers in 1..4 {
        let writer = Written::default();
        let result = copy(&memory, &writer, workers, &pace, true).run(&plan, &mut |_| false);
        assert!(matches!(result, Err(SaveError::Interrupted)), "{result:?}");
    }
}

#[test]
fn a_write_that_fails_ends_all_workers() {
    let (memory, plan, pace) = (mapped(), plan(&[(0, RAM), (0, RAM)]), Pace::new(None));
    for workers in 1..4 {
        let writer = Written { is_full: true, ..Written::default() };
        let result = copy(&memory, &writer, workers, &pace, true).run(&plan, &mut |_| true);
        assert!(matches!(result, Err(SaveError::Sink(_))), "{result:?}");
    }
}

#[test]
fn a_worker_that_panics_ends_all() {
    let (memory, plan, pace) = (mapped(), plan(&[(0, RAM), (0, RAM)]), Pace::new(None));
    let writer = Written::default();
    let copy = Copy {
        memory: &memory,
        writer: &writer,
        workers: NonZeroUsize::new(3).unwrap(),
        pace: &pace,
        nice: 0,
        piece: 8 * PAGE_SIZE,
        compression: None,
        may_stay: |_| -> bool { panic!("as this test has it") },
    };
    assert!(copy.run(&plan, &mut |_| true).is_err());
}

#[test]
fn what_is_compressed_is_the_same() {
    let (memory, plan, pace) = (mapped(), plan(&[(0, RAM), (3, 20), (0, RAM)]), Pace::new(None));
    let plain = Written::default();
    let runs = copy(&memory, &plain, 1, &pace, true).run(&plan, &mut |_| true).unwrap().runs;
    for way in Compression::ALL {
        for workers in 1..4 {
            let writer = Written { is_direct: true, ..Written::default() };
            let copy =
                Copy { compression: Some(way), ..copy(&memory, &writer, workers, &pace, true) };
            let copied = copy.run(&plan, &mut |_| true).unwrap();
            assert_eq!(copied.runs, runs);
            assert_eq!(copied.frames.unpacked(), lock(&plain.bytes).len() as u64);
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(&lock(&writer.bytes)).unwrap();
            file.write_all(&copied.frames.to_bytes()).unwrap();
            let mut unpacked = Vec::new();
            let mut reader = pack::Unpacked::open(file.path(), way).unwrap();
            reader.read_to_end(&mut unpacked).unwrap();
            assert!(unpacked == *lock(&plain.bytes), "{way}");
        }
    }
}
