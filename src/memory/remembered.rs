//! Pages that are read once for all that is looked at in them.
//!
//! A word of RAM that is not mapped costs a system call, as much as the page
//! that it lies in; a walk over kernel structures reads dozens of words of each
//! page.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::address::{GuestPhys, PAGE_SIZE};

/// Pages that are kept at most: 64 MiB. Further ones are read each time.
const MAX_PAGES: usize = 16 << 10;

type Page = [u8; PAGE_SIZE as usize];

/// Pages by their number, while somebody asks for them to be kept.
#[derive(Debug, Default)]
pub(super) struct Remembered(Mutex<Option<HashMap<u64, Box<Page>>>>);

impl Remembered {
    /// Copies what is remembered of `addr..addr + buf.len()` into `buf`; a page
    /// that is not is fetched first. `false` where nothing is to be remembered
    /// of it.
    pub(super) fn read(
        &self,
        addr: GuestPhys,
        buf: &mut [u8],
        fetch: impl FnOnce(GuestPhys, &mut Page) -> Option<io::Result<()>>,
    ) -> io::Result<bool> {
        let within = (addr.get() % PAGE_SIZE) as usize;
        let mut slot = self.lock();
        let Some(pages) = slot.as_mut() else { return Ok(false) };
        if within + buf.len() > PAGE_SIZE as usize {
            return Ok(false);
        }
        let is_full = pages.len() >= MAX_PAGES;
        let page = match pages.entry(addr.get() / PAGE_SIZE) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if is_full => return Ok(false),
            Entry::Vacant(new) => {
                let mut page = Box::new([0; PAGE_SIZE as usize]);
                match fetch(addr.page_start(), &mut page) {
                    None => return Ok(false),
                    Some(fetched) => fetched?,
                }
                new.insert(page)
            }
        };
        buf.copy_from_slice(&page[within..within + buf.len()]);
        Ok(true)
    }

    /// Forgets the pages of `addr..addr + len`, which are written.
    pub(super) fn forget(&self, addr: GuestPhys, len: usize) {
        if let Some(pages) = self.lock().as_mut() {
            let last = addr.get().saturating_add(len as u64) / PAGE_SIZE;
            for number in addr.get() / PAGE_SIZE..=last {
                pages.remove(&number);
            }
        }
    }

    /// Begins to remember.
    pub(super) fn begin(&self) -> Remembering<'_> {
        Remembering { of: self, before: self.lock().replace(HashMap::new()) }
    }

    fn lock(&self) -> MutexGuard<'_, Option<HashMap<u64, Box<Page>>>> {
        // A page is put in whole or not at all.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Pages are remembered until this is dropped; then as before.
#[derive(Debug)]
pub struct Remembering<'a> {
    of: &'a Remembered,
    before: Option<HashMap<u64, Box<Page>>>,
}

impl Drop for Remembering<'_> {
    fn drop(&mut self) {
        *self.of.lock() = mem::take(&mut self.before);
    }
}

#[cfg(test)]
mod tests {
    use crate::memory::guest::tests::region;
    use crate::memory::{GuestMemory, GuestPhys};

    fn byte(memory: &GuestMemory, at: u64) -> u8 {
        let mut byte = [0];
        memory.read(GuestPhys::new(at), &mut byte).unwrap();
        byte[0]
    }

    /// Writes as the guest does, which tells nobody.
    fn guest_writes(memory: &GuestMemory, at: u64, byte: u8) {
        memory.regions()[0].backing.write(at, &[byte]).unwrap();
    }

    #[test]
    fn a_page_is_read_once_until_it_is_written_or_forgotten() {
        let memory = GuestMemory::new(vec![region(0, vec![1; 0x2800])]).unwrap();
        let remembering = memory.remember();
        assert_eq!(byte(&memory, 0x10), 1);
        guest_writes(&memory, 0x20, 2);
        assert_eq!(byte(&memory, 0x20), 1);
        let inner = memory.remember();
        assert_eq!(byte(&memory, 0x20), 2);
        drop(inner);
        assert_eq!(byte(&memory, 0x20), 1);
        memory.write(GuestPhys::new(0x30), &[3]).unwrap();
        assert_eq!((byte(&memory, 0x20), byte(&memory, 0x30)), (2, 3));
        drop(remembering);
        guest_writes(&memory, 0x10, 4);
        assert_eq!(byte(&memory, 0x10), 4);
    }

    #[test]
    fn reads_of_two_pages_and_of_parts_of_a_page_are_those_of_the_memory() {
        let memory = GuestMemory::new(vec![region(0, vec![1; 0x2800])]).unwrap();
        let _remembering = memory.remember();
        let mut both = [0; 8];
        memory.read(GuestPhys::new(0xffc), &mut both).unwrap();
        assert_eq!(both, [1; 8]);
        // The RAM ends within this page.
        assert_eq!(byte(&memory, 0x27ff), 1);
        assert!(memory.read(GuestPhys::new(0x2800), &mut both).is_err());
    }
}
