//! A copy of the kernel image's code and constants.

use crate::memory::{GuestMemory, GuestVirt};

use super::error::KernelError;
use super::vmcoreinfo::VmcoreInfo;

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

    /// Copies the image of the kernel that `info` describes. The image is
    /// contiguous in physical memory, and `init_top_pgt` is among its data.
    ///
    /// # Errors
    ///
    /// [`KernelError::Vmcoreinfo`] where its bounds make no sense, or an error
    /// of reading the memory.
    pub fn read(memory: &GuestMemory, info: &VmcoreInfo) -> Result<Self, KernelError> {
        let len = info.page_table.checked_offset_from(info.stext).filter(|len| *len <= COPY_MAX);
        let len = len.ok_or(KernelError::Vmcoreinfo("the kernel image has no plausible size"))?;
        let phys = info.image_phys(info.stext);
        // Asks whether this is RAM before there is an allocation for it.
        memory.borrow(phys, len as usize)?;
        let mut bytes = vec![0; len as usize];
        memory.read(phys, &mut bytes)?;
        Ok(Self::new(info.stext, bytes))
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
