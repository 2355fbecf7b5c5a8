//! A snapshot for tests, with all that a set of images needs, and its images.

mod named;
mod raw;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::{PagesOwner, images, pages_files};
use crate::snapshot::*;

pub use named::with_names;
pub use raw::with_raw_sockets;

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

/// One process, PID 100, with a second thread 101 that has two seccomp filters.
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
    let filter = |count: usize| vec![6; 8 * count];
    let filters = [(1, true), (3, false)].into_iter().fold(None, |prev, (count, log)| {
        let filter = SeccompFilter { instructions: filter(count), log, prev };
        Some(snapshot.seccomp_filters.push(filter))
    });
    let restricted =
        Thread { seccomp: filters.map_or(Seccomp::Strict, Seccomp::Filter), ..thread(101) };
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
        threads: vec![thread(100), restricted],
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
        has_terminal: false,
        child_subreaper: false,
        login_uid: Some(u32::MAX),
        cgroups: None,
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

/// The same process in a cgroup of version 2.
pub fn with_cgroups() -> Snapshot {
    let mut snapshot = snapshot();
    let cgroup = |path: &str, subtree_control: &[&str], parameters: &[(&str, &str)]| Cgroup {
        path: path.into(),
        mode: 0o40_755,
        uid: 0,
        gid: 0,
        subtree_control: subtree_control.iter().map(ToString::to_string).collect(),
        parameters: parameters
            .iter()
            .map(|(name, value)| CgroupParameter {
                name: (*name).to_owned(),
                value: (*value).to_owned(),
            })
            .collect(),
    };
    snapshot.cgroup_hierarchies.push(CgroupHierarchy {
        name: String::new(),
        cgroups: vec![
            cgroup("/", &["cpuset"], &[]),
            cgroup("/group", &[], &[("cpuset.cpus", "0-1"), ("pids.max", "7")]),
            cgroup("/group/below", &[], &[]),
        ],
    });
    let set = CgroupSet { paths: vec!["/group/below".into()] };
    snapshot.processes[0].cgroups = Some(snapshot.cgroup_sets.push(set));
    snapshot
}

/// The same process with sockets: 21 and 22 are a pair, with bytes and the
/// descriptors 0 and 22 in flight to 21; the peer of 23 was closed. 24 listens
/// over IPv6, 25 is connected over IPv4.
pub fn with_sockets() -> Snapshot {
    let mut snapshot = snapshot();
    let root = snapshot.processes[0].clone();
    let null = snapshot.fd_tables.get(root.files).expect("a table").descriptors[0].file;
    let options = SocketOptions { sndbuf: 212_992, rcvbuf: 212_992, ..SocketOptions::default() };
    for (ino, kind, shutdown, peer) in [
        (501, SocketKind::STREAM, 0, Some(1)),
        (502, SocketKind::STREAM, 0, Some(0)),
        (503, SocketKind::SEQPACKET, 3, None),
    ] {
        let peer = peer.map(Id::new);
        let socket = snapshot.sockets.push(Socket {
            ino,
            kind,
            state: SocketState::ESTABLISHED,
            shutdown,
            options: options.clone(),
            family: SocketFamily::Unix(UnixSocket { peer, ..UnixSocket::default() }),
        });
        let kind = OpenFileKind::Socket { socket };
        let owner = FileOwner::default();
        let file = snapshot.files.push(OpenFile { flags: 0o4002, owner, kind });
        let table = snapshot.fd_tables.get_mut(root.files).expect("a table");
        table.descriptors.push(Descriptor { fd: ino as u32 - 480, cloexec: false, file });
    }
    for (ino, kind, state, protocol, source, destination) in [
        (504, SocketKind::STREAM, SocketState::LISTEN, 6, "[::1]:80", "[::]:0"),
        (505, SocketKind::DGRAM, SocketState::ESTABLISHED, 17, "127.0.0.1:2000", "127.0.0.1:53"),
    ] {
        let inet = InetSocket {
            protocol,
            source: source.parse().expect("an address"),
            destination: destination.parse().expect("an address"),
            backlog: 128,
            v6only: true,
            freebind: false,
            pktinfo: false,
            tos: 0,
            ttl: None,
            tcp: TcpOptions { keepidle: Some(60), ..TcpOptions::default() },
            raw: None,
        };
        let (options, family) = (options.clone(), SocketFamily::Inet(inet));
        let socket =
            snapshot.sockets.push(Socket { ino, kind, state, shutdown: 0, options, family });
        let kind = OpenFileKind::Socket { socket };
        let file = snapshot.files.push(OpenFile { flags: 2, owner: FileOwner::default(), kind });
        let table = snapshot.fd_tables.get_mut(root.files).expect("a table");
        table.descriptors.push(Descriptor { fd: ino as u32 - 480, cloexec: false, file });
    }
    let second = snapshot.fd_tables.get(root.files).expect("a table").descriptors[10].file;
    let first = snapshot.sockets.get_mut(Id::new(0)).expect("a socket");
    let SocketFamily::Unix(unix) = &mut first.family else { panic!("a Unix socket") };
    unix.queue = vec![
        Packet { data: b"bytes".into(), files: Vec::new() },
        Packet { data: b"more".into(), files: vec![null, second] },
    ];
    snapshot
}

/// The same process with the pseudoterminal 3, which controls its session: the
/// other end as 20 and 21, opened twice, with locked settings, `/dev/tty` as 22 and
/// the master as 23. Something waits at both ends.
pub fn terminals() -> Snapshot {
    let mut snapshot = snapshot();
    let settings = TerminalSettings {
        termios: Termios { iflag: 0o2400, cc: [4; CONTROL_CHARACTERS], ..Termios::default() },
        termios_locked: Termios { lflag: 0o10, ..Termios::default() },
        winsize: WindowSize { rows: 24, columns: 80, width: 640, height: 480 },
    };
    let mut opened = Vec::new();
    for (kind, path, rdev, times) in [
        (TerminalKind::PtySlave { index: 3 }, "/dev/pts/3", 0x8803, 2),
        (TerminalKind::Controlling, "/dev/tty", 0x500, 1),
        (TerminalKind::PtyMaster { index: 3 }, "/dev/ptmx", 0x502, 1),
    ] {
        let is_slave = matches!(kind, TerminalKind::PtySlave { .. });
        let terminal = snapshot.terminals.push(Terminal {
            kind,
            rdev,
            dev: 22,
            uid: 0,
            gid: 5,
            session: if is_slave { 0 } else { 100 },
            foreground: if is_slave { 0 } else { 100 },
            locked: false,
            packet_mode: false,
            settings: Some(settings),
            unread: if rdev == 0x500 { Vec::new() } else { b"unread".into() },
        });
        let mode = 0o20_620;
        let path = FilePath { path: path.into(), mode, size: 0, dev: 22, ino: 6, ghost: None };
        let path = snapshot.paths.push(path);
        let kind = OpenFileKind::Terminal { terminal, path };
        opened.extend((0..times).map(|_| kind.clone()));
    }
    let root = &snapshot.processes[0];
    let table = snapshot.fd_tables.get_mut(root.files).expect("a table");
    for (fd, kind) in (20..).zip(opened) {
        let file = OpenFile { flags: 0o100_002, owner: FileOwner::default(), kind };
        let file = snapshot.files.push(file);
        table.descriptors.push(Descriptor { fd, cloexec: false, file });
    }
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
