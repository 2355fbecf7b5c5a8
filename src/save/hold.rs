//! Keeping a process still while it is saved, and what undoes that.

use std::time::Duration;

use crate::attach::Attachment;
use crate::capture::{CaptureError, Mark, is_in_vdso};
use crate::control::{ControlError, Deadline, Effect, Target, freeze, kill_frozen, send, thaw};
use crate::snapshot::{ProcessState, Snapshot};

use super::error::SaveError;

const SIGKILL: u32 = nix::libc::SIGKILL.cast_unsigned();
const SIGSTOP: u32 = nix::libc::SIGSTOP.cast_unsigned();
const SIGCONT: u32 = nix::libc::SIGCONT.cast_unsigned();

/// How often a process is frozen anew that was caught in the vDSO. The code
/// there is replaced at restore where the destination's kernel has another;
/// a program is seldom in it for long.
const VDSO_TRIES: u32 = 100;

/// How a process is frozen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Freeze {
    /// By the freezer trap: nobody in the guest is told.
    #[default]
    Trap,
    /// By SIGSTOP: its parent is told, and anyone's SIGCONT undoes it.
    Signal,
}

/// A process that is held still.
#[derive(Debug)]
#[must_use = "the process stays frozen when this is dropped"]
pub struct Hold<'a, 'k> {
    attachment: &'a Attachment,
    target: &'a Target<'k>,
    how: Freeze,
    /// Whether a signal had stopped it before.
    was_stopped: bool,
    timeout: Duration,
    paused: Duration,
}

impl<'a, 'k> Hold<'a, 'k> {
    /// Freezes a process.
    ///
    /// # Errors
    ///
    /// Where it does not freeze within `timeout`; it runs on then.
    pub(super) fn freeze(
        attachment: &'a Attachment,
        target: &'a Target<'k>,
        how: Freeze,
        timeout: Duration,
    ) -> Result<Self, SaveError> {
        let mut hold = Self {
            attachment,
            target,
            how,
            was_stopped: target.is_stopped().map_err(ControlError::from)?,
            timeout,
            paused: Duration::ZERO,
        };
        for _ in 0..VDSO_TRIES {
            hold.enter()?;
            match is_in_vdso(target) {
                Ok(false) => return Ok(hold),
                Ok(true) => hold.leave_it()?,
                Err(error) => return Err(super::let_go(hold, target, error.into())),
            }
        }
        Err(SaveError::InVdso { pid: target.pid(), tries: VDSO_TRIES })
    }

    fn enter(&mut self) -> Result<(), ControlError> {
        let (domain, deadline) = (&self.attachment.domain, Deadline::within(self.timeout));
        self.paused += match self.how {
            Freeze::Trap => freeze(domain, self.target, deadline)?,
            Freeze::Signal if self.was_stopped => Duration::ZERO,
            Freeze::Signal => {
                let (effect, paused) = send(domain, self.target, SIGSTOP, deadline)?;
                if effect != Effect::Stopped {
                    return Err(self.target.unsuitable("cannot be stopped by a signal"));
                }
                paused
            }
        };
        Ok(())
    }

    fn leave_it(&mut self) -> Result<(), ControlError> {
        let (domain, deadline) = (&self.attachment.domain, Deadline::within(self.timeout));
        self.paused += match self.how {
            Freeze::Trap => thaw(domain, self.target, deadline)?,
            Freeze::Signal if self.was_stopped => Duration::ZERO,
            Freeze::Signal => send(domain, self.target, SIGCONT, deadline)?.1,
        };
        Ok(())
    }

    /// Corrects what the freezing itself has changed in a snapshot.
    pub(super) fn describe_to(&self, snapshot: &mut Snapshot) {
        if self.how == Freeze::Signal && !self.was_stopped {
            for process in &mut snapshot.processes {
                process.state = ProcessState::Alive;
            }
        }
    }

    /// Whether the process has run since `mark` was taken.
    pub(super) fn has_run(&self, mark: &Mark) -> Result<bool, CaptureError> {
        Ok(Mark::of(self.target)? != *mark)
    }

    /// Lets the process go on. Returns how long the VM was paused by the hold
    /// in all.
    pub(super) fn thaw(mut self) -> Result<Duration, ControlError> {
        self.leave_it()?;
        Ok(self.paused)
    }

    /// Kills the process.
    pub(super) fn kill(self) -> Result<Duration, ControlError> {
        let (domain, deadline) = (&self.attachment.domain, Deadline::within(self.timeout));
        let paused = match self.how {
            Freeze::Trap => kill_frozen(domain, self.target, deadline)?,
            Freeze::Signal => send(domain, self.target, SIGKILL, deadline)?.1,
        };
        Ok(self.paused + paused)
    }

    /// Leaves the process frozen.
    pub(super) fn leave(self) -> Duration {
        self.paused
    }
}
