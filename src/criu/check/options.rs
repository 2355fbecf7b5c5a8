//! What a check is told.

/// With which options the set is going to be restored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CheckOptions {
    /// `--shell-job`: session and process group may be those of a process
    /// that is not in the set, and are then replaced by those of `restore`.
    pub shell_job: bool,
}
