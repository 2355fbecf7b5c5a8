//! A thread: what `struct task_struct` holds for itself alone.

use serde::{Deserialize, Serialize};

use super::{
    AltStack, Credentials, ExtendedState, KernelString, Registers, Seccomp, SigInfo, SigSet,
};

/// A frozen thread.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Thread {
    /// Thread ID, as the process's PID namespace numbers it.
    pub tid: u32,
    /// The name, at most 15 bytes.
    pub comm: KernelString,
    /// General-purpose registers.
    pub registers: Registers,
    /// x87, SSE and the rest that XSAVE manages.
    pub extended_state: ExtendedState,
    /// Blocked signals.
    pub blocked: SigSet,
    /// Signals queued for this thread alone, oldest first.
    pub pending: Vec<SigInfo>,
    /// Alternate signal stack.
    pub alt_stack: AltStack,
    /// `set_tid_address()`: where 0 is written when the thread exits; 0 for none.
    pub clear_child_tid: u64,
    /// Head of the robust futex list; 0 for none.
    pub robust_list: u64,
    /// The registered restartable-sequences area.
    pub rseq: Option<Rseq>,
    /// Scheduling policy and priority.
    pub scheduling: Scheduling,
    /// Signal sent to it when its parent dies; 0 for none.
    pub pdeath_signal: u32,
    /// Credentials.
    pub credentials: Credentials,
    /// Which system calls it may make.
    pub seccomp: Seccomp,
}

/// A registration with `rseq()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rseq {
    /// Address of the thread's `struct rseq`.
    pub address: u64,
    /// Its length in bytes as registered.
    pub len: u32,
    /// The signature that precedes abort handlers.
    pub signature: u32,
}

/// How the scheduler treats a thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Scheduling {
    /// `SCHED_*`.
    pub policy: u32,
    /// Nice value, -20 to 19.
    pub nice: i32,
    /// Real-time priority, 1 to 99; 0 for policies that have none.
    pub rt_priority: u32,
}
