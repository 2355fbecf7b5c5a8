//! `inventory.img`: what kind of set this is.

use super::EncodeError;
use super::container::{ImageKind, ImageWriter};
use super::{cgroup, ids, proto};
use crate::snapshot::Snapshot;

/// `CRTOOLS_IMAGES_V1_1`, which all versions since 2.0 write.
pub const IMG_VERSION: u32 = 2;

/// Connections were not locked, so nothing is to be unlocked on restore.
/// Versions that do not know the value ignore it.
const NETWORK_LOCK_SKIP: u32 = 2;

/// `inventory.img`
pub fn image(snapshot: &Snapshot) -> Result<Vec<u8>, EncodeError> {
    let mut image = ImageWriter::new(ImageKind::Inventory);
    image.record(&proto::InventoryEntry {
        img_version: IMG_VERSION,
        fdinfo_per_id: Some(true),
        root_ids: Some(ids::root_ids()),
        ns_per_id: Some(true),
        lsmtype: is_confined(snapshot).then_some(proto::Lsmtype::Apparmor as i32),
        root_cg_set: Some(cgroup::ROOT_SET),
        network_lock_method: Some(NETWORK_LOCK_SKIP),
        ..proto::InventoryEntry::default()
    })?;
    Ok(image.finish())
}

/// Whether a thread has a label of a security module: only then restore asks
/// which one that is (`validate_lsm()`, `criu/lsm.c`).
fn is_confined(snapshot: &Snapshot) -> bool {
    let mut threads = snapshot.processes.iter().flat_map(|process| &process.threads);
    threads.any(|thread| thread.credentials.apparmor_profile.is_some())
}
