//! `inventory.img`: what kind of set this is.

use super::EncodeError;
use super::container::{ImageKind, ImageWriter};
use super::{ids, proto};

/// `CRTOOLS_IMAGES_V1_1`, which all versions since 2.0 write.
pub const IMG_VERSION: u32 = 2;

/// Connections were not locked, so nothing is to be unlocked on restore.
/// Versions that do not know the value ignore it.
const NETWORK_LOCK_SKIP: u32 = 2;

/// `inventory.img`
pub fn image() -> Result<Vec<u8>, EncodeError> {
    let mut image = ImageWriter::new(ImageKind::Inventory);
    image.record(&proto::InventoryEntry {
        img_version: IMG_VERSION,
        fdinfo_per_id: Some(true),
        root_ids: Some(ids::root_ids()),
        ns_per_id: Some(true),
        network_lock_method: Some(NETWORK_LOCK_SKIP),
        ..proto::InventoryEntry::default()
    })?;
    Ok(image.finish())
}
