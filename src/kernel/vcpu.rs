//! Finding the kernel through the page tables of a virtual CPU.
//!
//! Whatever a CPU executes, the kernel image is mapped in its address space, at
//! a place within [`START_KERNEL_MAP`] and 1 GiB above
//! (Documentation/arch/x86/x86_64/mm.rst), beginning with `_text`
//! (`cleanup_highmap()` in `arch/x86/mm/init_64.c` removes what lies before).
//! So a walk of that range finds it, however large the VM is. The image says the
//! rest of itself, by the symbol tables within: release, build ID, page table.
//!
//! Under page-table isolation a CPU in user mode has another top table, with
//! next to nothing of the kernel in it. The kernel's is the page before: the two
//! are a pair, told apart by bit 12 (`PTI_USER_PGTABLE_BIT` in
//! `arch/x86/entry/calling.h`).

use std::sync::Arc;

use crate::memory::{
    AddressSpace, CpuPaging, Entry, GuestMemory, GuestPhys, GuestVirt, Leaf, MemoryError,
    PageTableLevels,
};

use super::error::KernelError;
use super::image::{Located, START_KERNEL_MAP};
use super::image_copy::ImageCopy;
use super::kallsyms::Kallsyms;
use super::sighting::Sighting;
use super::{banner, build_id};

/// Bytes that the image and its modules lie within at most: `KERNEL_IMAGE_SIZE`
/// under KASLR (`arch/x86/include/asm/page_64_types.h`).
const IMAGE_AREA: u64 = 1 << 30;
/// Tells the user half of a pair of top page tables.
const PTI_USER_HALF: u64 = 1 << 12;
/// The bit of a page-table entry that allows writing.
const WRITABLE: u64 = 1 << 1;
/// `LOAD_PHYSICAL_ADDR` where nothing says otherwise: the default of
/// `CONFIG_PHYSICAL_START` (`arch/x86/Kconfig`).
const DEFAULT_LOAD_ADDR: u64 = 0x100_0000;
/// Offset of `hdr.pref_address` in `struct boot_params`
/// (Documentation/arch/x86/boot.rst).
const PREF_ADDRESS: u64 = 0x258;
/// Image sizes and load addresses are multiples of this.
const PMD_SIZE: u64 = 2 << 20;
/// Bytes of `linux_banner` that are looked at.
const BANNER: u64 = 128;
/// By what an image tells of itself.
const SYMBOLS: [&str; 5] =
    ["linux_banner", "__start_notes", "__stop_notes", "boot_params", "init_top_pgt"];

/// A kernel image in a CPU's address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MappedImage {
    /// The top page table that it was found by.
    page_table: GuestPhys,
    levels: PageTableLevels,
    start: GuestVirt,
    phys: GuestPhys,
    /// The end of what is read-only once the kernel has booted
    /// (`mark_rodata_ro()`), its constants at last; before that as `end`. Gaps
    /// in between are freed and writable.
    constants_end: GuestVirt,
    end: GuestVirt,
}

/// The kernel images that the tables of a CPU may map, the likeliest first.
pub(super) fn images(memory: &Arc<GuestMemory>, cpu: CpuPaging) -> Vec<MappedImage> {
    let mut tables = vec![cpu.cr3];
    if cpu.cr3 & PTI_USER_HALF != 0 {
        // Without isolation any page may be a top table.
        tables.insert(0, cpu.cr3 & !PTI_USER_HALF);
    }
    let spaces = tables
        .into_iter()
        .map(|table| AddressSpace::new(memory.clone(), GuestPhys::new(table), cpu.levels));
    spaces.filter_map(|space| MappedImage::find(&space)).collect()
}

impl MappedImage {
    fn find(space: &AddressSpace) -> Option<Self> {
        let area = GuestVirt::new(START_KERNEL_MAP);
        let mut found = None;
        let walked = space.walk::<MemoryError>(area..area.checked_add(IMAGE_AREA)?, |leaf| {
            if let Entry::Page { phys, raw } = leaf.entry {
                let image = found.get_or_insert(Self {
                    page_table: space.root(),
                    levels: space.levels(),
                    start: leaf.virt,
                    phys,
                    constants_end: leaf.virt,
                    end: leaf.virt,
                });
                image.extend(leaf, phys, raw & WRITABLE != 0);
            }
            Ok(())
        });
        // Tables that lead nowhere further up do no harm.
        let _ = walked;
        let mut image: Self = found?;
        if image.constants_end == image.start {
            image.constants_end = image.end;
        }
        Some(image)
    }

    /// Adds a page that follows, if it does: the image is contiguous in
    /// physical memory, and has holes where the kernel has unmapped what it
    /// needs no more. Modules come behind it.
    fn extend(&mut self, leaf: Leaf, phys: GuestPhys, writable: bool) {
        let offset = leaf.virt.checked_offset_from(self.start);
        let expected = offset.and_then(|offset| self.phys.checked_add(offset));
        let end = leaf.virt.checked_add(leaf.size);
        if let Some(end) = end.filter(|_| expected == Some(phys)) {
            if !writable {
                self.constants_end = end;
            }
            self.end = end;
        }
    }

    /// Its first byte.
    pub(super) fn start(&self) -> GuestVirt {
        self.start
    }

    /// Whether it is the same image, by whichever tables it was found.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (self.start, self.phys, self.end) == (other.start, other.phys, other.end)
    }

    /// Reads what the image says of itself. Its copy is handed on with it.
    ///
    /// # Errors
    ///
    /// [`KernelError::Kallsyms`] where it has no symbol tables,
    /// [`KernelError::NotRunning`] where it is no kernel, or an error of
    /// reading the memory.
    pub(super) fn sight(
        &self,
        memory: &Arc<GuestMemory>,
    ) -> Result<(Sighting, ImageCopy), KernelError> {
        let image = self.start..self.constants_end;
        let copy = ImageCopy::read(memory, self.phys, image.clone())?;
        let kallsyms = Kallsyms::search(&copy)?;
        let symbols = kallsyms.find(SYMBOLS.iter().copied())?;
        let at = |name: &str| symbols.get(name).copied().map(GuestVirt::new);
        let banner = at("linux_banner").and_then(|banner| copy.get(banner, BANNER));
        let release = banner.and_then(banner::release);
        let release = release.ok_or(KernelError::NotRunning("it has no linux_banner"))?;
        let notes = at("__start_notes").zip(at("__stop_notes"));
        let notes = notes.and_then(|(start, end)| copy.range(start, end));
        let phys_base = self.phys.get().wrapping_sub(self.start.get() - START_KERNEL_MAP);
        let mut located = Located {
            kaslr_offset: 0,
            phys_base,
            page_table: self.page_table,
            levels: self.levels,
        };
        let load_addr = at("boot_params")
            .and_then(|params| load_addr(memory, located.image_phys(params)))
            .unwrap_or(DEFAULT_LOAD_ADDR);
        located.kaslr_offset =
            self.start.get().wrapping_sub(START_KERNEL_MAP).wrapping_sub(load_addr);
        let top = at("init_top_pgt").ok_or(KernelError::NotRunning("it has no init_top_pgt"))?;
        located.page_table = located.image_phys(top);
        let sighting = Sighting {
            release: release.to_owned(),
            build_id: notes.and_then(build_id::find),
            located,
            image,
            kallsyms: Some(kallsyms.tables()),
        };
        Ok((sighting, copy))
    }
}

/// What the boot loader was told of the address that the kernel is linked for:
/// `LOAD_PHYSICAL_ADDR` above `__START_KERNEL_map`. Some loaders leave it out.
fn load_addr(memory: &GuestMemory, boot_params: GuestPhys) -> Option<u64> {
    let addr = memory.read_u64(boot_params.checked_add(PREF_ADDRESS)?).ok()?;
    (addr != 0 && addr < IMAGE_AREA && addr.is_multiple_of(PMD_SIZE)).then_some(addr)
}
