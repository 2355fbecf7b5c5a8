//! A process: what its threads share and what it shares with other processes.

use serde::{Deserialize, Serialize};

use super::{
    CgroupSet, FdTable, FsContext, Id, IntervalTimers, Mm, PosixTimer, RESOURCES, ResourceLimit,
    SigHand, SigInfo, Thread,
};

/// A frozen process.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Process {
    /// Process ID (`tgid`) as its own PID namespace numbers it; for now always
    /// the initial one, as for the other IDs here.
    pub pid: u32,
    /// PID of the parent; 0 when it lies outside the namespace.
    pub ppid: u32,
    /// Process group.
    pub pgid: u32,
    /// Session.
    pub sid: u32,
    /// Whether it has the controlling terminal of its session, which another process
    /// of the tree leads.
    pub has_terminal: bool,
    /// Whether it runs or is stopped, apart from our own freezing.
    pub state: ProcessState,
    /// Wait status with which the process ends, where that is decided already.
    pub exit_code: u32,
    /// `personality()` of the leader.
    pub personality: u32,
    /// `PF_*` of the leader.
    pub flags: u32,
    /// All threads; the leader first.
    pub threads: Vec<Thread>,
    /// Address space.
    pub mm: Id<Mm>,
    /// Open file descriptors.
    pub files: Id<FdTable>,
    /// Root, working directory and umask.
    pub fs: Id<FsContext>,
    /// Signal handlers.
    pub sighand: Id<SigHand>,
    /// Signals queued for the process as a whole, oldest first.
    pub pending: Vec<SigInfo>,
    /// Timers of `setitimer()`.
    pub itimers: IntervalTimers,
    /// Timers of `timer_create()`, by ascending ID.
    pub posix_timers: Vec<PosixTimer>,
    /// Resource limits, by `RLIMIT_*`.
    pub rlimits: [ResourceLimit; RESOURCES],
    /// What user space asked to be added to its badness, -1000 to 1000.
    pub oom_score_adj: i32,
    /// `PR_SET_CHILD_SUBREAPER`.
    pub child_subreaper: bool,
    /// Audit login UID, `u32::MAX` where none was set; `None` where the kernel
    /// has no audit.
    pub login_uid: Option<u32>,
    /// Its cgroups; `None` where it is in the root of each hierarchy.
    pub cgroups: Option<Id<CgroupSet>>,
}

/// What a process is doing as far as job control is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessState {
    /// It runs or sleeps.
    #[default]
    Alive,
    /// A group stop is in effect.
    Stopped {
        /// The signal that stopped it.
        signal: u32,
    },
}

impl Process {
    /// The thread-group leader, whose TID is the PID.
    pub fn leader(&self) -> Option<&Thread> {
        self.threads.first()
    }
}
