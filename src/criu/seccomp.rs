//! `seccomp.img`: seccomp filters, of which a snapshot holds none yet.

use super::EncodeError;
use super::container::{ImageKind, ImageWriter};
use super::proto;

/// `seccomp.img`
pub fn image() -> Result<Vec<u8>, EncodeError> {
    let mut image = ImageWriter::new(ImageKind::Seccomp);
    image.record(&proto::SeccompEntry::default())?;
    Ok(image.finish())
}
