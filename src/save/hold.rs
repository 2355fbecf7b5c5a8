//! Keeping processes still while they are saved, and what undoes that.

use std::time::Duration;

use crate::attach::Attachment;
use crate::capture::{CaptureError, Mark, in_vdso};
use crate::control::{
    ControlError, Deadline, Target, Tree, freeze, freeze_rest, go_on, kill_held, stop, thaw,
};
use crate::snapshot::{ProcessState, Snapshot};

use super::error::SaveError;

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

/// A tree of processes that is held still.
#[derive(Debug)]
#[must_use = "the processes stay frozen when this is dropped"]
pub struct Hold<'a, 'k> {
    attachment: &'a Attachment,
    tree: Tree<'k>,
    how: Freeze,
    /// Those that SIGSTOP stopped for this.
    stopped: Vec<Target<'k>>,
    timeout: Duration,
}

impl<'a, 'k> Hold<'a, 'k> {
    /// Freezes a process and its descendants.
    ///
    /// # Errors
    ///
    /// Where they do not freeze within `timeout`; they run on then.
    pub(super) fn freeze(
        attachment: &'a Attachment,
        tree: Tree<'k>,
        how: Freeze,
        timeout: Duration,
    ) -> Result<Self, SaveError> {
        let mut hold = Self { attachment, tree, how, stopped: Vec::new(), timeout };
        hold.enter()?;
        for _ in 0..VDSO_TRIES {
            let inside = match in_vdso(&hold.tree) {
                Ok(inside) => inside,
                Err(error) => return Err(hold.let_go(error.into())),
            };
            if inside.is_empty() {
                return Ok(hold);
            }
            if let Err(error) = hold.step_on(inside) {
                return Err(hold.let_go(error.into()));
            }
        }
        let pid = hold.tree.root().pid();
        Err(hold.let_go(SaveError::InVdso { pid, tries: VDSO_TRIES }))
    }

    /// The processes that are held.
    pub(super) fn tree(&self) -> &Tree<'k> {
        &self.tree
    }

    fn enter(&mut self) -> Result<(), ControlError> {
        let (domain, deadline) = (&self.attachment.domain, Deadline::within(self.timeout));
        match self.how {
            Freeze::Trap => freeze(domain, &mut self.tree, deadline)?,
            Freeze::Signal => self.stopped = stop(domain, &mut self.tree, deadline)?,
        }
        Ok(())
    }

    /// Lets some processes go, so that they leave where they are, and freezes
    /// the tree again.
    fn step_on(&mut self, some: Vec<Target<'k>>) -> Result<(), ControlError> {
        let (domain, deadline) = (&self.attachment.domain, Deadline::within(self.timeout));
        match self.how {
            Freeze::Trap => {
                thaw(domain, &Tree::some(some), deadline)?;
                freeze_rest(domain, &mut self.tree, deadline)
            }
            Freeze::Signal => {
                // One that was stopped before stays where it is.
                let some: Vec<_> =
                    self.stopped.extract_if(.., |stopped| is_among(stopped, &some)).collect();
                go_on(domain, &some, deadline)?;
                self.stopped.extend(stop(domain, &mut self.tree, deadline)?);
                Ok(())
            }
        }
    }

    /// Corrects what the freezing itself has changed in a snapshot.
    pub(super) fn describe_to(&self, snapshot: &mut Snapshot) {
        for process in &mut snapshot.processes {
            if self.stopped.iter().any(|stopped| stopped.pid().cast_unsigned() == process.pid) {
                process.state = ProcessState::Alive;
            }
        }
    }

    /// Whether a process has run since `mark` was taken.
    ///
    /// # Errors
    ///
    /// Where that cannot be read.
    pub(super) fn has_run(&self, mark: &Mark) -> Result<bool, CaptureError> {
        Ok(Mark::of(&self.tree)? != *mark)
    }

    /// Lets all processes go on after a failure.
    pub(super) fn let_go(self, error: SaveError) -> SaveError {
        let pid = self.tree.root().pid();
        match self.thaw() {
            Ok(()) => error,
            Err(thaw) => {
                SaveError::StillFrozen { pid, error: Box::new(error), thaw: Box::new(thaw) }
            }
        }
    }

    /// Lets all processes go on.
    pub(super) fn thaw(self) -> Result<(), ControlError> {
        let (domain, deadline) = (&self.attachment.domain, Deadline::within(self.timeout));
        match self.how {
            Freeze::Trap => thaw(domain, &self.tree, deadline),
            Freeze::Signal => go_on(domain, &self.stopped, deadline),
        }
    }

    /// Kills all processes, unless one has run since `mark` was taken.
    pub(super) fn kill(self, mark: &Mark) -> Result<(), ControlError> {
        let (domain, deadline) = (&self.attachment.domain, Deadline::within(self.timeout));
        // What cannot be read is not known to have stood still.
        kill_held(domain, &self.tree, &|| self.has_run(mark).unwrap_or(true), deadline)
    }
}

fn is_among(target: &Target<'_>, others: &[Target<'_>]) -> bool {
    others.iter().any(|other| other.pid() == target.pid())
}
