//! A process that has ended.

use serde::{Deserialize, Serialize};

use super::{KernelString, Kin};

/// What is left of a process until its parent reaps it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Zombie {
    /// Process ID.
    pub pid: u32,
    /// PID of the parent.
    pub ppid: u32,
    /// Process group.
    pub pgid: u32,
    /// Session.
    pub sid: u32,
    /// Wait status, as `wait()` gives it.
    pub exit_code: u32,
    /// Its name.
    pub comm: KernelString,
}

impl Zombie {
    /// Its place among other processes.
    pub fn kin(&self) -> Kin {
        Kin { pid: self.pid, ppid: self.ppid, pgid: self.pgid, sid: self.sid }
    }
}
