//! What a stored profile was made from, so that it is used for nothing else.
//!
//! A build ID is what the guest says it is: a guest that tells the build ID of
//! another's kernel, with other tables behind it, must not leave a profile in
//! the cache that is then used to write into that other guest. So a stored
//! profile names the parts of the kernel image that it was made from and their
//! digest, and fits only a kernel that holds the same bytes in the same places.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::memory::{GuestMemory, GuestVirt};

use super::image::Located;
use super::image_copy::{COPY_MAX, ImageCopy};

/// How closely a kernel is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Every byte: a kernel that nothing is known of.
    Whole,
    /// Samples, which tell another build apart: a kernel that was compared as a
    /// whole before. What its own guest has changed since misleads that guest
    /// alone.
    Samples,
}

impl Depth {
    /// Bytes from the start of one piece to that of the next, and bytes of a
    /// piece.
    fn pieces(self) -> (u64, u64) {
        match self {
            Self::Whole => (1 << 20, 1 << 20),
            Self::Samples => (1 << 18, 1 << 12),
        }
    }
}

/// Parts of a kernel image and their digests (BLAKE3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Evidence {
    /// Address as linked, and length in bytes.
    parts: Vec<(u64, u64)>,
    whole: String,
    samples: String,
}

impl Evidence {
    /// Takes the evidence from `parts` of `image`; `None` where one is not
    /// within.
    pub(super) fn of(
        image: &ImageCopy,
        kaslr_offset: u64,
        parts: &[Range<GuestVirt>],
    ) -> Option<Self> {
        let linked = |part: &Range<GuestVirt>| {
            let len = part.end.checked_offset_from(part.start)?;
            Some((part.start.get().wrapping_sub(kaslr_offset), len))
        };
        let parts: Vec<_> = parts.iter().map(linked).collect::<Option<_>>()?;
        let digest_at = |depth| {
            digest(&parts, depth, |linked, hasher, len| {
                let start = GuestVirt::new(linked).wrapping_add(kaslr_offset);
                hasher.update(image.get(start, len)?);
                Some(())
            })
        };
        let (whole, samples) = (digest_at(Depth::Whole)?, digest_at(Depth::Samples)?);
        Some(Self { parts, whole, samples })
    }

    /// What tells it from other evidence.
    pub(super) fn digest(&self) -> &str {
        &self.whole
    }

    /// Whether the kernel at `located` holds the same.
    pub(super) fn fits(&self, memory: &GuestMemory, located: Located, depth: Depth) -> bool {
        if self.parts.iter().any(|(_, len)| *len > COPY_MAX) {
            return false;
        }
        let mut buffer = Vec::new();
        let found = digest(&self.parts, depth, |linked, hasher, len| {
            let start = GuestVirt::new(linked).wrapping_add(located.kaslr_offset);
            buffer.resize(len as usize, 0);
            memory.read(located.image_phys(start), &mut buffer).ok()?;
            hasher.update(&buffer);
            Some(())
        });
        let expected = match depth {
            Depth::Whole => &self.whole,
            Depth::Samples => &self.samples,
        };
        found.is_some_and(|found| found == *expected)
    }
}

/// The digest of all pieces, which `hash` is to feed by address as linked and
/// length; `None` where it cannot.
fn digest(
    parts: &[(u64, u64)],
    depth: Depth,
    mut hash: impl FnMut(u64, &mut blake3::Hasher, u64) -> Option<()>,
) -> Option<String> {
    let (step, size) = depth.pieces();
    let mut hasher = blake3::Hasher::new();
    for &(linked, len) in parts {
        for offset in (0..len).step_by(step as usize) {
            hash(linked.checked_add(offset)?, &mut hasher, size.min(len - offset))?;
        }
    }
    Some(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::image::START_KERNEL_MAP;
    use crate::memory::tests::region;
    use crate::memory::{GuestPhys, PageTableLevels};

    const KASLR_OFFSET: u64 = 0x200_0000;
    const PHYS: u64 = 0x10_0000;

    #[test]
    fn what_lies_between_the_samples_is_seen_as_a_whole_only() {
        let start = GuestVirt::new(START_KERNEL_MAP + 0x100_0000 + KASLR_OFFSET);
        let image: Vec<u8> = (0..600_000u32).map(|index| (index / 7) as u8).collect();
        let parts = [
            start..start.wrapping_add(8192),
            start.wrapping_add(8192)..start.wrapping_add(600_000),
        ];
        let copy = ImageCopy::new(start, image.clone());
        let evidence = Evidence::of(&copy, KASLR_OFFSET, &parts).unwrap();
        let located = Located {
            kaslr_offset: KASLR_OFFSET,
            phys_base: PHYS.wrapping_sub(start.get() - START_KERNEL_MAP),
            page_table: GuestPhys::new(0),
            levels: PageTableLevels::Four,
        };
        let fits = |changed: Option<usize>| {
            let mut ram = vec![0; PHYS as usize];
            ram.extend(&image);
            if let Some(at) = changed {
                ram[PHYS as usize + at] ^= 1;
            }
            let memory = GuestMemory::new(vec![region(0, ram)]).unwrap();
            [Depth::Whole, Depth::Samples].map(|depth| evidence.fits(&memory, located, depth))
        };
        assert_eq!(fits(None), [true, true]);
        assert_eq!(fits(Some(0)), [false, false]);
        assert_eq!(fits(Some(5000)), [false, true]);
        assert_eq!(fits(Some(8192 + (1 << 18))), [false, false]);
        assert_eq!(fits(Some(599_999)), [false, true]);
    }
}
