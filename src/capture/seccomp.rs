//! Seccomp.

use std::collections::HashMap;

use crate::linux::{SeccompFilter as LinuxFilter, Struct, Task};
use crate::memory::GuestVirt;
use crate::snapshot::{Id, Seccomp, SeccompFilter, Table};

use super::budget::Budget;
use super::error::CaptureError;

/// `SECCOMP_MODE_*` (`include/uapi/linux/seccomp.h`).
const DISABLED: u32 = 0;
pub(super) const STRICT: u32 = 1;
const FILTER: u32 = 2;

/// Why a thread's restrictions cannot be saved, as what the thread does.
///
/// # Errors
///
/// Where guest memory cannot be read.
pub(super) fn survey(thread: &Task<'_>) -> Result<Option<String>, CaptureError> {
    match thread.seccomp_mode()? {
        DISABLED | STRICT => return Ok(None),
        FILTER => {}
        other => return Ok(Some(format!("is restricted by seccomp in mode {other}"))),
    }
    for filter in thread.seccomp_filters()? {
        if !filter.notif()?.is_null() {
            return Ok(Some("is restricted by a seccomp filter with a listener".into()));
        }
        if filter.instructions()?.is_none() {
            let why = "is restricted by a seccomp filter that its kernel does not tell of";
            return Ok(Some(why.into()));
        }
    }
    Ok(None)
}

/// The filters of all threads of a save, each kept once.
pub(super) struct Filters {
    known: HashMap<GuestVirt, Id<SeccompFilter>>,
    table: Table<SeccompFilter>,
    budget: Budget,
}

impl Filters {
    pub(super) fn new(budget: Budget) -> Self {
        Self { known: HashMap::new(), table: Table::default(), budget }
    }

    /// How a thread is restricted.
    pub(super) fn of(&mut self, thread: &Task<'_>) -> Result<Seccomp, CaptureError> {
        Ok(match thread.seccomp_mode()? {
            STRICT => Seccomp::Strict,
            FILTER => match self.chain(&thread.seccomp_filters()?)? {
                Some(last) => Seccomp::Filter(last),
                None => Seccomp::Disabled,
            },
            _ => Seccomp::Disabled,
        })
    }

    /// Keeps filters, of which the last installed one comes first.
    fn chain(
        &mut self,
        filters: &[LinuxFilter<'_>],
    ) -> Result<Option<Id<SeccompFilter>>, CaptureError> {
        let mut prev = None;
        for filter in filters.iter().rev() {
            let id = match self.known.get(&filter.addr()) {
                Some(&known) => known,
                None => self.add(filter, prev)?,
            };
            prev = Some(id);
        }
        Ok(prev)
    }

    fn add(
        &mut self,
        filter: &LinuxFilter<'_>,
        prev: Option<Id<SeccompFilter>>,
    ) -> Result<Id<SeccompFilter>, CaptureError> {
        let instructions = filter.instructions()?.unwrap_or_default();
        self.budget.take(instructions.len() as u64)?;
        let id = self.table.push(SeccompFilter { instructions, log: filter.log()?, prev });
        self.known.insert(filter.addr(), id);
        Ok(id)
    }

    /// All that were kept.
    pub(super) fn into_table(self) -> Table<SeccompFilter> {
        self.table
    }
}
