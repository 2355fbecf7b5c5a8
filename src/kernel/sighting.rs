//! A kernel as it was come upon: where it lies and what it calls itself, before
//! its types are known and before anything shows that it runs.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::memory::{GuestMemory, GuestVirt};

use super::image::Located;
use super::kallsyms::TableAddresses;

/// What a kernel claims, or what is claimed of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sighting {
    /// `uname -r`.
    pub(super) release: String,
    /// The GNU build ID in hexadecimal, where the kernel has one.
    pub(super) build_id: Option<String>,
    /// Where it lies.
    pub(super) located: Located,
    /// Its image from `_stext` on, at least up to the end of its constants.
    pub(super) image: Range<GuestVirt>,
    /// Where the symbol tables are, if that is known.
    pub(super) kallsyms: Option<TableAddresses>,
}

impl Sighting {
    /// Whether the kernel's page tables map its image to where it is said to
    /// lie.
    pub(super) fn is_mapped(&self, memory: &Arc<GuestMemory>) -> bool {
        let start = self.image.start;
        let mapped = self.located.space(memory).translate(start).map(|(phys, _)| phys);
        mapped.is_ok_and(|phys| phys == self.located.image_phys(start))
    }
}
