//! Process, group and session IDs: `struct pid`.

use crate::kernel::KernelError;
use crate::memory::GuestVirt;

use super::view::{Raw, Struct};

/// Levels of nested PID namespaces (`MAX_PID_NS_LEVEL`,
/// `kernel/pid_namespace.c`).
const MAX_LEVEL: u32 = 32;

kernel_struct! {
    /// An ID with a number in each namespace it is seen from: `struct pid`.
    pub struct Pid: "pid" {
        /// How deep its namespace is nested; 0 is the initial one.
        level: u32 = ["level"],
        /// The task that has it as its thread ID: the first of the lists by
        /// `enum pid_type`, `PIDTYPE_PID`.
        first_task: GuestVirt = ["tasks.first"],
        /// One [`Upid`] for each level.
        numbers: Raw = ["numbers"],
    }
}

kernel_struct! {
    /// A number in one namespace: `struct upid`.
    pub struct Upid: "upid" {
        /// The number.
        nr: i32 = ["nr"],
        /// The namespace.
        ns: GuestVirt = ["ns"],
    }
}

impl<'k> Pid<'k> {
    /// Whether a thread has it, be it a zombie: `pid_has_task()` for
    /// `PIDTYPE_PID` (`include/linux/pid.h`).
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn has_task(&self) -> Result<bool, KernelError> {
        Ok(!self.first_task()?.is_null())
    }

    /// The number that the initial namespace knows it by.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn global(&self) -> Result<i32, KernelError> {
        self.at_level(0)?.nr()
    }

    /// The number at nesting `level`.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for a level that it does not have.
    pub fn at_level(&self, level: u32) -> Result<Upid<'k>, KernelError> {
        let numbers = self.numbers()?;
        if level > self.level()? || level > MAX_LEVEL {
            return Err(numbers.corrupt(format!("it has no level {level}")));
        }
        let first = Upid::at(self.kernel(), numbers.addr())?;
        let offset = first.size().saturating_mul(u64::from(level));
        Upid::at(self.kernel(), numbers.addr().wrapping_add(offset))
    }
}
