//! Writing signal state, the VM being paused and `siglock` free.

use nix::sys::signal::Signal;

use crate::kernel::KernelError;
use crate::linux::{SigPending, Struct, Task};

use super::jobctl::Jobctl;

/// SIGKILL.
pub(super) const SIGKILL: u32 = Signal::SIGKILL as u32;

/// A signal's bit in a set of signals.
pub(super) fn bit(signal: u32) -> u64 {
    1 << (signal - 1)
}

/// Sets a signal's bit in the process's pending set.
pub(super) fn make_pending(leader: &Task<'_>, signal: u32) -> Result<(), KernelError> {
    let pending: SigPending<'_> = leader.signal_struct()?.shared_pending()?;
    let set = pending.signal()? | bit(signal);
    pending.place("signal")?.store(set)
}

/// Changes a thread's `jobctl`.
pub(super) fn set_jobctl(
    thread: &Task<'_>,
    change: impl FnOnce(Jobctl) -> Jobctl,
) -> Result<(), KernelError> {
    let jobctl = change(Jobctl::from_bits_retain(thread.jobctl()?));
    thread.place("jobctl")?.store(jobctl.bits())
}

/// Makes a thread look at its signals when it next leaves the kernel.
pub(super) fn set_sigpending(thread: &Task<'_>) -> Result<(), KernelError> {
    let flags = thread.thread_info_flags()?;
    thread.place("thread_info_flags")?.store(flags | thread.tif_sigpending()?)
}
