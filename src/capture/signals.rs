//! Signal handlers and pending signals.

use crate::control::Target;
use crate::linux::SigPending;
use crate::snapshot::{SIGINFO_SIZE, SigAction, SigHand, SigInfo, SigSet};

use super::error::CaptureError;

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
pub(super) fn pending(set: SigPending<'_>) -> Result<Vec<SigInfo>, CaptureError> {
    let mut pending: Vec<SigInfo> = set.queued()?.into_iter().map(SigInfo).collect();
    let bits = set.signal()?;
    for signal in (1..=64u8).filter(|signal| bits >> (signal - 1) & 1 == 1) {
        if !pending.iter().any(|info| info.signal() == i32::from(signal)) {
            let mut info = [0; SIGINFO_SIZE];
            info[SI_SIGNO] = signal;
            pending.push(SigInfo(info));
        }
    }
    Ok(pending)
}
