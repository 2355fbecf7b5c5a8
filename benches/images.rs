//! What becomes of pages and processes on their way out: pages are looked at for
//! zeros and may be compressed, what was captured becomes images.

use std::hint::black_box;
use std::io::IoSlice;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ovmigrate::criu;
use ovmigrate::pack::{Compression, pack};
use ovmigrate::save::is_zero;
use ovmigrate::snapshot::{
    Advice, Descriptor, FdTable, FileOwner, FilePath, FsContext, Id, IntervalTimers, Mapped,
    MappedFile, Mm, OpenFile, OpenFileKind, PAGE_SIZE, PageRange, Process, ProcessState,
    Protection, RESOURCES, ResourceLimit, SigHand, Snapshot, Thread, Vma, VmaFlags, VmaKind,
};

/// Bytes that are looked at: more than caches hold.
const MEMORY: usize = 64 << 20;
/// Bytes that a save compresses at once.
const PIECE: usize = 8 << 20;
const PROCESSES: u32 = 10;
/// Of each process.
const THREADS: u32 = 10;
const AREAS: u64 = 1000;
const DESCRIPTORS: u32 = 1000;

fn pages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pages");
    group.throughput(Throughput::Bytes(MEMORY as u64));
    let zeros = vec![0; MEMORY];
    let mut lasts = zeros.clone();
    lasts.chunks_mut(PAGE_SIZE as usize).for_each(|page| page[PAGE_SIZE as usize - 1] = 1);
    for (name, memory) in [("all zeros", &zeros), ("zeros but for the last byte", &lasts)] {
        group.bench_function(format!("look for zeros: {name}"), |bencher| {
            bencher.iter(|| {
                let pages = black_box(memory).chunks(PAGE_SIZE as usize);
                pages.filter(|page| is_zero(page)).count()
            });
        });
    }
    group.throughput(Throughput::Bytes(PIECE as u64));
    // Text, as much of a program's memory is: words of some hundred.
    let word = |number: usize| format!("{} ", number.wrapping_mul(2_654_435_761) % 512);
    let text: Vec<u8> = (0..).flat_map(|number| word(number).into_bytes()).take(PIECE).collect();
    for way in Compression::ALL {
        group.bench_function(format!("compress by {way}"), |bencher| {
            bencher.iter_batched_ref(
                || Vec::with_capacity(PIECE),
                |packed| pack(way, &[IoSlice::new(&text)], packed).expect("a frame"),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn images(criterion: &mut Criterion) {
    let snapshot = snapshot();
    let bytes: usize =
        criu::images(&snapshot).expect("images").iter().map(|it| it.bytes.len()).sum();
    let mut group = criterion.benchmark_group("images");
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function("encode ten processes", |bencher| {
        bencher.iter(|| criu::images(black_box(&snapshot)).expect("images"));
    });
    group.finish();
}

/// Processes with many of all that there can be many of.
fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot::default();
    for number in 0..DESCRIPTORS {
        let path = snapshot.paths.push(FilePath {
            path: format!("/var/lib/program/files/{number}").as_str().into(),
            mode: 0o100_644,
            size: 4096,
            dev: 1,
            ino: number.into(),
            ghost: None,
        });
        let kind = OpenFileKind::Path { path, pos: 0 };
        snapshot.files.push(OpenFile { flags: 2, owner: FileOwner::default(), kind });
    }
    let root = Id::new(0);
    let file = |fd| Descriptor { fd, cloexec: false, file: Id::new(fd) };
    for number in 0..PROCESSES {
        let pid = 1000 + 100 * number;
        let mm = snapshot.mms.push(mm());
        let descriptors = (0..DESCRIPTORS).map(file).collect();
        let files = snapshot.fd_tables.push(FdTable { descriptors });
        let fs = snapshot.fs_contexts.push(FsContext { cwd: root, root, umask: 0o22 });
        let sighand = snapshot.sighands.push(SigHand::default());
        let thread = |tid| Thread { tid, ..Thread::default() };
        snapshot.processes.push(Process {
            pid,
            ppid: if number == 0 { 1 } else { 1000 },
            pgid: 1000,
            sid: 1000,
            state: ProcessState::Alive,
            exit_code: 0,
            personality: 0,
            flags: 0,
            threads: (pid..pid + THREADS).map(thread).collect(),
            mm,
            files,
            fs,
            sighand,
            pending: Vec::new(),
            itimers: IntervalTimers::default(),
            posix_timers: Vec::new(),
            rlimits: [ResourceLimit::default(); RESOURCES],
            oom_score_adj: 0,
            child_subreaper: false,
            has_terminal: false,
            login_uid: None,
            cgroups: None,
        });
    }
    snapshot
}

/// Areas of a page of which each second one is mapped from a file.
fn mm() -> Mm {
    let file = MappedFile { file: Mapped::Path(Id::new(0)), writable: false };
    let start = |number: u64| 0x7f00_0000_0000 + 2 * number * PAGE_SIZE;
    let vma = |number: u64| Vma {
        start: start(number),
        end: start(number) + PAGE_SIZE,
        offset: 0,
        prot: Protection::READ | Protection::WRITE,
        kind: if number.is_multiple_of(2) {
            VmaKind::Anonymous
        } else {
            VmaKind::FilePrivate(file)
        },
        flags: VmaFlags::empty(),
        advice: Advice::empty(),
        huge_page_bits: None,
    };
    Mm {
        start_code: start(0),
        end_code: start(1),
        start_data: start(1),
        end_data: start(2),
        start_brk: start(2),
        brk: start(3),
        start_stack: start(3),
        arg_start: start(3),
        arg_end: start(3),
        env_start: start(3),
        env_end: start(3),
        saved_auxv: vec![0, 0],
        exe: Id::new(0),
        dumpable: 1,
        thp_disabled: false,
        membarrier_state: 0,
        vmas: (0..AREAS).map(vma).collect(),
        pages: (0..AREAS).map(|number| PageRange { start: start(number), count: 1 }).collect(),
        guards: Vec::new(),
    }
}

criterion_group!(benches, pages, images);
criterion_main!(benches);
