//! A process's signals: `proc_pid_status(5)`.

use serde::Serialize;

use crate::kernel::KernelError;
use crate::linux::Task;

/// Number of signals (`_NSIG`).
const SIGNALS: u64 = 64;
const SIG_DFL: u64 = 0;
const SIG_IGN: u64 = 1;

/// Sets of signals, one bit each: signal 1 is bit 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Signals {
    /// Pending for the first thread.
    pub pending: u64,
    /// Pending for the process.
    pub shared_pending: u64,
    /// Blocked by the first thread.
    pub blocked: u64,
    /// Ignored.
    pub ignored: u64,
    /// With a handler.
    pub caught: u64,
}

impl Signals {
    pub(super) fn of(task: &Task<'_>) -> Result<Self, KernelError> {
        let actions = task.sighand_struct()?.action()?;
        let (mut ignored, mut caught) = (0, 0);
        for signal in 0..SIGNALS {
            match actions.get(signal)?.handler()? {
                SIG_DFL => {}
                SIG_IGN => ignored |= 1 << signal,
                _ => caught |= 1 << signal,
            }
        }
        Ok(Self {
            pending: task.pending()?.signal()?,
            shared_pending: task.signal_struct()?.shared_pending()?.signal()?,
            blocked: task.blocked()?,
            ignored,
            caught,
        })
    }
}
