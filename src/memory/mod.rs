//! Guest memory: physical addresses, RAM regions and page tables.
//!
//! [`GuestMemory`] is what the guest sees as RAM, found at the guest-physical
//! addresses that QEMU tells. [`AddressSpace`] adds page tables, so that a
//! kernel or user address can be read as a CPU would read it.
//!
//! A region's bytes are reached by one of two ways, the access ladder: where
//! QEMU shares its memory backend, that is mapped ([`MappedFile`]); else the
//! host reads and writes the QEMU process ([`ProcessRam`]).
//!
//! The guest may change its memory at any moment and may have written anything
//! into it. Nothing here panics on what it finds: an address without RAM, a
//! page table that points nowhere and a fault of the host mapping are errors.

mod address;
mod guest;
mod mapped;
mod paging;
mod populated;
mod process;
mod remembered;
mod sigbus;

#[cfg(test)]
pub(crate) use guest::tests;

pub use address::{GuestPhys, GuestVirt, PAGE_SIZE, Pfn};
pub use guest::{Access, Backing, GuestMemory, MemoryError, Region};
pub use mapped::MappedFile;
pub use paging::{AddressSpace, CpuPaging, Entry, Leaf, PageTableLevels};
pub use populated::{FilePiece, Pagemap};
pub use process::{ProcessMemory, ProcessRam};
pub use remembered::Remembering;
