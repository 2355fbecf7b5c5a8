//! General-purpose registers of a thread.

use serde::{Deserialize, Serialize};

/// A thread's user-mode registers, as `struct user_regs_struct` names them.
///
/// They hold what the thread continues with: an interrupted system call has
/// already been turned into its restart or its error, as `ptrace` would see it
/// when the thread leaves the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[allow(missing_docs)] // the processor's own names
pub struct Registers {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub bp: u64,
    pub bx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub ax: u64,
    pub cx: u64,
    pub dx: u64,
    pub si: u64,
    pub di: u64,
    /// The number of the system call the thread was in, or -1 when in none.
    pub orig_ax: u64,
    pub ip: u64,
    pub cs: u64,
    /// RFLAGS.
    pub flags: u64,
    pub sp: u64,
    pub ss: u64,
    /// Base of the FS segment: the thread's TLS block.
    pub fs_base: u64,
    /// Base of the GS segment.
    pub gs_base: u64,
    pub ds: u64,
    pub es: u64,
    pub fs: u64,
    pub gs: u64,
}
