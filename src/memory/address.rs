//! Addresses as types of their own, with arithmetic that cannot wrap unseen.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Size of a base page on x86-64, in bytes.
pub const PAGE_SIZE: u64 = 4096;

/// Bits of a page-table entry that hold a physical address (Intel SDM vol. 3,
/// 4.5: bits 12 to 51, whatever `MAXPHYADDR` is).
const PHYS_MASK: u64 = 0x000f_ffff_ffff_f000;

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// Wraps a raw address.
            pub const fn new(raw: u64) -> Self {
                Self(raw)
            }

            /// The raw address.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// `self + bytes`, or `None` where that leaves the 64-bit range.
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(raw) => Some(Self(raw)),
                    None => None,
                }
            }

            /// Bytes from `base` up to `self`, or `None` where `self` is lower.
            pub const fn checked_offset_from(self, base: Self) -> Option<u64> {
                self.0.checked_sub(base.0)
            }

            /// The start of the page that holds this address.
            pub const fn page_start(self) -> Self {
                Self(self.0 & !(PAGE_SIZE - 1))
            }

            /// Bytes from the start of the page to this address.
            pub const fn page_offset(self) -> u64 {
                self.0 & (PAGE_SIZE - 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }
    };
}

address! {
    /// A guest-physical address in bytes.
    GuestPhys
}

address! {
    /// A guest-virtual address in bytes: of the guest kernel or of one of its
    /// processes, depending on the [`AddressSpace`](super::AddressSpace).
    GuestVirt
}

impl GuestPhys {
    /// The number of the frame that holds this address.
    pub const fn pfn(self) -> Pfn {
        Pfn(self.0 / PAGE_SIZE)
    }

    /// The physical address field of a page-table entry or of `CR3`.
    pub(super) const fn from_entry(entry: u64) -> Self {
        Self(entry & PHYS_MASK)
    }
}

impl GuestVirt {
    /// The null pointer.
    pub const NULL: Self = Self(0);

    /// Whether this is the null pointer.
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }

    /// Whether the address lies in the kernel's half of the address space.
    pub const fn is_kernel(self) -> bool {
        self.0 >> 63 == 1
    }

    /// `self + offset` modulo 2^64, as the CPU adds: for offsets that the guest
    /// kernel itself stores as wrapped differences (per-CPU offsets, KASLR).
    pub const fn wrapping_add(self, offset: u64) -> Self {
        Self(self.0.wrapping_add(offset))
    }
}

/// A guest frame number: a guest-physical address divided by [`PAGE_SIZE`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Pfn(u64);

impl Pfn {
    /// Wraps a raw frame number.
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The raw frame number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The address of the frame's first byte, or `None` past the 64-bit range.
    pub const fn start(self) -> Option<GuestPhys> {
        match self.0.checked_mul(PAGE_SIZE) {
            Some(raw) => Some(GuestPhys(raw)),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_address_is_its_page_and_its_offset(raw: u64) {
            let addr = GuestVirt::new(raw);
            prop_assert_eq!(addr.page_start().checked_add(addr.page_offset()), Some(addr));
            prop_assert_eq!(addr.page_start().page_offset(), 0);
        }

        #[test]
        fn adding_and_measuring_agree_and_never_wrap(raw: u64, bytes: u64) {
            let base = GuestPhys::new(raw);
            match base.checked_add(bytes) {
                Some(end) => prop_assert_eq!(end.checked_offset_from(base), Some(bytes)),
                None => prop_assert!(raw > u64::MAX - bytes),
            }
        }

        #[test]
        fn a_frame_starts_at_its_own_address(raw: u64) {
            let addr = GuestPhys::new(raw);
            prop_assert_eq!(addr.pfn().start(), Some(addr.page_start()));
        }
    }

    #[test]
    fn a_frame_past_the_address_space_has_no_start() {
        assert_eq!(Pfn::new(u64::MAX).start(), None);
    }
}
