//! Signal handlers and pending signals.

use crate::control::Target;
use crate::linux::SigPending;
use crate::snapshot::{SIGINFO_SIZE, SigAction, SigHand, SigInfo, SigSet};

use super::error::CaptureError;
use super::timers::PosixTimers;

/// `SI_USER` with sender 0, as `collect_signal()` makes up for a signal whose
/// queue entry could not be allocated, is all zeros but for the number.
const SI_SIGNO: usize = 0;

/// What the process does on each signal.
pub(super) fn handlers(target: &Target<'_>) -> Result<SigHand, CaptureError> {
    let actions = target.leader().sighand_struct()?.action()?;
    let mut sighand = SigHand::default();
    for (index, slot) in sighand.actions.iter_mut().enumerate() {
        let action = actions.get(index as u64)?;
        *slot = SigAction {
            handler: action.handler()?,
            flags: action.flags()?,
            restorer: action.restorer()?,
            mask: SigSet(action.mask()?),
        };
    }
    Ok(sighand)
}

/// Pending signals: the queued ones, and those whose queue entry could not be
/// allocated or was never made (a pseudo-signal).
pub(super) fn pending(
    set: SigPending<'_>,
    timers: &PosixTimers,
) -> Result<Vec<SigInfo>, CaptureError> {
    let mut bits = SigSet(set.signal()?);
    let mut pending = Vec::new();
    for entry in set.queued()? {
        bits.remove(u32::from(entry.siginfo()?[SI_SIGNO]));
        pending.extend(timers.siginfo(&entry)?.map(SigInfo));
    }
    for signal in (1..=64u8).filter(|&signal| bits.contains(u32::from(signal))) {
        let mut info = [0; SIGINFO_SIZE];
        info[SI_SIGNO] = signal;
        pending.push(SigInfo(info));
    }
    Ok(pending)
}
