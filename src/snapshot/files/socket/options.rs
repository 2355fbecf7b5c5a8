//! Options of sockets of any family.

use serde::{Deserialize, Serialize};

use crate::snapshot::KernelString;

/// Options of the level `SOL_SOCKET`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SocketOptions {
    /// `SO_SNDBUF` in bytes, as `getsockopt()` gives it.
    pub sndbuf: u32,
    /// `SO_RCVBUF` in bytes, as `getsockopt()` gives it.
    pub rcvbuf: u32,
    /// `SO_BUF_LOCK`; `None` where the kernel is older than the option.
    pub buf_lock: Option<u32>,
    /// `SO_SNDTIMEO`
    pub sndtimeo: SocketTime,
    /// `SO_RCVTIMEO`
    pub rcvtimeo: SocketTime,
    /// `SO_LINGER` in seconds.
    pub linger: Option<u32>,
    /// `SO_REUSEADDR`
    pub reuseaddr: bool,
    /// `SO_REUSEPORT`
    pub reuseport: bool,
    /// `SO_PRIORITY`
    pub priority: u32,
    /// `SO_RCVLOWAT` in bytes.
    pub rcvlowat: u32,
    /// `SO_MARK`
    pub mark: u32,
    /// `SO_PASSCRED`
    pub passcred: bool,
    /// `SO_PASSSEC`
    pub passsec: bool,
    /// `SO_DONTROUTE`
    pub dontroute: bool,
    /// `SO_NO_CHECK`
    pub no_check: bool,
    /// `SO_BROADCAST`
    pub broadcast: bool,
    /// `SO_KEEPALIVE`
    pub keepalive: bool,
    /// `SO_OOBINLINE`
    pub oobinline: bool,
    /// `SO_BINDTODEVICE`: the device's name.
    pub bound_dev: Option<KernelString>,
    /// `SO_ATTACH_FILTER`: instructions of classic BPF.
    pub filter: Vec<FilterInstruction>,
}

/// How long a call waits; all zero for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SocketTime {
    /// Seconds.
    pub seconds: u64,
    /// Microseconds beyond.
    pub microseconds: u32,
}

/// An instruction of classic BPF: `struct sock_filter`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FilterInstruction {
    /// What it does.
    pub code: u16,
    /// How far to jump where its condition holds.
    pub jt: u8,
    /// How far to jump where it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}
