//! The ways that images can take into the guest.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::images::ImageSet;

/// Images of fewer bytes are in the guest by the port before it shows a disk.
const WORTH_A_DISK: u64 = 16 << 20;

/// Which way images are to take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Via {
    /// The fastest that the machine offers.
    #[default]
    Auto,
    /// A disk, or none.
    Disk,
    /// The serial port.
    Port,
}

/// The way that they took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// On a disk that is plugged for the purpose, and read by CRIU from there.
    Disk,
    /// Through a virtio serial port, copied into the guest's memory or disk.
    Port,
}

impl Via {
    /// Whether to try a disk.
    pub(super) fn wants_disk(self, images: &ImageSet, keep_images: bool) -> bool {
        match self {
            Self::Auto => !keep_images && images.bytes() >= WORTH_A_DISK,
            Self::Disk => true,
            Self::Port => false,
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disk => "disk",
            Self::Port => "port",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::images::ImageFile;
    use super::*;

    #[test]
    fn a_disk_is_for_what_is_large_and_does_not_stay() {
        let of = |size| {
            let images = vec![ImageFile { name: "pages-1.img".into(), size, compression: None }];
            ImageSet { images, ..ImageSet::empty(Path::new("/d")) }
        };
        let (small, large) = (of(WORTH_A_DISK - 1), of(WORTH_A_DISK));
        assert!(Via::Auto.wants_disk(&large, false));
        assert!(!Via::Auto.wants_disk(&small, false) && !Via::Auto.wants_disk(&large, true));
        assert!(Via::Disk.wants_disk(&small, false) && !Via::Port.wants_disk(&large, false));
    }
}
