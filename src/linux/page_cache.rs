//! The pages of a file that are in memory: `struct address_space`.

use crate::kernel::KernelError;
use crate::memory::{GuestPhys, PAGE_SIZE};

use super::page::Page;
use super::view::{Embedded, Struct};
use super::xarray::{XArray, XaEntry, XaValue};

kernel_struct! {
    /// The pages of a file that are in memory: `struct address_space`.
    pub struct PageCache: "address_space" {
        /// The pages by their index in the file.
        pages: Embedded<XArray<'k>> = ["i_pages"],
    }
}

/// Neighbouring pages of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedPages {
    /// Index of the first in the file, in pages.
    pub first: u64,
    /// How many there are.
    pub count: u64,
    /// Where they are.
    pub place: CachedPlace,
}

/// Where pages of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CachedPlace {
    /// In memory, contiguous from here on.
    Memory(GuestPhys),
    /// Not in memory. Of a file in memory alone (tmpfs, shared memory): swapped
    /// out. Of another: evicted, which the kernel remembers.
    Elsewhere,
}

impl PageCache<'_> {
    /// All that is known of the file's pages, by ascending index, `limit`
    /// entries at most. What is not mentioned is a hole, or not in memory.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] where this makes no sense, also when the file
    /// changes meanwhile; else where guest memory cannot be read.
    pub fn cached(&self, limit: usize) -> Result<Vec<CachedPages>, KernelError> {
        let entries = self.pages()?.entries(limit)?;
        entries.into_iter().map(|entry| self.cached_pages(entry)).collect()
    }

    fn cached_pages(&self, entry: XaEntry) -> Result<CachedPages, KernelError> {
        let XaEntry { first, count, value } = entry;
        let place = match value {
            XaValue::Number(_) => CachedPlace::Elsewhere,
            XaValue::Pointer(page) => {
                // The first page of a folio, also in slots for later ones: up to
                // 5.17 each page of a huge one has a slot with its head.
                let head = Page::at(self.kernel(), page)?;
                let within = first.checked_sub(head.index()?);
                let offset = within.and_then(|pages| pages.checked_mul(PAGE_SIZE));
                let frame = offset.and_then(|offset| head.phys()?.checked_add(offset));
                CachedPlace::Memory(frame.ok_or_else(|| KernelError::Corrupt {
                    what: "page cache".into(),
                    addr: self.addr(),
                    why: format!("page {page} is not that of index {first}"),
                })?)
            }
        };
        Ok(CachedPages { first, count, place })
    }
}
