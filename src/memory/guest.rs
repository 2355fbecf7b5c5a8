//! Guest RAM as one guest-physical space over one or more host backings.

use std::fmt::{self, Debug};
use std::io;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::address::{GuestPhys, GuestVirt};
use super::remembered::{Remembered, Remembering};

/// Why guest memory could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// No RAM lies at this guest-physical address.
    #[error("guest-physical address {0} is not RAM")]
    NotRam(GuestPhys),
    /// The page tables map nothing here.
    #[error("guest-virtual address {0} is not mapped")]
    NotMapped(GuestVirt),
    /// The range `addr..addr + len` leaves the address space.
    #[error("guest address range {addr:#x}+{len:#x} leaves the address space")]
    OutOfRange {
        /// First address of the range.
        addr: u64,
        /// Its length in bytes.
        len: u64,
    },
    /// The page tables at `root` lead to more tables than fit into RAM: they
    /// point at themselves.
    #[error("the page tables at {root} have no end")]
    EndlessTables {
        /// The top table.
        root: GuestPhys,
    },
    /// The host could not give the page: the backing file is shorter than the
    /// RAM, the huge-page pool is empty or the page is poisoned.
    #[error("the host cannot access guest RAM at {addr}: {source}")]
    Host {
        /// Where it happened.
        addr: GuestPhys,
        /// What the host said.
        source: io::Error,
    },
}

/// How guest RAM is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// QEMU's memory backends are mapped into this process.
    Mapped,
    /// The memory of the QEMU process is read and written through the host.
    Process,
    /// Some regions in one way, some in the other.
    Mixed,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mapped => "mapped memory",
            Self::Process => "the memory of the QEMU process",
            Self::Mixed => "memory of which QEMU shares a part",
        })
    }
}

/// Host memory that holds a piece of guest RAM. Offsets are bytes from the
/// start of the region.
///
/// A caller has checked that `offset + len` lies within the region.
pub trait Backing: Send + Sync + Debug {
    /// Copies guest bytes out. An aligned access of 1, 2, 4 or 8 bytes is one
    /// load, as a CPU's would be, as far as the way that is taken has it: see
    /// the implementations.
    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// Copies bytes into the guest. An aligned access of 1, 2, 4 or 8 bytes is
    /// one store, as far as the way that is taken has it.
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Copies many pieces, given by offset and length, into `buf` one after
    /// the other; it has the length of all.
    fn read_batch(&self, pieces: &[(u64, usize)], buf: &mut [u8]) -> io::Result<()> {
        let mut rest = buf;
        for &(offset, len) in pieces {
            let (piece, after) = rest.split_at_mut(len);
            self.read(offset, piece)?;
            rest = after;
        }
        Ok(())
    }

    /// The guest's bytes themselves, where they are mapped into this process.
    /// For handing to a system call: the guest may change them meanwhile.
    fn borrow(&self, offset: u64, len: usize) -> Option<&[u8]>;

    /// Fails where what was borrowed was not all the guest's: the host had no
    /// page for it.
    fn check(&self) -> io::Result<()> {
        Ok(())
    }

    /// The next range at or after `offset` that may hold anything but zeros,
    /// so that a scan need not touch (and so allocate) what was never used.
    fn next_data(&self, offset: u64) -> Option<Range<u64>>;
}

/// One piece of guest RAM.
#[derive(Debug)]
pub struct Region {
    /// Guest-physical address of its first byte.
    pub start: GuestPhys,
    /// Its length in bytes.
    pub len: u64,
    /// Where its bytes are.
    pub backing: Box<dyn Backing>,
}

impl Region {
    /// Whether its bytes are mapped into this process.
    fn is_mapped(&self) -> bool {
        self.backing.borrow(0, 0).is_some()
    }

    /// Where `addr..addr + len` lies in the region, if all of it does.
    fn offset_of(&self, addr: GuestPhys, len: usize) -> Option<u64> {
        let offset = addr.checked_offset_from(self.start)?;
        (offset.checked_add(len as u64)? <= self.len).then_some(offset)
    }
}

/// All RAM of a guest.
#[derive(Debug)]
pub struct GuestMemory {
    /// Ascending, not overlapping.
    regions: Vec<Region>,
    remembered: Remembered,
}

impl GuestMemory {
    /// Joins regions into one space.
    ///
    /// # Errors
    ///
    /// [`MemoryError::OutOfRange`] where two overlap or one leaves the
    /// address space.
    pub fn new(mut regions: Vec<Region>) -> Result<Self, MemoryError> {
        regions.sort_by_key(|region| region.start);
        let mut free_from = GuestPhys::new(0);
        for region in &regions {
            let out_of_range =
                MemoryError::OutOfRange { addr: region.start.get(), len: region.len };
            match region.start.checked_add(region.len) {
                Some(end) if region.start >= free_from => free_from = end,
                _ => return Err(out_of_range),
            }
        }
        Ok(Self { regions, remembered: Remembered::default() })
    }

    /// Bytes of RAM.
    pub fn len(&self) -> u64 {
        // The pieces do not overlap, so that the sum fits.
        self.regions.iter().map(|region| region.len).sum()
    }

    /// Whether there is no RAM at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pieces of RAM, ascending.
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// Copies `buf.len()` bytes at `addr` into `buf`. The range may not cross
    /// from one region into another: no kernel object does.
    ///
    /// # Errors
    ///
    /// [`MemoryError::NotRam`] or [`MemoryError::Host`].
    pub fn read(&self, addr: GuestPhys, buf: &mut [u8]) -> Result<(), MemoryError> {
        let (region, offset) = self.find(addr, buf.len())?;
        let mut read = || {
            let remembered = !region.is_mapped() && self.read_remembered(region, addr, buf)?;
            if remembered { Ok(()) } else { region.backing.read(offset, buf) }
        };
        read().map_err(|source| MemoryError::Host { addr, source })
    }

    /// Has each page of RAM that is not mapped read once, until the result is
    /// dropped: for a look at what does not change meanwhile, or whose changes
    /// are found in another way.
    pub fn remember(&self) -> Remembering<'_> {
        self.remembered.begin()
    }

    /// Copies `bytes` to `addr`.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn write(&self, addr: GuestPhys, bytes: &[u8]) -> Result<(), MemoryError> {
        let (region, offset) = self.find(addr, bytes.len())?;
        let result = region.backing.write(offset, bytes);
        self.remembered.forget(addr, bytes.len());
        result.map_err(|source| MemoryError::Host { addr, source })
    }

    /// Reads a little-endian word; one load where `addr` is aligned.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn read_u64(&self, addr: GuestPhys) -> Result<u64, MemoryError> {
        let mut word = [0; 8];
        self.read(addr, &mut word)?;
        Ok(u64::from_le_bytes(word))
    }

    /// How it is reached.
    pub fn access(&self) -> Access {
        let mut mapped = self.regions.iter().map(Region::is_mapped);
        match (mapped.clone().any(|mapped| mapped), mapped.all(|mapped| mapped)) {
            (true, true) => Access::Mapped,
            (true, false) => Access::Mixed,
            (false, _) => Access::Process,
        }
    }

    /// Copies the pieces, given by address and length, into `buf` one after
    /// the other, as many at once as the way to the memory takes.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read). `buf` must have the length of all pieces.
    pub fn read_batch(
        &self,
        pieces: &[(GuestPhys, usize)],
        buf: &mut [u8],
    ) -> Result<(), MemoryError> {
        let mut rest = buf;
        let mut left = pieces;
        while let Some(&(first, len)) = left.first() {
            let (region, _) = self.find(first, len)?;
            let in_region: Vec<(u64, usize)> = left
                .iter()
                .map_while(|&(addr, len)| Some((region.offset_of(addr, len)?, len)))
                .collect();
            let bytes: usize = in_region.iter().map(|(_, len)| len).sum();
            let out_of_range = MemoryError::OutOfRange { addr: first.get(), len: bytes as u64 };
            let (batch, after) = rest.split_at_mut_checked(bytes).ok_or(out_of_range)?;
            let read = region.backing.read_batch(&in_region, batch);
            read.map_err(|source| MemoryError::Host { addr: first, source })?;
            (rest, left) = (after, &left[in_region.len()..]);
        }
        Ok(())
    }

    /// The guest's own bytes at `addr`, or `None` where the backing is not
    /// mapped into this process.
    ///
    /// # Errors
    ///
    /// [`MemoryError::NotRam`].
    pub fn borrow(&self, addr: GuestPhys, len: usize) -> Result<Option<&[u8]>, MemoryError> {
        let (region, offset) = self.find(addr, len)?;
        Ok(region.backing.borrow(offset, len))
    }

    /// Fails where what was [borrowed](Self::borrow) so far and looked at was not
    /// all the guest's.
    ///
    /// # Errors
    ///
    /// [`MemoryError::Host`] where the host had no page for it.
    pub fn check_borrowed(&self) -> Result<(), MemoryError> {
        self.regions.iter().try_for_each(|region| {
            let failed = |source| MemoryError::Host { addr: region.start, source };
            region.backing.check().map_err(failed)
        })
    }

    fn read_remembered(
        &self,
        region: &Region,
        addr: GuestPhys,
        buf: &mut [u8],
    ) -> io::Result<bool> {
        self.remembered.read(addr, buf, |start, page| {
            let offset = region.offset_of(start, page.len())?;
            Some(region.backing.read(offset, page))
        })
    }

    /// The region that holds all of `addr..addr + len`, and the offset in it.
    fn find(&self, addr: GuestPhys, len: usize) -> Result<(&Region, u64), MemoryError> {
        let after = self.regions.partition_point(|region| region.start <= addr);
        let region = after
            .checked_sub(1)
            .and_then(|index| self.regions.get(index))
            .ok_or(MemoryError::NotRam(addr))?;
        let offset = region.offset_of(addr, len).ok_or(MemoryError::NotRam(addr))?;
        Ok((region, offset))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Mutex;

    use proptest::prelude::*;

    use super::*;

    /// RAM in a vector, for tests that build guest memory by hand.
    #[derive(Debug)]
    pub(crate) struct VecBacking(Mutex<Vec<u8>>);

    impl Backing for VecBacking {
        fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
            let at = offset as usize;
            buf.copy_from_slice(&self.0.lock().unwrap()[at..at + buf.len()]);
            Ok(())
        }

        fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            let at = offset as usize;
            self.0.lock().unwrap()[at..at + bytes.len()].copy_from_slice(bytes);
            Ok(())
        }

        fn borrow(&self, _offset: u64, _len: usize) -> Option<&[u8]> {
            None
        }

        fn next_data(&self, offset: u64) -> Option<Range<u64>> {
            let len = self.0.lock().unwrap().len() as u64;
            (offset < len).then_some(offset..len)
        }
    }

    /// A region of `bytes` at `start`.
    pub(crate) fn region(start: u64, bytes: Vec<u8>) -> Region {
        Region {
            start: GuestPhys::new(start),
            len: bytes.len() as u64,
            backing: Box::new(VecBacking(Mutex::new(bytes))),
        }
    }

    #[test]
    fn overlapping_regions_are_refused() {
        let overlap = vec![region(0, vec![0; 8192]), region(4096, vec![0; 4096])];
        assert!(matches!(
            GuestMemory::new(overlap),
            Err(MemoryError::OutOfRange { addr: 4096, .. })
        ));
    }

    #[test]
    fn a_batch_crosses_from_region_to_region_and_back() {
        let memory = GuestMemory::new(vec![
            region(0x1000, (0..=255).cycle().take(0x1000).collect()),
            region(0x2000, vec![7; 0x1000]),
        ])
        .unwrap();
        let mut buf = [0; 6];
        let pieces = [(0x1001, 2), (0x1009, 1), (0x2000, 1), (0x1000, 2)];
        let pieces = pieces.map(|(addr, len)| (GuestPhys::new(addr), len));
        memory.read_batch(&pieces, &mut buf).unwrap();
        assert_eq!(buf, [1, 2, 9, 7, 0, 1]);
        assert!(memory.read_batch(&pieces, &mut buf[..3]).is_err());
        assert!(memory.read_batch(&[(GuestPhys::new(0x2fff), 2)], &mut buf).is_err());
    }

    proptest! {
        #[test]
        fn only_bytes_within_one_region_can_be_read(addr in 0u64..0x6000, len in 0usize..0x3000) {
            let memory = GuestMemory::new(vec![
                region(0x3000, vec![2; 0x1000]),
                region(0x1000, vec![1; 0x1000]),
            ]).unwrap();
            let mut buf = vec![0; len];
            let inside = |start: u64| addr >= start && addr + len as u64 <= start + 0x1000;
            let read = memory.read(GuestPhys::new(addr), &mut buf);
            prop_assert_eq!(read.is_ok(), inside(0x1000) || inside(0x3000));
            let mut copy = vec![0; len];
            let pieces = [(GuestPhys::new(addr), len / 2)];
            let batch = memory.read_batch(&pieces, &mut copy[..len / 2]);
            prop_assert!(batch.is_ok() || read.is_err());
            if read.is_ok() {
                let expected = if addr < 0x3000 { 1 } else { 2 };
                prop_assert!(buf.iter().all(|&byte| byte == expected));
            }
        }
    }
}
