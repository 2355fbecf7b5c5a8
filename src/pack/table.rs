//! Where the frames of a packed file are.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::frame::{Frame, padding, skipped};
use super::{SKIPPABLE, SKIPPABLE_HEADER};

/// The last four bits of a skippable frame that is a table.
const KIND: u32 = 0xe;
/// Last word of a table.
const MAGIC: u32 = 0x8f92_eab1;
/// Number of entries, what they hold, and the magic.
const FOOTER: usize = 9;
/// Packed and unpacked bytes of a frame.
const ENTRY: usize = 8;
/// What entries hold besides: nothing.
const DESCRIPTOR: u8 = 0;
/// Frames that a file may have: some terabytes in pieces of a few megabytes.
const MOST: usize = 1 << 22;
/// The largest frame, unpacked: to read a byte of it, all before it is unpacked.
const LARGEST: u32 = 64 << 20;

/// The frames of a packed file, those that are skipped among them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SeekTable {
    /// Packed and unpacked bytes of each.
    entries: Vec<(u32, u32)>,
}

impl SeekTable {
    /// Adds the next frame.
    pub fn push(&mut self, frame: Frame) {
        self.entries.push((frame.packed, frame.unpacked));
        if frame.padding != 0 {
            self.entries.push((frame.padding, 0));
        }
    }

    /// How many bytes all frames have, unpacked.
    pub fn unpacked(&self) -> u64 {
        self.entries.iter().map(|&(_, unpacked)| u64::from(unpacked)).sum()
    }

    /// How many bytes all frames take.
    pub fn packed(&self) -> u64 {
        self.entries.iter().map(|&(packed, _)| u64::from(packed)).sum()
    }

    /// The frames that are not skipped: where each begins, packed and unpacked, and
    /// the bytes of both.
    pub(super) fn frames(&self) -> impl Iterator<Item = Place> {
        let (mut packed_at, mut unpacked_at) = (0, 0);
        let place = move |&(packed, unpacked): &(u32, u32)| {
            let place = Place { packed_at, packed, unpacked_at, unpacked };
            packed_at += u64::from(packed);
            unpacked_at += u64::from(unpacked);
            place
        };
        self.entries.iter().map(place).filter(|place| place.unpacked != 0)
    }

    /// What ends the file, as long as makes a multiple of
    /// [`ALIGNMENT`](super::ALIGNMENT).
    pub fn to_bytes(&self) -> Vec<u8> {
        // Padding has an entry as well.
        let len = |entries| SKIPPABLE_HEADER + entries * ENTRY + FOOTER;
        let short = padding(len(self.entries.len() + 1));
        let mut table = self.clone();
        table.entries.extend((short != 0).then_some((short as u32, 0)));
        let content = len(table.entries.len()) - SKIPPABLE_HEADER;
        let mut bytes = skipped(short);
        let mut put = |word: u32| bytes.extend(word.to_le_bytes());
        put(SKIPPABLE | KIND);
        put(content as u32);
        for &(packed, unpacked) in &table.entries {
            put(packed);
            put(unpacked);
        }
        put(table.entries.len() as u32);
        bytes.push(DESCRIPTOR);
        bytes.extend(MAGIC.to_le_bytes());
        bytes
    }

    /// Reads the table of a file.
    ///
    /// # Errors
    ///
    /// Where it has none, or one that does not fit the file.
    pub fn read(file: &File) -> io::Result<Self> {
        let wrong = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
        let len = file.metadata()?.len();
        let mut footer = [0; FOOTER];
        let at = len.checked_sub(FOOTER as u64).ok_or_else(|| wrong("is cut off"))?;
        file.read_exact_at(&mut footer, at)?;
        let [n0, n1, n2, n3, descriptor, m0, m1, m2, m3] = footer;
        if u32::from_le_bytes([m0, m1, m2, m3]) != MAGIC || descriptor != DESCRIPTOR {
            return Err(wrong(
                "does not end with a table of its frames: it is cut off, or another's",
            ));
        }
        let count = u32::from_le_bytes([n0, n1, n2, n3]) as usize;
        if count > MOST {
            return Err(wrong("has too many frames"));
        }
        let mut bytes = vec![0; count * ENTRY];
        let start = at.checked_sub(bytes.len() as u64).ok_or_else(|| wrong("is cut off"))?;
        file.read_exact_at(&mut bytes, start)?;
        let word = |bytes: &[u8]| bytes.first_chunk().map_or(0, |word| u32::from_le_bytes(*word));
        let entry = |bytes: &[u8]| (word(bytes), word(&bytes[4..]));
        let table = Self { entries: bytes.chunks_exact(ENTRY).map(entry).collect() };
        if table.entries.iter().any(|&(_, unpacked)| unpacked > LARGEST) {
            return Err(wrong("has a frame that is too large"));
        }
        if table.packed().checked_add(SKIPPABLE_HEADER as u64) != Some(start) {
            return Err(wrong("has another length than its table of frames says"));
        }
        Ok(table)
    }
}

/// Where a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub packed_at: u64,
    pub packed: u32,
    pub unpacked_at: u64,
    pub unpacked: u32,
}
