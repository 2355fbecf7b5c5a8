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

use super::error::KernelError;
use super::image::Located;
use super::image_copy::{COPY_MAX, ImageCopy};

/// Bytes that are read and hashed at once.
const CHUNK: usize = 1 << 20;

/// Parts of a kernel image and their digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Evidence {
    /// Address as linked, and length in bytes.
    parts: Vec<(u64, u64)>,
    /// BLAKE3 over all of them.
    digest: String,
}

impl Evidence {
    /// Takes the evidence from `parts` of `image`; `None` where one is not
    /// within.
    pub(super) fn of(
        image: &ImageCopy,
        kaslr_offset: u64,
        parts: &[Range<GuestVirt>],
    ) -> Option<Self> {
        let mut hasher = blake3::Hasher::new();
        let mut linked = Vec::new();
        for part in parts {
            let bytes = image.range(part.start, part.end)?;
            hasher.update(bytes);
            linked.push((part.start.get().wrapping_sub(kaslr_offset), bytes.len() as u64));
        }
        Some(Self { parts: linked, digest: hasher.finalize().to_hex().to_string() })
    }

    /// Whether the kernel at `located` holds the same.
    ///
    /// # Errors
    ///
    /// An error of reading the memory.
    pub(super) fn fits(&self, memory: &GuestMemory, located: Located) -> Result<bool, KernelError> {
        let mut hasher = blake3::Hasher::new();
        let mut buffer = Vec::new();
        for &(linked, len) in &self.parts {
            if len > COPY_MAX {
                return Ok(false);
            }
            let mut at =
                located.image_phys(GuestVirt::new(linked).wrapping_add(located.kaslr_offset));
            let mut left = len;
            while left > 0 {
                let piece = left.min(CHUNK as u64);
                buffer.resize(piece as usize, 0);
                memory.read(at, &mut buffer)?;
                hasher.update(&buffer);
                left -= piece;
                let Some(next) = at.checked_add(piece) else { return Ok(false) };
                at = next;
            }
        }
        Ok(hasher.finalize().to_hex().as_str() == self.digest)
    }
}
