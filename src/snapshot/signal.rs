//! Signals: sets, handlers, queued signals, the alternate stack.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_with::{hex::Hex, serde_as};

/// How many signals the kernel has (`_NSIG`); they are numbered 1 to 64.
pub const SIGNALS: usize = 64;

/// Size of the kernel's `siginfo_t` in bytes.
pub const SIGINFO_SIZE: usize = 128;

/// A set of signals, `sigset_t`: signal `n` is bit `n - 1`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SigSet(pub u64);

impl SigSet {
    /// Whether the set holds signal `signal` (1 to 64).
    pub fn contains(self, signal: u32) -> bool {
        (1..=SIGNALS as u32).contains(&signal) && self.0 >> (signal - 1) & 1 == 1
    }

    /// Takes signal `signal` out of the set, if it is one.
    pub fn remove(&mut self, signal: u32) {
        if (1..=SIGNALS as u32).contains(&signal) {
            self.0 &= !(1 << (signal - 1));
        }
    }
}

impl fmt::Debug for SigSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A queued signal: the 128 bytes of `siginfo_t` as user space would get them
/// from `PTRACE_PEEKSIGINFO`.
#[serde_as]
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SigInfo(#[serde_as(as = "Hex")] pub [u8; SIGINFO_SIZE]);

impl SigInfo {
    /// `si_signo`.
    pub fn signal(&self) -> i32 {
        self.word(0)
    }

    /// `si_code`; `si_errno` lies between it and the signal number.
    pub fn code(&self) -> i32 {
        self.word(2)
    }

    fn word(&self, index: usize) -> i32 {
        let bytes = &self.0[index * 4..][..4];
        i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }
}

impl fmt::Debug for SigInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigInfo {{ signal: {}, code: {} }}", self.signal(), self.code())
    }
}

/// What happens on one signal: `struct k_sigaction`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SigAction {
    /// Address of the handler, or 0 (`SIG_DFL`) or 1 (`SIG_IGN`).
    pub handler: u64,
    /// `SA_*`.
    pub flags: u64,
    /// Address the handler returns to.
    pub restorer: u64,
    /// Signals blocked while the handler runs.
    pub mask: SigSet,
}

/// All handlers of a process (`struct sighand_struct`), which processes made
/// with `CLONE_SIGHAND` share. Signal `n` is at `n - 1`.
#[serde_as]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SigHand {
    /// `sighand->action`.
    #[serde_as(as = "[_; SIGNALS]")]
    pub actions: [SigAction; SIGNALS],
}

impl Default for SigHand {
    fn default() -> Self {
        Self { actions: [SigAction::default(); SIGNALS] }
    }
}

/// Alternate signal stack of a thread (`stack_t`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AltStack {
    /// Lowest address (`sas_ss_sp`).
    pub sp: u64,
    /// Size in bytes (`sas_ss_size`).
    pub size: u64,
    /// `SS_DISABLE` (2) when there is none, else 0; `SS_AUTODISARM` (bit 31)
    /// may be added.
    pub flags: u32,
}

impl Default for AltStack {
    /// No alternate stack.
    fn default() -> Self {
        const SS_DISABLE: u32 = 2;
        Self { sp: 0, size: 0, flags: SS_DISABLE }
    }
}
