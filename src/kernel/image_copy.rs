//! A copy of the kernel image's code and constants.

use std::ops::Range;

use crate::memory::{GuestMemory, GuestPhys, GuestVirt};

use super::error::KernelError;

/// Bytes that are copied at most. Distributions' images have some 40 MiB up to
/// their data; `KERNEL_IMAGE_SIZE` allows 1 GiB.
pub(super) const COPY_MAX: u64 = 256 << 20;

/// The kernel image from `_stext` up to its data, copied once, so that the
/// guest cannot change what is being looked at. Symbol tables and types are
/// constants and lie within (`arch/x86/kernel/vmlinux.lds.S`).
#[derive(Debug)]
pub struct ImageCopy {
    start: GuestVirt,
    bytes: Vec<u8>,
}

impl ImageCopy {
    /// Wraps bytes that begin at the guest-virtual address `start`.
    pub fn new(start: GuestVirt, bytes: Vec<u8>) -> Self {
        Self { start, bytes }
    }

    /// Copies the part `image` of a kernel image that begins at `phys`. It is
    /// contiguous in physical memory.
    ///
    /// # Errors
    ///
    /// [`KernelError::NotRunning`] where its bounds make no sense, or an error
    /// of reading the memory.
    pub fn read(
        memory: &GuestMemory,
        phys: GuestPhys,
        image: Range<GuestVirt>,
    ) -> Result<Self, KernelError> {
        let len = image.end.checked_offset_from(image.start).filter(|len| *len <= COPY_MAX);
        let len = len.ok_or(KernelError::NotRunning("its image has no plausible size"))?;
        // Asks whether this is RAM before there is an allocation for it.
        memory.borrow(phys, len as usize)?;
        let mut bytes = vec![0; len as usize];
        memory.read(phys, &mut bytes)?;
        Ok(Self::new(image.start, bytes))
    }

    /// Address of the first byte.
    pub fn start(&self) -> GuestVirt {
        self.start
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes from `start` up to `end`; `None` where some are not within.
    pub fn range(&self, start: GuestVirt, end: GuestVirt) -> Option<&[u8]> {
        let from = usize::try_from(start.checked_offset_from(self.start)?).ok()?;
        let to = usize::try_from(end.checked_offset_from(self.start)?).ok()?;
        self.bytes.get(from..to)
    }

    /// The `len` bytes at `addr`.
    pub fn get(&self, addr: GuestVirt, len: u64) -> Option<&[u8]> {
        self.range(addr, addr.checked_add(len)?)
    }

    /// The little-endian word at `addr`.
    pub fn u32_at(&self, addr: GuestVirt) -> Option<u32> {
        self.get(addr, 4)?.first_chunk().map(|word| u32::from_le_bytes(*word))
    }

    /// The little-endian double word at `addr`.
    pub fn u64_at(&self, addr: GuestVirt) -> Option<u64> {
        self.get(addr, 8)?.first_chunk().map(|word| u64::from_le_bytes(*word))
    }
}
