//! A tree held by SIGSTOP, and let go by SIGCONT.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::domain::Domain;

use super::error::ControlError;
use super::signal::{Effect, send};
use super::target::{Deadline, Target};
use super::tree::Tree;

/// Stops all processes of a tree by SIGSTOP, parents before children, until no
/// new one appears; the tree has its members as they are then. Returns those
/// that were not stopped before.
///
/// # Errors
///
/// [`ControlError::TimedOut`] where one does not stop before `deadline`, and
/// [`ControlError::Unsuitable`] where it cannot be stopped; all that were
/// stopped are continued.
pub fn stop<'k>(
    domain: &Domain,
    tree: &mut Tree<'k>,
    deadline: Deadline,
) -> Result<Vec<Target<'k>>, ControlError> {
    let mut stopped = Vec::new();
    match stop_all(domain, tree, deadline, &mut stopped) {
        Ok(()) => Ok(stopped),
        Err(error) => {
            if let Err(other) = go_on(domain, &stopped, Deadline::within(CONTINUE_WITHIN)) {
                tracing::error!("process {} is still stopped: {other}", tree.root().pid());
            }
            Err(error)
        }
    }
}

/// How long processes may take to continue after a failure.
const CONTINUE_WITHIN: Duration = Duration::from_secs(5);

fn stop_all<'k>(
    domain: &Domain,
    tree: &mut Tree<'k>,
    deadline: Deadline,
    stopped: &mut Vec<Target<'k>>,
) -> Result<(), ControlError> {
    loop {
        let members = tree.look_settled()?;
        let mut all = true;
        for member in &members {
            let target = &member.target;
            match target.is_stopped() {
                Ok(true) => continue,
                Err(_) if !target.is_alive()? => continue,
                stopped => stopped?,
            };
            all = false;
            match send(domain, target, Signal::SIGSTOP as u32, deadline)? {
                Effect::Stopped => stopped.push(target.clone()),
                Effect::Killed => {}
                _ => return Err(target.unsuitable("cannot be stopped by a signal")),
            }
        }
        // What is stopped starts nothing: all was there at this look.
        if all {
            tree.set_members(members);
            return Ok(());
        }
        deadline.wait(tree.root(), "stop", || "its tree keeps growing".into())?;
    }
}

/// Continues stopped processes, children before parents.
///
/// # Errors
///
/// [`ControlError::TimedOut`] where one does not go on before `deadline`.
pub fn go_on(
    domain: &Domain,
    stopped: &[Target<'_>],
    deadline: Deadline,
) -> Result<(), ControlError> {
    for target in stopped.iter().rev() {
        send(domain, target, Signal::SIGCONT as u32, deadline)?;
    }
    Ok(())
}
