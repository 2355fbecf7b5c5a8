//! Resource limits.

use serde::{Deserialize, Serialize};

/// How many resources have a limit (`RLIM_NLIMITS`).
pub const RESOURCES: usize = 16;

/// One limit of `getrlimit()`; `u64::MAX` is `RLIM_INFINITY`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ResourceLimit {
    /// The soft limit.
    pub cur: u64,
    /// The hard limit.
    pub max: u64,
}

impl Default for ResourceLimit {
    /// No limit.
    fn default() -> Self {
        Self { cur: u64::MAX, max: u64::MAX }
    }
}
