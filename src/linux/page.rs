//! Page frames: `struct page`.

use crate::kernel::{Kernel, KernelError};
use crate::memory::{GuestPhys, GuestVirt, PAGE_SIZE};

use super::view::{Place, Raw, Struct};

kernel_struct! {
    /// What the kernel knows about a frame: `struct page`.
    pub struct Page: "page" {
        /// Of the first page of a folio: bits that [`PageFlags`] numbers.
        flags: u64 = ["flags.f", "flags"],
        /// The file that it belongs to, or with the lowest bit set
        /// (`PAGE_MAPPING_ANON`) the `anon_vma`.
        mapping: u64 = ["mapping"],
        /// Of the first page of a folio: its index in the file, in pages.
        index: u64 = ["__folio_index", "index"],
        /// Of a tail page, with the lowest bit set, the way to its head; see
        /// [`head`](Self::head).
        compound_info: u64 = ["compound_info", "compound_head"],
    }
}

kernel_struct! {
    /// The numbers of bits in [`Page::flags`]: `enum pageflags`, each the place
    /// of a member.
    pub struct PageFlags: "pageflags" {
        /// Somebody waits for its content or gives it one.
        locked: Raw = ["PG_locked"],
        /// The content is there.
        uptodate: Raw = ["PG_uptodate"],
    }
}

/// `PAGE_MAPPING_ANON` (`include/linux/page-flags.h`).
const MAPPING_ANON: u64 = 1;

impl<'k> Page<'k> {
    /// The descriptor of the frame at `phys`, in `vmemmap`.
    ///
    /// # Errors
    ///
    /// [`KernelError::MissingStruct`].
    pub fn of_frame(kernel: &'k Kernel, phys: GuestPhys) -> Result<Self, KernelError> {
        let first = Self::at(kernel, kernel.vmemmap())?;
        let offset = phys.pfn().get().wrapping_mul(first.size());
        Self::at(kernel, kernel.vmemmap().wrapping_add(offset))
    }

    /// The frame that it describes; `None` where it lies outside `vmemmap`.
    pub fn phys(&self) -> Option<GuestPhys> {
        let offset = self.addr().checked_offset_from(self.kernel().vmemmap())?;
        let frame = offset.checked_div(self.size())?;
        frame.checked_mul(PAGE_SIZE).map(GuestPhys::new)
    }

    /// The first page of the folio that it belongs to: `compound_head()`.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn head(&self) -> Result<Self, KernelError> {
        match head_of(self.addr().get(), self.compound_info()?) {
            None => Ok(*self),
            Some(head) => Self::at(self.kernel(), GuestVirt::new(head)),
        }
    }

    /// Whether the frame holds what the file does: `PageUptodate()`. One of a
    /// file in memory that does not is zero (`shmem_fallocate()`).
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn is_uptodate(&self) -> Result<bool, KernelError> {
        self.has_flag(PageFlags::at(self.kernel(), GuestVirt::NULL)?.uptodate()?)
    }

    /// Whether somebody is giving the frame another content: `PageLocked()`.
    /// In 6.1 and before a huge page takes its place in a file before it has what
    /// the small ones there have (`collapse_file()`, `mm/khugepaged.c`).
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn is_locked(&self) -> Result<bool, KernelError> {
        self.has_flag(PageFlags::at(self.kernel(), GuestVirt::NULL)?.locked()?)
    }

    /// `flag` is a member of [`PageFlags`], whose place is its number.
    fn has_flag(&self, flag: Place<'k>) -> Result<bool, KernelError> {
        let number = u32::try_from(flag.addr().get()).unwrap_or(u32::MAX);
        Ok(self.head()?.flags()?.checked_shr(number).is_some_and(|flags| flags & 1 == 1))
    }

    /// Whether the frame holds anonymous memory, a copy of a private file page
    /// among it: `PageAnon()`.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn is_anonymous(&self) -> Result<bool, KernelError> {
        Ok(self.head()?.mapping()? & MAPPING_ANON != 0)
    }
}

/// The address of the head of the page at `addr`, if `info` makes it a tail.
///
/// `info` is the head's address, or, since 7.1 in kernels built with
/// `CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP`, a mask of high bits that makes the
/// head's address of the tail's (`set_compound_head()`,
/// `include/linux/page-flags.h`). No address looks like a mask, which has few
/// low bits clear: the last 2 GiB of the address space are the kernel image's
/// (`Documentation/arch/x86/x86_64/mm.rst`), `vmemmap` lies below.
fn head_of(addr: u64, info: u64) -> Option<u64> {
    const LOWEST_MASK: u64 = u64::MAX << 31;
    if info & 1 == 0 {
        return None;
    }
    let head = info & !1;
    Some(if head >= LOWEST_MASK { addr & head } else { head })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: u64 = 0xffd4_0000_0012_8000;
    const TAIL: u64 = HEAD + 37 * 64;

    #[test]
    fn a_tail_tells_its_head_by_address_or_by_mask() {
        assert_eq!(head_of(TAIL, HEAD | 1), Some(HEAD));
        // A huge page: 512 descriptors of 64 bytes.
        assert_eq!(head_of(TAIL, u64::MAX << 15 | 1), Some(HEAD));
    }

    #[test]
    fn a_page_that_is_no_tail_has_something_else_there() {
        // A link of a list.
        assert_eq!(head_of(HEAD, 0xff11_0000_0455_3008), None);
        assert_eq!(head_of(HEAD, 0), None);
    }
}
