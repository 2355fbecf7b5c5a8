//! The controller `hugetlb`: `struct hugetlb_cgroup`
//! (`include/linux/hugetlb_cgroup.h`).

use crate::kernel::{Kernel, KernelError};
use crate::linux::view::{Array, Raw, Struct};

use super::memory::PageCounter;
use super::subsys::states;

/// Sizes of huge pages at most: x86-64 has two (`HUGE_MAX_HSTATE`).
const MAX_SIZES: u32 = 8;
/// Huge pages have 2^this pages at most: 1 GiB has 2^18, and there are none larger.
const MAX_ORDER: u32 = 18;

kernel_struct! {
    /// What the controller `hugetlb` holds of a cgroup: `struct hugetlb_cgroup`.
    (optional) pub struct HugetlbCgroup: "hugetlb_cgroup" {
        /// What all controllers hold.
        css: Raw = ["css"],
        /// Huge pages in use, by size.
        hugepage: Array<PageCounter<'k>> = ["hugepage"],
        /// Those that are reserved, by size.
        rsvd_hugepage: Array<PageCounter<'k>> = ["rsvd_hugepage"],
    }
}

kernel_struct! {
    /// A size of huge pages: `struct hstate`.
    (optional) pub struct Hstate: "hstate" {
        /// Such a page has 2^this pages.
        order: u32 = ["order"],
    }
}

states!(HugetlbCgroup);

impl<'k> Hstate<'k> {
    /// The sizes that the kernel has, each as 2^this pages, in the order in which
    /// cgroups have them: `hstates[]`.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for what no kernel has.
    pub fn orders(kernel: &'k Kernel) -> Result<Vec<u32>, KernelError> {
        let addr = crate::linux::symbol(kernel, "hugetlb_max_hstate")?;
        let mut word = [0; 4];
        kernel.read(addr, &mut word)?;
        let count = u32::from_le_bytes(word);
        let corrupt = |why| KernelError::Corrupt { what: "hstates".into(), addr, why };
        if count > MAX_SIZES {
            return Err(corrupt(format!("there are no {count} sizes of huge pages")));
        }
        let mut orders = Vec::new();
        let mut at = crate::linux::symbol(kernel, "hstates")?;
        for _ in 0..count {
            let size = Self::at(kernel, at)?;
            let order = size.order()?;
            if order > MAX_ORDER {
                return Err(corrupt(format!("there are no huge pages of order {order}")));
            }
            orders.push(order);
            at = at.wrapping_add(size.size());
        }
        Ok(orders)
    }
}
