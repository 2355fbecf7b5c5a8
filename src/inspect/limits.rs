//! A process's resource limits: `/proc/PID/limits`.

use serde::Serialize;

use crate::kernel::KernelError;
use crate::linux::Task;

/// Names and units by `RLIMIT_*`, as `lnames` in `fs/proc/base.c`.
const NAMES: [(&str, &str); 16] = [
    ("Max cpu time", "seconds"),
    ("Max file size", "bytes"),
    ("Max data size", "bytes"),
    ("Max stack size", "bytes"),
    ("Max core file size", "bytes"),
    ("Max resident set", "bytes"),
    ("Max processes", "processes"),
    ("Max open files", "files"),
    ("Max locked memory", "bytes"),
    ("Max address space", "bytes"),
    ("Max file locks", "locks"),
    ("Max pending signals", "signals"),
    ("Max msgqueue size", "bytes"),
    ("Max nice priority", ""),
    ("Max realtime priority", ""),
    ("Max realtime timeout", "us"),
];

/// All limits, by `RLIMIT_*`.
pub type Limits = Vec<Limit>;

/// A resource limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// What it limits, in the words of `/proc/PID/limits`.
    pub name: &'static str,
    /// The limit in force; `None` is unlimited.
    pub soft: Option<u64>,
    /// What it may be raised to; `None` is unlimited.
    pub hard: Option<u64>,
    /// The unit of both, empty where they have none.
    pub unit: &'static str,
}

pub(super) fn limits(task: &Task<'_>) -> Result<Limits, KernelError> {
    let limits = task.signal_struct()?.rlimits()?;
    // `RLIM_INFINITY` is the largest value.
    let finite = |value: u64| (value != u64::MAX).then_some(value);
    let named = limits.into_iter().zip(NAMES);
    Ok(named
        .map(|((soft, hard), (name, unit))| Limit {
            name,
            soft: finite(soft),
            hard: finite(hard),
            unit,
        })
        .collect())
}
