//! Reading a packed file.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use lz4_flex::frame::FrameDecoder;

use super::table::Place;
use super::{Compression, SeekTable};

/// The content of a packed file, from its beginning or from any byte on.
pub struct Unpacked {
    file: Arc<File>,
    way: Compression,
    /// Frames that were not begun yet.
    frames: VecDeque<Place>,
    /// The one that is being read, and how many bytes of it are left.
    current: Option<(Box<dyn Read>, u64)>,
}

impl Unpacked {
    /// Begins to read a file.
    ///
    /// # Errors
    ///
    /// Where it cannot be opened, or has no table of its frames.
    pub fn open(path: &Path, way: Compression) -> io::Result<Self> {
        let file = File::open(path)?;
        let frames = SeekTable::read(&file)?.frames().collect();
        Ok(Self { file: Arc::new(file), way, frames, current: None })
    }

    /// Passes over bytes at the beginning.
    ///
    /// # Errors
    ///
    /// Where a frame cannot be read.
    pub fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let is_before =
            |place: &Place| place.unpacked_at.saturating_add(u64::from(place.unpacked)) <= bytes;
        while self.frames.front().is_some_and(is_before) {
            self.frames.pop_front();
        }
        let rest = self.frames.front().map_or(0, |place| bytes.saturating_sub(place.unpacked_at));
        io::copy(&mut self.by_ref().take(rest), &mut io::sink()).map(drop)
    }

    fn begin(&self, place: Place) -> io::Result<(Box<dyn Read>, u64)> {
        let (at, left) = (place.packed_at, u64::from(place.packed));
        let packed = Section { file: Arc::clone(&self.file), at, left };
        let decoder: Box<dyn Read> = match self.way {
            Compression::Lz4 => Box::new(FrameDecoder::new(packed)),
            Compression::Zstd => Box::new(zstd::Decoder::new(packed)?.single_frame()),
        };
        Ok((decoder, place.unpacked.into()))
    }
}

impl Read for Unpacked {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            let Some((decoder, left)) = &mut self.current else {
                let Some(place) = self.frames.pop_front() else { return Ok(0) };
                self.current = Some(self.begin(place)?);
                continue;
            };
            // One byte more than there should be, so that the end is seen and with
            // it the checksum.
            let count = decoder.take(*left + 1).read(buf)?;
            match (count, *left) {
                (0, 0) => self.current = None,
                (count, rest) if count != 0 && count as u64 <= rest => {
                    *left -= count as u64;
                    return Ok(count);
                }
                _ => {
                    let why = "a frame has another length than the table of frames says";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                }
            }
        }
    }
}

/// Some bytes of a file.
struct Section {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Read for Section {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buf.len());
        let count = self.file.read_at(&mut buf[..most], self.at)?;
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::IoSlice;
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;
    use crate::pack::{ALIGNMENT, pack};

    /// Packs `content` in frames of so many bytes.
    fn packed(content: &[u8], way: Compression, frame: usize) -> Vec<u8> {
        let (mut bytes, mut table) = (Vec::new(), SeekTable::default());
        for piece in content.chunks(frame) {
            let (first, second) = piece.split_at(piece.len() / 3);
            let parts = [IoSlice::new(first), IoSlice::new(second)];
            table.push(pack(way, &parts, &mut bytes).unwrap());
        }
        assert_eq!(table.packed(), bytes.len() as u64);
        bytes.extend(table.to_bytes());
        assert!(bytes.len().is_multiple_of(ALIGNMENT));
        bytes
    }

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|at| if at % 97 < 60 { 7 } else { fastrand::u8(..) }).collect()
    }

    fn unpacked(bytes: &[u8], way: Compression, skip: u64) -> io::Result<Vec<u8>> {
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), bytes)?;
        let mut reader = Unpacked::open(file.path(), way)?;
        reader.skip(skip)?;
        let mut content = Vec::new();
        reader.read_to_end(&mut content)?;
        Ok(content)
    }

    #[test]
    fn what_is_packed_is_unpacked_from_any_byte_on() {
        for way in Compression::ALL {
            for len in [0, 1, 5000, 300_000] {
                let content = content(len);
                let bytes = packed(&content, way, 70_000);
                for skip in [0, 1, 4096, 70_000, 70_001, 299_999, 400_000] {
                    let rest = content.get(skip..).unwrap_or_default();
                    assert!(unpacked(&bytes, way, skip as u64).unwrap() == rest, "{way}: {skip}");
                }
            }
        }
    }

    #[test]
    fn the_tools_of_the_formats_unpack_it() {
        let content = content(500_000);
        let folder = tempfile::tempdir().unwrap();
        for (way, tool) in [(Compression::Lz4, "lz4"), (Compression::Zstd, "zstd")] {
            let path = folder.path().join(format!("pages-1.img{}", way.suffix()));
            fs::write(&path, packed(&content, way, 100_000)).unwrap();
            let told = Command::new(tool).args(["-d", "-c", "-q"]).arg(&path).output();
            let told = told.unwrap_or_else(|error| panic!("{tool}: {error}"));
            assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
            assert!(told.stdout == content, "{tool} unpacks something else");
        }
    }

    #[test]
    fn files_that_are_cut_off_or_spoilt_are_errors() {
        for way in Compression::ALL {
            let bytes = packed(&content(200_000), way, 100_000);
            for len in [0, 5, 100, bytes.len() - 1] {
                assert!(unpacked(&bytes[..len], way, 0).is_err(), "{way}: {len}");
            }
            let mut spoilt = bytes.clone();
            spoilt[5000] ^= 1;
            assert!(unpacked(&spoilt, way, 0).is_err(), "{way}");
            let other = Compression::ALL.into_iter().find(|other| *other != way).unwrap();
            assert!(unpacked(&bytes, other, 0).is_err(), "{way} as {other}");
        }
    }

    #[test]
    fn a_frame_that_would_take_long_to_unpack_is_refused() {
        let mut table = SeekTable::default();
        table.push(crate::pack::Frame { packed: 0, unpacked: 1 << 30, padding: 0 });
        let error = unpacked(&table.to_bytes(), Compression::Zstd, 0).unwrap_err();
        assert!(error.to_string().contains("too large"), "{error}");
    }

    proptest! {
        /// Whatever a file says of itself, reading it ends.
        #[test]
        fn no_table_is_trusted(
            entries in prop::collection::vec(any::<(u32, u32)>(), 0..6),
            at in 0..20_000_usize,
            with in any::<u8>(),
        ) {
            let way = Compression::Zstd;
            let mut bytes = packed(&content(20_000), way, 9000);
            let at = at % bytes.len();
            bytes[at] ^= with;
            let _ = unpacked(&bytes, way, 0);
            let mut table = SeekTable::default();
            for (packed, unpacked) in entries {
                table.push(crate::pack::Frame { packed, unpacked, padding: 0 });
            }
            let _ = unpacked(&table.to_bytes(), way, 3);
        }
    }
}
