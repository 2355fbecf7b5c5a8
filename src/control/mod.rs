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
//! | `freeze` | the freezer trap: freeze, thaw, and kill what is frozen |
//! | `signal` | STOP, CONT, KILL and the rest |

mod error;
mod freeze;
mod intervention;
mod jobctl;
mod pending;
mod signal;
mod target;
mod wake;

pub use error::ControlError;
pub use freeze::{freeze, kill_frozen, thaw};
pub use jobctl::Jobctl;
pub use signal::{Effect, send};
pub use target::{Deadline, Target, is_trapped};
