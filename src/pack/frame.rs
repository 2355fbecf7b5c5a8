//! One frame of a packed file.

use std::io::{self, IoSlice, Write};

use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

use super::{ALIGNMENT, Compression, SKIPPABLE, SKIPPABLE_HEADER};

/// The fastest of zstd's usual levels.
const ZSTD_LEVEL: i32 = 1;

/// A frame that was written, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// What is in it.
    pub unpacked: u32,
    /// What it takes.
    pub packed: u32,
    /// What is skipped behind it.
    pub padding: u32,
}

impl Frame {
    /// How far behind its beginning the next one begins.
    pub fn len(&self) -> usize {
        self.packed as usize + self.padding as usize
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a frame of so many bytes takes at most, with its padding.
pub fn bound(bytes: usize) -> usize {
    // What does not compress goes in as it is, in blocks: four bytes each of 64
    // KiB and more, and those around all of them.
    bytes + bytes / 1024 + 4 * ALIGNMENT
}

/// Writes a frame of all `parts` together, with its checksum and padding.
///
/// # Errors
///
/// Where there are more than 4 GiB, or where `into` fails.
pub fn pack(way: Compression, parts: &[IoSlice<'_>], into: &mut dyn Write) -> io::Result<Frame> {
    let unpacked: usize = parts.iter().map(|part| part.len()).sum();
    let mut counted = Counted { into, bytes: 0 };
    match way {
        Compression::Lz4 => {
            let info = FrameInfo::new()
                .block_mode(BlockMode::Independent)
                .block_size(BlockSize::Max256KB)
                .content_checksum(true)
                .content_size(Some(unpacked as u64));
            let mut encoder = FrameEncoder::with_frame_info(info, &mut counted);
            parts.iter().try_for_each(|part| encoder.write_all(part))?;
            encoder.finish()?;
        }
        Compression::Zstd => {
            let mut encoder = zstd::Encoder::new(&mut counted, ZSTD_LEVEL)?;
            encoder.include_checksum(true)?;
            encoder.set_pledged_src_size(Some(unpacked as u64))?;
            parts.iter().try_for_each(|part| encoder.write_all(part))?;
            encoder.finish()?;
        }
    }
    let packed = counted.bytes;
    let padding = padding(packed);
    counted.write_all(&skipped(padding))?;
    let count = |bytes: usize| u32::try_from(bytes).map_err(io::Error::other);
    Ok(Frame { unpacked: count(unpacked)?, packed: count(packed)?, padding: count(padding)? })
}

/// How long the frame behind so many bytes is that is to be skipped.
pub(super) fn padding(bytes: usize) -> usize {
    match bytes.next_multiple_of(ALIGNMENT) - bytes {
        0 => 0,
        short if short < SKIPPABLE_HEADER => short + ALIGNMENT,
        enough => enough,
    }
}

/// A frame of so many bytes that is skipped.
pub(super) fn skipped(bytes: usize) -> Vec<u8> {
    let Some(content) = bytes.checked_sub(SKIPPABLE_HEADER) else { return Vec::new() };
    let mut frame = [SKIPPABLE, content as u32].map(u32::to_le_bytes).concat();
    frame.resize(bytes, 0);
    frame
}

struct Counted<'a> {
    into: &'a mut dyn Write,
    bytes: usize,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.into.write(bytes)?;
        self.bytes += count;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.into.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_none_or_a_whole_frame() {
        for bytes in 0..3 * ALIGNMENT {
            let padding = padding(bytes);
            assert!((bytes + padding).is_multiple_of(ALIGNMENT), "{bytes}");
            assert!(padding == 0 || padding >= SKIPPABLE_HEADER, "{bytes}");
            assert_eq!(skipped(padding).len(), padding, "{bytes}");
        }
    }

    #[test]
    fn what_does_not_compress_stays_within_the_bound() {
        for len in [0, 1, 4096, 1 << 20, (8 << 20) + 4096] {
            let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(len).collect();
            for way in Compression::ALL {
                let mut packed = Vec::new();
                let frame = pack(way, &[IoSlice::new(&noise)], &mut packed).unwrap();
                assert_eq!(frame.len(), packed.len());
                assert!(packed.len() <= bound(len), "{way}: {len} bytes take {}", packed.len());
                assert!(packed.len().is_multiple_of(ALIGNMENT));
            }
        }
    }
}
