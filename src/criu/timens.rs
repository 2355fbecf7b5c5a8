//! `timens-0.img`: clocks, so that they go on and do not jump.

use super::EncodeError;
use super::container::{ImageKind, ImageWriter};
use super::proto;
use crate::snapshot::Clocks;

/// The image's number for processes without a time namespace of their own.
pub const INITIAL_NAMESPACE: u32 = 0;

const NANOSECONDS: u64 = 1_000_000_000;

/// `timens-0.img`
pub fn image(clocks: Clocks) -> Result<Vec<u8>, EncodeError> {
    let mut image = ImageWriter::new(ImageKind::Timens);
    image.record(&proto::TimensEntry {
        monotonic: timespec(clocks.monotonic),
        boottime: timespec(clocks.boottime),
    })?;
    Ok(image.finish())
}

fn timespec(nanoseconds: u64) -> proto::Timespec {
    proto::Timespec { tv_sec: nanoseconds / NANOSECONDS, tv_nsec: nanoseconds % NANOSECONDS }
}
