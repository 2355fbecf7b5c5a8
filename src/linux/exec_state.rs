//! What `execve()` settles for a process: who may look into it.

use crate::kernel::KernelError;

use super::task::Task;

kernel_struct! {
    /// `struct task_exec_state`, since 7.2; `mm_struct` had it before.
    (optional) pub struct TaskExecState: "task_exec_state" {
        /// `SUID_DUMP_*` (`include/linux/sched/coredump.h`).
        dumpable: u32 = ["dumpable"],
    }
}

/// `MMF_DUMPABLE_MASK`: where `mm->flags` holds the value up to 7.1.
const DUMPABLE_MASK: u64 = 3;

impl Task<'_> {
    /// Whether the process leaves a core dump and may be traced: what
    /// `PR_GET_DUMPABLE` returns. `None` for a task without memory.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn dumpable(&self) -> Result<Option<u32>, KernelError> {
        if let Some(state) = self.exec_state()?.flatten() {
            return state.dumpable().map(Some);
        }
        let Some(mm) = self.mm()? else { return Ok(None) };
        Ok(Some((mm.flags()? & DUMPABLE_MASK) as u32))
    }
}
