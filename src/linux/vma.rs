//! A range of a process's memory: `struct vm_area_struct`.

use crate::kernel::KernelError;
use crate::memory::GuestVirt;

use super::file::File;
use super::string::name_at;
use super::view::{Ptr, Struct};

bitflags::bitflags! {
    /// `VM_*` in `include/linux/mm.h`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct VmFlags: u64 {
        /// May be read.
        const READ = 1 << 0;
        /// May be written.
        const WRITE = 1 << 1;
        /// May be executed.
        const EXEC = 1 << 2;
        /// `MAP_SHARED`.
        const SHARED = 1 << 3;
        /// `mprotect()` may add writing: set for a shared mapping of a
        /// writable file.
        const MAYWRITE = 1 << 5;
        /// `MAP_SHARED` was asked for.
        const MAYSHARE = 1 << 7;
        /// `MAP_GROWSDOWN`, stacks among them.
        const GROWSDOWN = 1 << 8;
        /// Frames without `struct page`: device memory.
        const PFNMAP = 1 << 10;
        /// `mlock()`.
        const LOCKED = 1 << 13;
        /// Device memory.
        const IO = 1 << 14;
        /// `MADV_SEQUENTIAL`.
        const SEQ_READ = 1 << 15;
        /// `MADV_RANDOM`.
        const RAND_READ = 1 << 16;
        /// `MADV_DONTFORK`.
        const DONTCOPY = 1 << 17;
        /// May not be resized.
        const DONTEXPAND = 1 << 18;
        /// `mlock2(MLOCK_ONFAULT)`.
        const LOCKONFAULT = 1 << 19;
        /// Counts against the commit limit.
        const ACCOUNT = 1 << 20;
        /// `MAP_NORESERVE`.
        const NORESERVE = 1 << 21;
        /// Huge pages of hugetlbfs.
        const HUGETLB = 1 << 22;
        /// `MAP_SYNC`.
        const SYNC = 1 << 23;
        /// `MADV_WIPEONFORK`.
        const WIPEONFORK = 1 << 25;
        /// `MADV_DONTDUMP`.
        const DONTDUMP = 1 << 26;
        /// Both page kinds: device memory with some `struct page`.
        const MIXEDMAP = 1 << 28;
        /// `MADV_HUGEPAGE`.
        const HUGEPAGE = 1 << 29;
        /// `MADV_NOHUGEPAGE`.
        const NOHUGEPAGE = 1 << 30;
        /// `MADV_MERGEABLE`.
        const MERGEABLE = 1 << 31;
        /// Its protection key, four bits from `VM_PKEY_BIT0` on.
        const PKEY = 0xf << 32;
        /// A user shadow stack, since 6.6 (`VM_UFFD_MINOR` in 5.13 to 6.5).
        const SHADOW_STACK = 1 << 37;
        /// `MAP_DROPPABLE`, since 6.11.
        const DROPPABLE = 1 << 40;
        /// `mseal()`: bit 63 in 6.10 to 6.15, another since.
        const SEALED = 1 << 63 | 1 << 42;
        const _ = !0;
    }
}

kernel_struct! {
    /// A range of memory with one protection and one backing:
    /// `struct vm_area_struct`.
    pub struct Vma: "vm_area_struct" {
        /// First address.
        start: u64 = ["vm_start"],
        /// End, exclusive.
        end: u64 = ["vm_end"],
        /// The next VMA, before 6.1.
        next: Ptr<Vma<'k>> = ?["vm_next"],
        /// [`VmFlags`] bits.
        raw_flags: u64 = ["vm_flags", "flags.__vma_flags"],
        /// The mapped file.
        file: Ptr<File<'k>> = ["vm_file"],
        /// Offset in it, in pages.
        pgoff: u64 = ["vm_pgoff"],
        /// Its operations; tells special mappings.
        ops: GuestVirt = ["vm_ops"],
        /// Of a special mapping: the [`SpecialMapping`].
        private_data: GuestVirt = ["vm_private_data"],
        /// The userfaultfd that watches it.
        userfaultfd: GuestVirt = ?["vm_userfaultfd_ctx.ctx"],
    }
}

kernel_struct! {
    /// A mapping that the kernel made itself: `struct vm_special_mapping`.
    pub struct SpecialMapping: "vm_special_mapping" {
        /// For example `[vdso]`.
        raw_name: GuestVirt = ["name"],
    }
}

impl<'k> Vma<'k> {
    /// The flags.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn flags(&self) -> Result<VmFlags, KernelError> {
        self.raw_flags().map(VmFlags::from_bits_retain)
    }

    /// The name of a mapping that the kernel made itself, such as `[vdso]`.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn special_name(&self) -> Result<Option<String>, KernelError> {
        let kernel = self.kernel();
        if Some(self.ops()?) != kernel.symbol("special_mapping_vmops") {
            return Ok(None);
        }
        let mapping = SpecialMapping::at(kernel, self.private_data()?)?;
        name_at(kernel, mapping.raw_name()?).map(Some)
    }
}
