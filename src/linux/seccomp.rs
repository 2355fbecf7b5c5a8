//! Seccomp: system calls that a thread may make (`kernel/seccomp.c`).

use crate::kernel::KernelError;
use crate::memory::GuestVirt;

use super::bpf::BpfProg;
use super::task::Task;
use super::view::{Ptr, Struct};

/// Filters of a thread at most: the kernel counts each as its instructions, one at
/// least, and four, up to 32768 (`MAX_INSNS_PER_PATH`).
const MOST_FILTERS: usize = 32768 / 5;

kernel_struct! {
    /// A filter, and those before it: `struct seccomp_filter`.
    pub struct SeccompFilter: "seccomp_filter" {
        /// The one that was installed before.
        prev: Ptr<Self> = ["prev"],
        /// What it runs.
        prog: Ptr<BpfProg<'k>> = ["prog"],
        /// `SECCOMP_FILTER_FLAG_LOG`.
        log: bool = ["log"],
        /// Who listens to it (`SECCOMP_FILTER_FLAG_NEW_LISTENER`).
        notif: GuestVirt = ["notif"],
    }
}

impl<'k> Task<'k> {
    /// Its filters, the last installed one first.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for more than there can be.
    pub fn seccomp_filters(&self) -> Result<Vec<SeccompFilter<'k>>, KernelError> {
        let mut filters = Vec::new();
        let mut next = self.seccomp_filter()?;
        while let Some(filter) = next {
            if filters.len() == MOST_FILTERS {
                return Err(filter.corrupt("it has no end of filters before it".into()));
            }
            filters.push(filter);
            next = filter.prev()?;
        }
        Ok(filters)
    }
}

impl SeccompFilter<'_> {
    /// The instructions as they were installed, each a `struct sock_filter`; `None`
    /// where the kernel has not kept them.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for more than there can be.
    pub fn instructions(&self) -> Result<Option<Vec<u8>>, KernelError> {
        let Some(program) = self.prog()?.map_or(Ok(None), |prog| prog.orig_prog())? else {
            return Ok(None);
        };
        Ok(Some(program.instructions()?.into_flattened()))
    }

    fn corrupt(&self, why: String) -> KernelError {
        KernelError::Corrupt { what: "seccomp_filter".into(), addr: self.addr(), why }
    }
}
