//! Markers that stand in page tables in place of pages.

use bitflags::bitflags;

bitflags! {
    /// `pte_marker` (`include/linux/swapops.h`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct PteMarker: u64 {
        /// Write-protected by userfaultfd.
        const UFFD_WP = 1;
        /// Its content is lost (`MADV_HWPOISON`, a memory error).
        const POISONED = 2;
        /// Access to it is an error (`MADV_GUARD_INSTALL`).
        const GUARD = 4;
        const _ = !0;
    }
}

impl PteMarker {
    /// The marker that an entry of a page table is which is neither empty nor
    /// present; `None` for a page that is elsewhere.
    ///
    /// Such an entry holds a type in its five highest bits and from bit 9 on an
    /// offset, inverted (`arch/x86/include/asm/pgtable_64.h`). Markers, since
    /// 5.19, have the last type, `SWP_PTE_MARKER`, and their bits as offset.
    pub fn of_entry(raw: u64) -> Option<Self> {
        const TYPE_BITS: u32 = 5;
        const OFFSET_SHIFT: u32 = 9 + TYPE_BITS;
        const PTE_MARKER: u64 = (1 << TYPE_BITS) - 1;
        let is_marker = raw >> (u64::BITS - TYPE_BITS) == PTE_MARKER;
        is_marker.then(|| Self::from_bits_retain(!raw << TYPE_BITS >> OFFSET_SHIFT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `swp_entry_to_pte()` of a type and an offset.
    fn entry(kind: u64, offset: u64) -> u64 {
        !offset << 14 >> 5 | kind << 59
    }

    #[test]
    fn markers_are_told_from_pages_on_a_disk() {
        assert_eq!(PteMarker::of_entry(entry(31, 4)), Some(PteMarker::GUARD));
        assert_eq!(PteMarker::of_entry(entry(31, 2)), Some(PteMarker::POISONED));
        assert_eq!(PteMarker::of_entry(entry(0, 4)), None);
        assert_eq!(PteMarker::of_entry(entry(27, 4)), None);
    }
}
