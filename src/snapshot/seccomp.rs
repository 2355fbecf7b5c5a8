//! Which system calls a thread may make.

use serde::{Deserialize, Serialize};
use serde_with::{hex::Hex, serde_as};

use super::Id;

/// How a thread is restricted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seccomp {
    /// Not at all.
    #[default]
    Disabled,
    /// Only `read`, `write`, `exit` and `rt_sigreturn`.
    Strict,
    /// Filters decide: the last one that was installed, and those before it.
    Filter(Id<SeccompFilter>),
}

/// A filter as it was installed: `struct seccomp_filter`.
#[serde_as]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SeccompFilter {
    /// Its instructions, each a `struct sock_filter` of 8 bytes.
    #[serde_as(as = "Hex")]
    pub instructions: Vec<u8>,
    /// Whether what it does is logged (`SECCOMP_FILTER_FLAG_LOG`).
    pub log: bool,
    /// The one that was installed before it.
    pub prev: Option<Id<SeccompFilter>>,
}
