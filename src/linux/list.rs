//! Circular doubly linked lists: `struct list_head`.

use crate::kernel::{Kernel, KernelError};
use crate::memory::GuestVirt;

use super::view::Struct;

/// Most entries that any list walked here may have. A kernel can have four times
/// as many threads (`PID_MAX_LIMIT`), and none is known to.
pub const MAX_ENTRIES: usize = 1 << 20;

kernel_struct! {
    /// The head of a list, or a structure's place in one: `struct list_head`.
    pub struct ListHead: "list_head" {
        /// The next entry's `list_head`, or the head's own.
        next: crate::memory::GuestVirt = ["next"],
        /// The previous entry's.
        prev: crate::memory::GuestVirt = ["prev"],
    }
}

impl<'k> ListHead<'k> {
    /// Whether no entry is linked.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn is_empty(&self) -> Result<bool, KernelError> {
        Ok(self.next()? == self.addr())
    }

    /// The structures that are linked into this list by their member `field`.
    /// The walk ends with an error after 2^20 entries, or where a pointer
    /// leads out of the kernel.
    pub fn entries<T: Struct<'k>>(&self, field: &'static str) -> Entries<'k, T> {
        Entries {
            kernel: self.kernel(),
            head: self.addr(),
            at: Some(*self),
            left: MAX_ENTRIES,
            field,
            entry: std::marker::PhantomData,
        }
    }
}

/// The walk of [`ListHead::entries`].
#[derive(Debug)]
pub struct Entries<'k, T> {
    kernel: &'k Kernel,
    head: GuestVirt,
    at: Option<ListHead<'k>>,
    left: usize,
    field: &'static str,
    entry: std::marker::PhantomData<T>,
}

impl<'k, T: Struct<'k>> Entries<'k, T> {
    fn step(&mut self) -> Result<Option<T>, KernelError> {
        let Some(at) = self.at.take() else { return Ok(None) };
        let next = at.next()?;
        if next == self.head {
            return Ok(None);
        }
        let corrupt = |why: String| KernelError::Corrupt {
            what: format!("the list of {}.{}", T::decl().name, self.field),
            addr: self.head,
            why,
        };
        if !next.is_kernel() {
            return Err(corrupt(format!("{} links to {next}", at.addr())));
        }
        self.left = self.left.checked_sub(1).ok_or_else(|| corrupt("it does not end".into()))?;
        // An entry that was taken out still links to the next one, which no
        // longer links back (`list_del_rcu()`).
        let entry = ListHead::at(self.kernel, next)?;
        if entry.prev()? != at.addr() {
            return Err(corrupt(format!("{next} does not link back to {}", at.addr())));
        }
        self.at = Some(entry);
        T::container_of(self.kernel, next, self.field).map(Some)
    }
}

impl<'k, T: Struct<'k>> Iterator for Entries<'k, T> {
    type Item = Result<T, KernelError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}
