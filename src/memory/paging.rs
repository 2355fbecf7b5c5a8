//! x86-64 page tables of 4 and 5 levels (Intel SDM vol. 3, chapter 4).

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::address::{GuestPhys, GuestVirt, PAGE_SIZE};
use super::guest::{GuestMemory, MemoryError};

const PRESENT: u64 = 1 << 0;
const HUGE: u64 = 1 << 7;
/// Linux's `_PAGE_PROTNONE` (`arch/x86/include/asm/pgtable_types.h`): bit 8 of
/// an entry whose present bit is clear says that the page is there, but may
/// not be touched (`PROT_NONE`, NUMA balancing).
const PROT_NONE: u64 = 1 << 8;
/// The bits that Linux inverts in such an entry, against L1TF
/// (`arch/x86/include/asm/pgtable-invert.h`: `protnone_mask`).
const PROT_NONE_INVERTED: u64 = 0x000f_ffff_ffff_f000;
/// Entries in a table.
const ENTRIES: u64 = 512;

/// How many levels a guest's page tables have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PageTableLevels {
    /// `CR4.LA57` clear: 48-bit addresses.
    Four,
    /// `CR4.LA57` set: 57-bit addresses.
    Five,
}

impl PageTableLevels {
    const fn count(self) -> u32 {
        match self {
            Self::Four => 4,
            Self::Five => 5,
        }
    }

    /// Whether bits above the translated ones are copies of the highest.
    const fn is_canonical(self, addr: GuestVirt) -> bool {
        let unused = 64 - (12 + 9 * self.count());
        let raw = addr.get();
        ((raw << unused).cast_signed() >> unused).cast_unsigned() == raw
    }
}

/// The page tables that a CPU uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CpuPaging {
    /// Its `CR3`: the top table's address, with flags or a PCID below.
    pub cr3: u64,
    /// How many levels the tables have.
    pub levels: PageTableLevels,
}

impl CpuPaging {
    /// What the control registers say; `None` for a CPU that is not in long
    /// mode, as one that was never started.
    pub fn from_registers(cr0: u64, cr3: u64, cr4: u64, efer: u64) -> Option<Self> {
        const CR0_PG: u64 = 1 << 31;
        const CR4_LA57: u64 = 1 << 12;
        const EFER_LMA: u64 = 1 << 10;
        let levels = match cr4 & CR4_LA57 {
            0 => PageTableLevels::Four,
            _ => PageTableLevels::Five,
        };
        (cr0 & CR0_PG != 0 && efer & EFER_LMA != 0).then_some(Self { cr3, levels })
    }
}

/// What the page tables say about one address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// A page of guest RAM.
    Page {
        /// Its first byte.
        phys: GuestPhys,
        /// The entry as the guest wrote it: access bits and software bits.
        raw: u64,
    },
    /// Not present but not empty: swapped out, migrating or a marker
    /// (`include/linux/swapops.h`).
    Swap(u64),
}

/// One mapped page, or one entry that is not present but not empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// First address that the entry covers.
    pub virt: GuestVirt,
    /// Bytes it covers: 4 KiB, 2 MiB or 1 GiB.
    pub size: u64,
    /// What it says.
    pub entry: Entry,
}

/// Guest memory as a CPU sees it through one set of page tables.
#[derive(Clone, Debug)]
pub struct AddressSpace {
    memory: Arc<GuestMemory>,
    root: GuestPhys,
    levels: PageTableLevels,
}

impl AddressSpace {
    /// The address space whose top page table is at `root`. Flag and PCID bits
    /// of a `CR3` value are ignored.
    pub fn new(memory: Arc<GuestMemory>, root: GuestPhys, levels: PageTableLevels) -> Self {
        let root = GuestPhys::from_entry(root.get());
        Self { memory, root, levels }
    }

    /// The physical memory below.
    pub fn memory(&self) -> &Arc<GuestMemory> {
        &self.memory
    }

    /// Where the top page table is.
    pub fn root(&self) -> GuestPhys {
        self.root
    }

    /// How many levels the tables have.
    pub fn levels(&self) -> PageTableLevels {
        self.levels
    }

    /// The physical address behind `addr`, and how many bytes from there on
    /// are contiguous.
    ///
    /// # Errors
    ///
    /// [`MemoryError::NotMapped`], or an error of reading the tables.
    pub fn translate(&self, addr: GuestVirt) -> Result<(GuestPhys, u64), MemoryError> {
        match self.lookup(addr)? {
            Some(Leaf { virt, size, entry: Entry::Page { phys, .. } }) => {
                let offset = addr.get() - virt.get();
                let phys = phys.checked_add(offset).ok_or(MemoryError::NotMapped(addr))?;
                Ok((phys, size - offset))
            }
            _ => Err(MemoryError::NotMapped(addr)),
        }
    }

    /// Copies `buf.len()` bytes at `addr` into `buf`, page by page.
    ///
    /// # Errors
    ///
    /// As [`translate`](Self::translate), or an error of reading the page.
    pub fn read(&self, addr: GuestVirt, buf: &mut [u8]) -> Result<(), MemoryError> {
        let mut done = 0;
        while done < buf.len() {
            let at = self.advance(addr, done as u64, buf.len())?;
            let (phys, contiguous) = self.translate(at)?;
            let len = contiguous.min((buf.len() - done) as u64) as usize;
            self.memory.read(phys, &mut buf[done..done + len])?;
            done += len;
        }
        Ok(())
    }

    /// Copies `bytes` to `addr`, page by page.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn write(&self, addr: GuestVirt, bytes: &[u8]) -> Result<(), MemoryError> {
        let mut done = 0;
        while done < bytes.len() {
            let at = self.advance(addr, done as u64, bytes.len())?;
            let (phys, contiguous) = self.translate(at)?;
            let len = contiguous.min((bytes.len() - done) as u64) as usize;
            self.memory.write(phys, &bytes[done..done + len])?;
            done += len;
        }
        Ok(())
    }

    /// Calls `visit` for every entry in `range` that is not empty, ascending.
    /// Entries of 2 MiB and 1 GiB are cut to the range.
    ///
    /// # Errors
    ///
    /// An error of reading the tables, [`MemoryError::EndlessTables`], or the
    /// first one that `visit` returns.
    pub fn walk<E: From<MemoryError>>(
        &self,
        range: Range<GuestVirt>,
        mut visit: impl FnMut(Leaf) -> Result<(), E>,
    ) -> Result<(), E> {
        let canonical = self.levels.is_canonical(range.start)
            && (range.end.get() == 0
                || self.levels.is_canonical(GuestVirt::new(range.end.get() - 1)));
        if !canonical {
            return Err(MemoryError::NotMapped(range.start).into());
        }
        if range.is_empty() {
            return Ok(());
        }
        let tables_left = self.memory.len() / PAGE_SIZE;
        let from = range.start.get();
        let mut walk = Walk { space: self, range, tables_left, visit: &mut visit };
        walk.table(self.root, self.levels.count(), from)
    }

    fn lookup(&self, addr: GuestVirt) -> Result<Option<Leaf>, MemoryError> {
        if !self.levels.is_canonical(addr) {
            return Ok(None);
        }
        let mut table = self.root;
        for level in (1..=self.levels.count()).rev() {
            let slot = table.checked_add(table_index(addr.get(), level) * 8);
            let slot = slot.ok_or(MemoryError::NotMapped(addr))?;
            match classify(self.memory.read_u64(slot)?, level) {
                Step::Empty => return Ok(None),
                Step::Table(next) => table = next,
                Step::Leaf(entry) => {
                    let size = entry_size(level);
                    let virt = GuestVirt::new(addr.get() & !(size - 1));
                    return Ok(Some(Leaf { virt, size, entry }));
                }
            }
        }
        Ok(None)
    }

    fn advance(&self, addr: GuestVirt, done: u64, len: usize) -> Result<GuestVirt, MemoryError> {
        let out_of_range = MemoryError::OutOfRange { addr: addr.get(), len: len as u64 };
        addr.checked_add(done).ok_or(out_of_range)
    }
}

/// A walk over the entries of a range.
struct Walk<'a, V> {
    space: &'a AddressSpace,
    range: Range<GuestVirt>,
    /// Tables that are read yet at most: honest ones are all in RAM, each once.
    tables_left: u64,
    visit: &'a mut V,
}

impl<V> Walk<'_, V> {
    /// Visits the part of the range that the table at `table` of `level` covers,
    /// from `from` on.
    fn table<E: From<MemoryError>>(
        &mut self,
        table: GuestPhys,
        level: u32,
        from: u64,
    ) -> Result<(), E>
    where
        V: FnMut(Leaf) -> Result<(), E>,
    {
        let endless = MemoryError::EndlessTables { root: self.space.root };
        self.tables_left = self.tables_left.checked_sub(1).ok_or(endless)?;
        let mut words = [0; PAGE_SIZE as usize];
        self.space.memory.read(table, &mut words)?;
        if level == 1 {
            return self.leaves(&words, from);
        }
        let size = entry_size(level);
        let mut virt = from & !(size - 1);
        for index in table_index(from, level)..ENTRIES {
            if virt >= self.range.end.get() {
                break;
            }
            match classify(word_at(&words, index), level) {
                Step::Empty => {}
                Step::Table(next) => {
                    self.table(next, level - 1, virt.max(self.range.start.get()))?;
                }
                Step::Leaf(entry) => (self.visit)(cut(virt, size, entry, &self.range))?,
            }
            match virt.checked_add(size) {
                Some(next) => virt = next,
                None => break,
            }
        }
        Ok(())
    }

    /// The same of a lowest table, where most entries are.
    fn leaves<E: From<MemoryError>>(
        &mut self,
        words: &[u8; PAGE_SIZE as usize],
        from: u64,
    ) -> Result<(), E>
    where
        V: FnMut(Leaf) -> Result<(), E>,
    {
        let first = table_index(from, 1);
        let start = from & !(PAGE_SIZE - 1);
        let left = self.range.end.get().wrapping_sub(start).div_ceil(PAGE_SIZE);
        let entries = words.as_chunks().0.iter().skip(first as usize);
        for (word, number) in entries.zip(0..left) {
            let raw = u64::from_le_bytes(*word);
            if raw == 0 {
                continue;
            }
            if let Step::Leaf(entry) = classify(raw, 1) {
                let virt = start + number * PAGE_SIZE;
                (self.visit)(cut(virt, PAGE_SIZE, entry, &self.range))?;
            }
        }
        Ok(())
    }
}

enum Step {
    Empty,
    Table(GuestPhys),
    Leaf(Entry),
}

/// What an entry of a table of `level` (1 is the lowest) means to Linux.
#[inline]
fn classify(raw: u64, level: u32) -> Step {
    let huge = (2..=3).contains(&level) && raw & HUGE != 0;
    if raw & PRESENT != 0 {
        if level > 1 && !huge {
            return Step::Table(GuestPhys::from_entry(raw));
        }
        return Step::Leaf(page(raw, level));
    }
    if raw == 0 {
        Step::Empty
    } else if raw & PROT_NONE != 0 && (level == 1 || huge) {
        Step::Leaf(page(raw ^ PROT_NONE_INVERTED, level))
    } else {
        Step::Leaf(Entry::Swap(raw))
    }
}

#[inline]
fn page(raw: u64, level: u32) -> Entry {
    // Bit 12 of a huge entry is the PAT bit, and the rest below its size is
    // reserved: mask to the entry's own size.
    let phys = GuestPhys::new(GuestPhys::from_entry(raw).get() & !(entry_size(level) - 1));
    Entry::Page { phys, raw }
}

#[inline]
fn cut(virt: u64, size: u64, entry: Entry, range: &Range<GuestVirt>) -> Leaf {
    let start = virt.max(range.start.get());
    let end = virt.saturating_add(size).min(range.end.get());
    let entry = match entry {
        Entry::Page { phys, raw } => {
            Entry::Page { phys: GuestPhys::new(phys.get() + (start - virt)), raw }
        }
        swap @ Entry::Swap(_) => swap,
    };
    Leaf { virt: GuestVirt::new(start), size: end - start, entry }
}

/// Bytes that one entry of a table of `level` covers.
const fn entry_size(level: u32) -> u64 {
    PAGE_SIZE << (9 * (level - 1))
}

const fn table_index(addr: u64, level: u32) -> u64 {
    (addr / entry_size(level)) % ENTRIES
}

fn word_at(table: &[u8; PAGE_SIZE as usize], index: u64) -> u64 {
    let at = index as usize * 8;
    let mut word = [0; 8];
    word.copy_from_slice(&table[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::super::guest::tests::region;
    use super::*;

    /// Tables that map one page at each of two levels: a 4 KiB page at
    /// 0x7f00_0000_1000 and a 2 MiB page at 0x7f00_0020_0000.
    fn guest(levels: PageTableLevels, leaf: u64) -> AddressSpace {
        let mut ram = vec![0u8; 0x40_0000];
        let virt = 0x7f00_0000_1000;
        let mut put = |at: u64, word: u64| {
            ram[at as usize..at as usize + 8].copy_from_slice(&word.to_le_bytes());
        };
        let mut table = 0x1000;
        for level in (2..=levels.count()).rev() {
            put(table + table_index(virt, level) * 8, (table + 0x1000) | PRESENT);
            if level == 2 {
                put(table + table_index(0x7f00_0020_0000, 2) * 8, 0x20_0000 | PRESENT | HUGE);
            }
            table += 0x1000;
        }
        put(table + table_index(virt, 1) * 8, leaf);
        ram[0x9000] = 7;
        let memory = Arc::new(GuestMemory::new(vec![region(0, ram)]).unwrap());
        AddressSpace::new(memory, GuestPhys::new(0x1000 | 0xfff), levels)
    }

    #[test]
    fn pages_are_found_through_four_and_five_levels() {
        for levels in [PageTableLevels::Four, PageTableLevels::Five] {
            let space = guest(levels, 0x9000 | PRESENT);
            let mut byte = [0];
            space.read(GuestVirt::new(0x7f00_0000_1000), &mut byte).unwrap();
            assert_eq!(byte, [7]);
            let (phys, contiguous) = space.translate(GuestVirt::new(0x7f00_0020_1234)).unwrap();
            assert_eq!((phys.get(), contiguous), (0x20_1234, 0x20_0000 - 0x1234));
            assert!(space.translate(GuestVirt::new(0x7f00_0000_2000)).is_err());
        }
    }

    #[test]
    fn a_prot_none_page_keeps_its_frame() {
        let inverted = (0x9000 ^ 0x000f_ffff_ffff_f000) | PROT_NONE;
        let space = guest(PageTableLevels::Four, inverted);
        let (phys, _) = space.translate(GuestVirt::new(0x7f00_0000_1000)).unwrap();
        assert_eq!(phys.get(), 0x9000);
    }

    #[test]
    fn a_walk_sees_each_entry_once_and_cut_to_the_range() {
        let space = guest(PageTableLevels::Four, 0x1234_5600);
        let mut leaves = Vec::new();
        let range = GuestVirt::new(0x7f00_0000_0000)..GuestVirt::new(0x7f00_0020_3000);
        space
            .walk(range, |leaf| {
                leaves.push((leaf.virt.get(), leaf.size, matches!(leaf.entry, Entry::Swap(_))));
                Ok::<_, MemoryError>(())
            })
            .unwrap();
        assert_eq!(leaves, [(0x7f00_0000_1000, 0x1000, true), (0x7f00_0020_0000, 0x3000, false)]);
    }

    #[test]
    fn an_address_out_of_reach_of_the_levels_is_not_mapped() {
        let space = guest(PageTableLevels::Four, 0x9000 | PRESENT);
        assert!(space.translate(GuestVirt::new(0x0100_7f00_0000_1000)).is_err());
    }

    #[test]
    fn tables_that_point_at_themselves_end() {
        let mut ram = vec![0u8; 0x2000];
        for entry in ram[0x1000..].chunks_exact_mut(8) {
            entry.copy_from_slice(&(0x1000 | PRESENT).to_le_bytes());
        }
        let memory = Arc::new(GuestMemory::new(vec![region(0, ram)]).unwrap());
        let space = AddressSpace::new(memory, GuestPhys::new(0x1000), PageTableLevels::Five);
        assert!(space.translate(GuestVirt::new(0x1000)).is_ok());
        let mut pages = 0;
        let range = GuestVirt::new(0)..GuestVirt::new(1 << 47);
        let walked: Result<(), MemoryError> = space.walk(range, |_| {
            pages += 1;
            Ok(())
        });
        // No more tables than fit into the RAM of two pages.
        assert!(matches!(walked, Err(MemoryError::EndlessTables { .. })), "{walked:?}");
        assert_eq!(pages, 0);
    }
}
