//! Pseudo-signals and pseudo-scheduling: what another CPU of the guest would
//! do to signal, stop or wake a thread, done from outside.
//!
//! Each step pauses the VM for about a millisecond, checks that no vCPU is in
//! the middle of the state it is about to change, changes it, puts sleeping
//! threads on their CPU's wake-up list, raises the interrupts that make the
//! CPUs look, and continues the VM. Whether it took effect is then seen in
//! guest memory, without another pause.
//!
//! | file | what it does |
//! |---|---|
//! | `target` | the process that is acted on, told from one that reuses its ID |
//! | `intervention` | one pause: what is changed in it, and the interrupts at its end |
//! | `wake` | puts a sleeping thread on its CPU's list of threads to wake |
//! | `tree` | the processes that are acted on together |
//! | `freeze` | the freezer trap: freeze and thaw |
//! | `kill` | the end of what is frozen or stopped |
//! | `stop` | a tree held by SIGSTOP instead |
//! | `signal` | STOP, CONT, KILL and the rest |
//! | `terminal` | the controlling terminal of processes that have none yet |

mod error;
mod freeze;
mod intervention;
mod jobctl;
mod kill;
mod pending;
mod signal;
mod stop;
mod target;
mod terminal;
mod tree;
mod wake;

pub use error::ControlError;
pub use freeze::{freeze, freeze_rest, thaw};
pub use jobctl::Jobctl;
pub use kill::kill_held;
pub use signal::{Effect, send};
pub use stop::{go_on, stop};
pub use target::{Deadline, Target, is_trapped};
pub use terminal::give_terminals;
pub use tree::Tree;
