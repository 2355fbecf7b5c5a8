//! A frozen process as plain data.
//!
//! A [`Snapshot`] is what capture reads out of a guest and what image writers
//! turn into files. It knows neither: no guest pointer into kernel memory, no
//! word of an image format. It can be printed as JSON, compared and kept as a
//! test fixture. Page contents are not in it, only which pages there are.
//!
//! What the kernel lets processes share is kept once, in a [`Table`], and
//! referred to by [`Id`]: two processes with the same [`Process::mm`] are two
//! processes that run in one address space.

mod cgroup;
mod cpu;
mod cred;
mod extended_state;
mod files;
mod kernel_string;
mod limits;
mod lineage;
mod mm;
mod process;
mod registers;
mod seccomp;
mod signal;
mod table;
mod thread;
mod timer;
mod vma;
mod zombie;

use serde::{Deserialize, Serialize};

pub use cgroup::{Cgroup, CgroupHierarchy, CgroupParameter, CgroupSet};
pub use cpu::Cpu;
pub use cred::Credentials;
pub use extended_state::{CetState, ExtendedState, LegacyState, XsaveState, component};
pub use files::{
    CONTROL_CHARACTERS, Chunk, Descriptor, EpollTarget, FanotifyGroup, FanotifyMark, FdTable,
    FileLock, FileOwner, FilePath, FileTime, FilterInstruction, Flight, FlightFiles, FlightProblem,
    FsContext, GhostFile, InetSocket, InotifyWatch, LockKind, NamedFile, NetlinkSocket, OpenFile,
    OpenFileKind, Packet, PacketMembership, PacketSocket, Pipe, RawOptions, SharedMemory, Socket,
    SocketFamily, SocketKind, SocketOptions, SocketState, SocketTime, TcpOptions, Terminal,
    TerminalKind, TerminalSettings, Termios, Timerfd, UnixName, UnixSocket, WindowSize,
    taken_directories,
};
pub use kernel_string::KernelString;
pub use limits::{RESOURCES, ResourceLimit};
pub use lineage::{Kin, LineageProblem, in_session_of_root, lineage_problems};
pub use mm::{Mm, PAGE_SIZE, PageRange};
pub use process::{Process, ProcessState};
pub use registers::Registers;
pub use seccomp::{Seccomp, SeccompFilter};
pub use signal::{AltStack, SIGINFO_SIZE, SIGNALS, SigAction, SigHand, SigInfo, SigSet};
pub use table::{Id, Interned, Table};
pub use thread::{Rseq, Scheduling, Thread};
pub use timer::{Clocks, IntervalTimer, IntervalTimers, PosixTimer, TimerNotification};
pub use vma::{Advice, Mapped, MappedFile, Protection, Vma, VmaFlags, VmaKind};
pub use zombie::Zombie;

/// Frozen processes and all they share.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// Processes, parents before children; the first is the root of the tree.
    pub processes: Vec<Process>,
    /// Members of the tree that have ended and wait for their parent, in the
    /// order in which `wait()` finds them.
    pub zombies: Vec<Zombie>,
    /// Address spaces.
    pub mms: Table<Mm>,
    /// Descriptor tables.
    pub fd_tables: Table<FdTable>,
    /// Roots and working directories.
    pub fs_contexts: Table<FsContext>,
    /// Signal handlers.
    pub sighands: Table<SigHand>,
    /// Open files.
    pub files: Table<OpenFile>,
    /// Files that anything above refers to by path.
    pub paths: Table<FilePath>,
    /// Deleted files among them.
    pub ghosts: Table<GhostFile>,
    /// Memory that they share as files.
    pub memories: Table<SharedMemory>,
    /// Pipes and FIFOs.
    pub pipes: Table<Pipe>,
    /// Seccomp filters.
    pub seccomp_filters: Table<SeccompFilter>,
    /// Trees of cgroups in which any process is not in the root.
    pub cgroup_hierarchies: Vec<CgroupHierarchy>,
    /// The cgroups of processes in them.
    pub cgroup_sets: Table<CgroupSet>,
    /// Sockets.
    pub sockets: Table<Socket>,
    /// Terminals.
    pub terminals: Table<Terminal>,
    /// Locks on files.
    pub locks: Vec<FileLock>,
    /// The CPUs of the source.
    pub cpu: Cpu,
    /// Clocks of the source when it was captured.
    pub clocks: Clocks,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_json() {
        let mut snapshot = Snapshot::default();
        let exe = snapshot.paths.push(FilePath {
            path: KernelString::from(&b"/usr/bin/\xffodd"[..]),
            mode: 0o100755,
            size: 4096,
            dev: 0xfe01,
            ino: 12,
            ghost: None,
        });
        let mut pending = SigInfo([0; SIGINFO_SIZE]);
        pending.0[0] = 14;
        snapshot.sighands.push(SigHand::default());
        snapshot.mms.push(Mm {
            start_code: 0x1000,
            end_code: 0x2000,
            start_data: 0x2000,
            end_data: 0x3000,
            start_brk: 0x4000,
            brk: 0x5000,
            start_stack: 0x7fff_0000,
            arg_start: 0x7fff_1000,
            arg_end: 0x7fff_1010,
            env_start: 0x7fff_1010,
            env_end: 0x7fff_1020,
            saved_auxv: vec![6, 4096, 0, 0],
            exe,
            dumpable: 1,
            thp_disabled: false,
            membarrier_state: 0,
            vmas: vec![Vma {
                start: 0x1000,
                end: 0x2000,
                offset: 0,
                prot: Protection::READ | Protection::EXEC,
                kind: VmaKind::FilePrivate(MappedFile { file: Mapped::Path(exe), writable: false }),
                flags: VmaFlags::empty(),
                advice: Advice::HUGE_PAGE,
                huge_page_bits: None,
            }],
            pages: vec![PageRange { start: 0x1000, count: 1 }],
            guards: Vec::new(),
        });
        snapshot.processes.push(Process {
            pid: 100,
            ppid: 1,
            pgid: 100,
            sid: 100,
            state: ProcessState::Stopped { signal: 19 },
            exit_code: 0,
            personality: 0,
            flags: 0x40_0000,
            threads: vec![Thread {
                tid: 100,
                comm: "odd".into(),
                pending: vec![pending],
                ..Thread::default()
            }],
            mm: Id::new(0),
            files: Id::new(0),
            fs: Id::new(0),
            sighand: Id::new(0),
            pending: vec![pending],
            itimers: IntervalTimers::default(),
            posix_timers: vec![PosixTimer {
                id: 3,
                clock: -6,
                signal: 34,
                notification: TimerNotification::Thread(100),
                value: u64::MAX,
                overrun: 2,
                setting: IntervalTimer { remaining: 1, interval: 0 },
            }],
            rlimits: [ResourceLimit::default(); RESOURCES],
            oom_score_adj: -5,
            has_terminal: false,
            child_subreaper: false,
            login_uid: None,
            cgroups: None,
        });
        let json = serde_json::to_string(&snapshot).unwrap();
        assert_eq!(serde_json::from_str::<Snapshot>(&json).unwrap(), snapshot);
        assert_eq!(snapshot.processes[0].pending[0].signal(), 14);
    }
}
