//! Where in the kernel a thread sleeps.

use crate::kernel::KernelError;
use crate::memory::GuestVirt;

use super::pt_regs::THREAD_SIZE;
use super::task::Task;
use super::view::Struct;

/// Words of a kernel stack that are looked at: the frames of the scheduler and
/// of those who called it.
const WORDS: u64 = 96;
/// How many functions are named: some may be left over by earlier calls.
const NAMED: usize = 6;
/// Functions by which any thread leaves its CPU.
const SCHEDULER: [&str; 4] = ["__schedule", "schedule", "__switch_to", "preempt_schedule"];

impl Task<'_> {
    /// The functions that a thread which is off its CPU sleeps in, the innermost
    /// first, without the scheduler's own. They are the code addresses on its
    /// stack: without the kernel's unwind tables one that was left over by an
    /// earlier call is not told from one to be returned to.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn sleeps_in(&self) -> Result<Vec<String>, KernelError> {
        let Some(sp) = self.kernel_sp()? else { return Ok(Vec::new()) };
        let top = self.stack()?.wrapping_add(THREAD_SIZE);
        let left = top.checked_offset_from(sp).filter(|left| *left <= THREAD_SIZE).unwrap_or(0);
        let mut bytes = vec![0; (left / 8).min(WORDS) as usize * 8];
        self.kernel().read(sp, &mut bytes)?;
        let words: Vec<GuestVirt> = bytes
            .as_chunks()
            .0
            .iter()
            .map(|word| GuestVirt::new(u64::from_le_bytes(*word)))
            .collect();
        let mut names: Vec<String> =
            self.kernel().functions_at(&words)?.into_iter().flatten().collect();
        names.retain(|name| !SCHEDULER.iter().any(|own| name.starts_with(own)));
        names.dedup();
        names.truncate(NAMED);
        Ok(names)
    }
}
