//! A snapshot for tests, with all that a set of images needs, and its images.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::{PagesOwner, images, pages_files};
use crate::snapshot::*;

const USER_EXE: u64 = 0x40_0000;
const USER_STACK: u64 = 0x7ffc_0000_0000;
const VVAR: u64 = 0x7ffc_1000_0000;
const SHARED: u64 = 0x7ffd_0000_0000;

/// The vdso of the program that runs the test.
pub fn vdso() -> Vec<u8> {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let line = maps.lines().find(|line| line.ends_with("[vdso]")).expect("a vdso");
    let (start, rest) = line.split_once('-').expect("a range");
    let (end, _) = rest.split_once(' ').expect("a range");
    let address = |text| u64::from_str_radix(text, 16).expect("an address");
    let mut content = vec![0; (address(end) - address(start)) as usize];
    let memory = File::open("/proc/self/mem").expect("mem");
    memory.read_exact_at(&mut content, address(start)).expect("the vdso");
    content
}

fn vma(start: u64, pages: u64, prot: u32, kind: VmaKind) -> Vma {
    Vma {
        start,
        end: start + pages * PAGE_SIZE,
        offset: 0,
        prot: Protection::from_bits_truncate(prot),
        kind,
        flags: VmaFlags::empty(),
        advice: Advice::empty(),
        huge_page_bits: None,
    }
}

fn thread(tid: u32) -> Thread {
    Thread {
        tid,
        comm: "counter".into(),
        registers: Registers {
            ip: USER_EXE + 0x10,
            sp: USER_STACK + 0x800,
            cs: 0x33,
            ss: 0x2b,
            flags: 0x246,
            orig_ax: u64::MAX,
            fs_base: USER_EXE + 0x3000,
            ..Registers::default()
        },
        extended_state: ExtendedState {
            legacy: LegacyState::default(),
            xsave: Some(XsaveState {
                xstate_bv: 7,
                avx: Some([[1; 2]; 16]),
                ..XsaveState::default()
            }),
        },
        pending: vec![SigInfo([1; SIGINFO_SIZE])],
        robust_list: USER_EXE + 0x3020,
        rseq: Some(Rseq { address: USER_EXE + 0x3100, len: 32, signature: 0x5305_3053 }),
        ..Thread::default()
    }
}

/// One process, PID 100, with a second thread 101.
pub fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot::default();
    let path = |path: &str, mode, size| FilePath {
        path: path.into(),
        mode,
        size,
        dev: 1,
        ino: 2,
        ghost: None,
    };
    let exe = snapshot.paths.push(path("/usr/bin/counter", 0o100_755, 20_000));
    let null = snapshot.paths.push(path("/dev/null", 0o20_666, 0));
    let root = snapshot.paths.push(path("/", 0o40_755, 4096));
    let file = snapshot.files.push(OpenFile {
        flags: 2,
        owner: FileOwner::default(),
        kind: OpenFileKind::Path { path: null, pos: 0 },
    });
    let mut descriptors: Vec<_> =
        (0..3).map(|fd| Descriptor { fd, cloexec: fd == 2, file }).collect();
    let open = |snapshot: &mut Snapshot, flags, kind| {
        snapshot.files.push(OpenFile { flags, owner: FileOwner::default(), kind })
    };
    let full = snapshot.pipes.push(Pipe { ino: 77, capacity: 65536, data: b"in a pipe".into() });
    let empty = snapshot.pipes.push(Pipe { ino: 77, capacity: 4096, data: Vec::new() });
    let ghost = |size, chunks: &[(u64, usize)]| GhostFile {
        uid: 1,
        gid: 2,
        mode: 0o100_600,
        dev: 1,
        ino: 3,
        atime: FileTime { seconds: 1, nanoseconds: 2000 },
        mtime: FileTime::default(),
        size,
        chunks: chunks
            .iter()
            .map(|&(offset, len)| Chunk { offset, data: vec![b'x'; len] })
            .collect(),
    };
    let small = snapshot.ghosts.push(ghost(5000, &[(4096, 904)]));
    let large = snapshot.ghosts.push(ghost(1 << 20, &[(0, 4096), (40960, 8192)]));
    let deleted = [(small, 5000), (large, 1 << 20)].map(|(ghost, size)| {
        let path = path("/tmp/deleted", 0o100_600, size);
        snapshot.paths.push(FilePath { ghost: Some(ghost), ..path })
    });
    let directory = snapshot.ghosts.push(GhostFile { mode: 0o40_700, ..ghost(0, &[]) });
    let directory = snapshot
        .paths
        .push(FilePath { ghost: Some(directory), ..path("/tmp/gone", 0o40_700, 4096) });
    let fifo = snapshot.paths.push(path("/run/fifo", 0o10_600, 0));
    for (fd, flags, kind) in [
        (3, 0, OpenFileKind::Pipe { pipe: full }),
        (4, 1, OpenFileKind::Pipe { pipe: full }),
        (5, 2, OpenFileKind::Fifo { pipe: empty, path: fifo }),
        (6, 0, OpenFileKind::Path { path: deleted[0], pos: 7 }),
        (7, 0, OpenFileKind::Path { path: deleted[1], pos: 7 }),
        (8, 0, OpenFileKind::Path { path: directory, pos: 0 }),
    ] {
        let file = open(&mut snapshot, flags, kind);
        descriptors.push(Descriptor { fd, cloexec: false, file });
    }
    snapshot.locks = vec![FileLock {
        kind: LockKind::Posix,
        exclusive: true,
        pid: 100,
        fd: 0,
        start: 10,
        len: None,
    }];
    let files = snapshot.fd_tables.push(FdTable { descriptors });
    let fs = snapshot.fs_contexts.push(FsContext { cwd: root, root, umask: 0o22 });
    let sighand = snapshot.sighands.push(SigHand::default());
    let mm = snapshot.mms.push(mm(exe));
    snapshot.processes.push(Process {
        pid: 100,
        ppid: 1,
        pgid: 100,
        sid: 100,
        state: ProcessState::Alive,
        exit_code: 0,
        personality: 0,
        flags: 0x40_0000,
        threads: vec![thread(100), thread(101)],
        mm,
        files,
        fs,
        sighand,
        pending: Vec::new(),
        itimers: IntervalTimers {
            real: IntervalTimer { remaining: 1_500_000_000, interval: 2_500_000_000 },
            ..IntervalTimers::default()
        },
        posix_timers: vec![
            PosixTimer {
                id: 0,
                clock: 1,
                signal: 14,
                notification: TimerNotification::Process,
                value: 0,
                overrun: 0,
                setting: IntervalTimer { remaining: 1_500_000_000, interval: 2_500_000_000 },
            },
            PosixTimer {
                id: 3,
                // The CPU time of thread 101.
                clock: -810,
                signal: 34,
                notification: TimerNotification::Thread(101),
                value: 1 << 40,
                overrun: 0,
                setting: IntervalTimer { remaining: 1, interval: 0 },
            },
        ],
        rlimits: [ResourceLimit::default(); RESOURCES],
        oom_score_adj: 0,
        child_subreaper: false,
        login_uid: Some(u32::MAX),
    });
    snapshot.clocks = Clocks { monotonic: 676_725_254_841, boottime: 676_725_287_941 };
    snapshot
}

fn mm(exe: Id<FilePath>) -> Mm {
    let file = MappedFile { file: Mapped::Path(exe), writable: false };
    let vdso_start = VVAR + 4 * PAGE_SIZE;
    let vdso_pages = vdso().len() as u64 / PAGE_SIZE;
    let mut stack = vma(USER_STACK, 2, 3, VmaKind::Stack);
    stack.flags = VmaFlags::GROWS_DOWN;
    Mm {
        start_code: USER_EXE,
        end_code: USER_EXE + 0x900,
        start_data: USER_EXE + 0x1000,
        end_data: USER_EXE + 0x1900,
        start_brk: USER_EXE + 0x3000,
        brk: USER_EXE + 0x5000,
        start_stack: USER_STACK + 0x1000,
        arg_start: USER_STACK + 0x1100,
        arg_end: USER_STACK + 0x1110,
        env_start: USER_STACK + 0x1110,
        env_end: USER_STACK + 0x1200,
        // As long as that of 6.12, which is cut for CRIU.
        saved_auxv: (1..=22).flat_map(|kind| [kind, 4096]).chain([0, 0]).collect(),
        exe,
        dumpable: 1,
        thp_disabled: false,
        membarrier_state: 0,
        vmas: vec![
            vma(USER_EXE, 1, 5, VmaKind::FilePrivate(file)),
            vma(USER_EXE + 0x1000, 1, 3, VmaKind::FilePrivate(file)),
            vma(USER_EXE + 0x3000, 2, 3, VmaKind::Heap),
            stack,
            vma(VVAR, 4, 1, VmaKind::Vvar),
            vma(vdso_start, vdso_pages, 5, VmaKind::Vdso),
        ],
        pages: vec![
            PageRange { start: USER_EXE + 0x1000, count: 1 },
            PageRange { start: USER_EXE + 0x3000, count: 2 },
            PageRange { start: USER_STACK + 0x1000, count: 1 },
            PageRange { start: vdso_start, count: vdso_pages },
        ],
        guards: Vec::new(),
    }
}

/// The same process with children: 110, which shares its descriptors, 120 in a
/// session of its own, its child 121 in a group whose leader has ended, and
/// the zombie 130.
pub fn tree() -> Snapshot {
    let mut snapshot = snapshot();
    let root = snapshot.processes[0].clone();
    for (pid, ppid, pgid, sid) in [(110, 100, 100, 100), (120, 100, 120, 120), (121, 120, 122, 120)]
    {
        let mm = snapshot.mms.get(root.mm).expect("an mm").clone();
        let table = snapshot.fd_tables.get(root.files).expect("a table").clone();
        let fs = *snapshot.fs_contexts.get(root.fs).expect("an fs");
        let sighand = snapshot.sighands.get(root.sighand).expect("handlers").clone();
        let files = if pid == 110 { root.files } else { snapshot.fd_tables.push(table) };
        snapshot.processes.push(Process {
            pid,
            ppid,
            pgid,
            sid,
            threads: vec![thread(pid)],
            mm: snapshot.mms.push(mm),
            files,
            fs: snapshot.fs_contexts.push(fs),
            sighand: snapshot.sighands.push(sighand),
            posix_timers: Vec::new(),
            ..root.clone()
        });
    }
    snapshot.zombies.push(Zombie {
        pid: 130,
        ppid: 120,
        pgid: 120,
        sid: 120,
        exit_code: 42 << 8,
        comm: "gone".into(),
    });
    snapshot
}

/// The same process with shared memory of four pages: open as 20, mapped from
/// its second page on behind all other areas, and with content in its first and
/// third page.
pub fn sharing() -> Snapshot {
    let mut snapshot = snapshot();
    let memory = snapshot.memories.push(SharedMemory {
        name: "queue".into(),
        uid: 0,
        gid: 0,
        mode: 0o100_777,
        size: 4 * PAGE_SIZE - 96,
        seals: 1,
        huge_page_bits: None,
        pages: [0, 2].map(|page| PageRange { start: page * PAGE_SIZE, count: 1 }).to_vec(),
    });
    let file = snapshot.files.push(OpenFile {
        flags: 0o100_002,
        owner: FileOwner::default(),
        kind: OpenFileKind::Memory { memory, pos: 17 },
    });
    let root = &snapshot.processes[0];
    let table = snapshot.fd_tables.get_mut(root.files).expect("a table");
    table.descriptors.push(Descriptor { fd: 20, cloexec: true, file });
    let mm = snapshot.mms.get_mut(root.mm).expect("an mm");
    let file = MappedFile { file: Mapped::Memory(memory), writable: true };
    let mapping = vma(SHARED, 3, 3, VmaKind::FileShared(file));
    mm.vmas.push(Vma { offset: PAGE_SIZE, ..mapping });
    snapshot
}

/// The images of [`snapshot`] with their pages.
pub fn image_set() -> BTreeMap<String, Vec<u8>> {
    image_set_of(&snapshot())
}

/// The images of a snapshot of this file with their pages.
pub fn image_set_of(snapshot: &Snapshot) -> BTreeMap<String, Vec<u8>> {
    let mut set: BTreeMap<String, Vec<u8>> = images(snapshot)
        .expect("images")
        .into_iter()
        .map(|image| (image.name, image.bytes))
        .collect();
    for pages in pages_files(snapshot) {
        let mut content = vec![7; pages.size as usize];
        if let PagesOwner::Mm(_) = pages.owner {
            let vdso = vdso();
            let start = content.len() - vdso.len();
            content[start..].copy_from_slice(&vdso);
        }
        set.insert(pages.name, content);
    }
    set
}
