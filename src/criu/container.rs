//! The container that all images share: magic numbers, then records.
//!
//! ```text
//! inventory.img   u32 0x58313116      then one record
//! any other       u32 0x54564319      u32 magic of its kind      then records
//! record          u32 size            size bytes of protobuf
//! ```
//!
//! Numbers are little-endian; the file ends behind a record
//! (`criu/image.c`, `criu/protobuf.c`). Pages files are not containers but
//! nothing than pages.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::marker::PhantomData;

use prost::Message;
use thiserror::Error;

use super::budget::{Budget, Spent};

/// `IMG_COMMON_MAGIC`: begins all images but the inventory since version 1.1.
const COMMON_MAGIC: u32 = 0x5456_4319;

/// The longest record that is read. The longest known is `mm_entry` with some
/// 60 bytes for each VMA, of which a process has 65530 unless
/// `vm.max_map_count` was raised.
pub const MAX_RECORD: u32 = 64 << 20;

/// A kind of image that consists of records.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)] // CRIU's own names
pub enum ImageKind {
    Inventory,
    Pstree,
    Ids,
    Core,
    Mm,
    Pagemap,
    PagemapShmem,
    Files,
    Fdinfo,
    Fs,
    Seccomp,
    Timens,
    PipesData,
    FifoData,
    FileLocks,
    RemapFpath,
    GhostFile,
    Memfd,
    SkQueues,
    TtyInfo,
    TtyData,
    Cgroup,
    Cpuinfo,
}

impl ImageKind {
    /// The number that tells this kind from others.
    pub fn magic(self) -> u32 {
        match self {
            Self::Inventory => 0x5831_3116,
            Self::Pstree => 0x5027_3030,
            Self::Ids => 0x5443_2030,
            Self::Core => 0x5505_3847,
            Self::Mm => 0x5749_2820,
            Self::Pagemap | Self::PagemapShmem => 0x5608_4025,
            Self::Files => 0x5630_3138,
            Self::Fdinfo => 0x5621_3732,
            Self::Fs => 0x5140_3912,
            Self::Seccomp => 0x6441_3049,
            Self::Timens => 0x4311_4433,
            Self::PipesData => 0x5645_3709,
            Self::FifoData => 0x5933_3054,
            Self::FileLocks => 0x5432_3616,
            Self::RemapFpath => 0x5913_3954,
            Self::GhostFile => 0x5258_3605,
            Self::Memfd => 0x4845_3499,
            Self::SkQueues => 0x5626_4026,
            Self::TtyInfo => 0x5945_3036,
            Self::TtyData => 0x5941_3026,
            Self::Cgroup => 0x5938_3330,
            Self::Cpuinfo => 0x6140_4013,
        }
    }

    /// The file's name. `id` is the PID, TID, descriptor table or namespace of
    /// kinds with one file for each, and is not used for others.
    pub fn file_name(self, id: u32) -> String {
        match self {
            Self::Inventory => "inventory.img".into(),
            Self::Pstree => "pstree.img".into(),
            Self::Ids => format!("ids-{id}.img"),
            Self::Core => format!("core-{id}.img"),
            Self::Mm => format!("mm-{id}.img"),
            Self::Pagemap => format!("pagemap-{id}.img"),
            Self::PagemapShmem => format!("pagemap-shmem-{id}.img"),
            Self::Files => "files.img".into(),
            Self::Fdinfo => format!("fdinfo-{id}.img"),
            Self::Fs => format!("fs-{id}.img"),
            Self::Seccomp => "seccomp.img".into(),
            Self::Timens => format!("timens-{id}.img"),
            Self::PipesData => "pipes-data.img".into(),
            Self::FifoData => "fifo-data.img".into(),
            Self::FileLocks => "filelocks.img".into(),
            Self::RemapFpath => "remap-fpath.img".into(),
            Self::GhostFile => format!("ghost-file-{id:x}.img"),
            Self::Memfd => "memfd.img".into(),
            Self::SkQueues => "sk-queues.img".into(),
            Self::TtyInfo => "tty-info.img".into(),
            Self::TtyData => "tty-data.img".into(),
            Self::Cgroup => "cgroup.img".into(),
            Self::Cpuinfo => "cpuinfo.img".into(),
        }
    }

    /// The longest record of the kind. A pagemap may have many, which are not kept:
    /// what is in none of their fields must not make them long.
    fn longest_record(self) -> u32 {
        match self {
            Self::Pagemap | Self::PagemapShmem => 4096,
            _ => MAX_RECORD,
        }
    }

    fn header(self) -> Vec<u8> {
        let common = (self != Self::Inventory).then_some(COMMON_MAGIC);
        common.into_iter().chain([self.magic()]).flat_map(u32::to_le_bytes).collect()
    }
}

/// The name of a pages file.
pub fn pages_file_name(pages_id: u32) -> String {
    format!("pages-{pages_id}.img")
}

/// Whether a file of that name is a pages file.
pub fn is_pages_file(name: &str) -> bool {
    let number = name.strip_prefix("pages-").and_then(|name| name.strip_suffix(".img"));
    number.and_then(|number| number.parse().ok()).is_some_and(|id| pages_file_name(id) == name)
}

/// Writes the records of one image.
#[derive(Debug)]
pub struct ImageWriter {
    bytes: Vec<u8>,
}

impl ImageWriter {
    /// An image without records.
    pub fn new(kind: ImageKind) -> Self {
        Self { bytes: kind.header() }
    }

    /// Adds a record.
    ///
    /// # Errors
    /// [`RecordTooLong`] for a message that the reader would refuse.
    pub fn record(&mut self, message: &impl Message) -> Result<(), RecordTooLong> {
        let len = message.encoded_len();
        let size = u32::try_from(len)
            .ok()
            .filter(|size| *size <= MAX_RECORD)
            .ok_or(RecordTooLong { bytes: len as u64, most: MAX_RECORD })?;
        self.bytes.extend(size.to_le_bytes());
        // `encode` fails only where the buffer cannot grow.
        self.bytes.extend(message.encode_to_vec());
        Ok(())
    }

    /// Adds what follows a record as it is.
    pub fn payload(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// The file's content.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// A record above [`MAX_RECORD`], or what is known of its kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("record of {bytes} bytes is longer than the {most} that are read")]
pub struct RecordTooLong {
    /// How long it is.
    pub bytes: u64,
    /// How long it may be.
    pub most: u32,
}

/// Why an image could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file could not be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file is something else.
    #[error("it does not begin with the magic of {0}")]
    Magic(ImageKind),
    /// The file ends inside a record.
    #[error("it ends inside a record")]
    Truncated,
    /// A record is longer than any that is known.
    #[error(transparent)]
    TooLong(#[from] RecordTooLong),
    /// A record is not the message it should be.
    #[error("record {index} is damaged: {error}")]
    Decode {
        /// Which record, counted from 0.
        index: u64,
        /// What is wrong with it.
        error: prost::DecodeError,
    },
    /// There is more than a set may have.
    #[error("record {index} is more than is read: it needs too much memory, with those before it")]
    TooMuch {
        /// Which record, counted from 0.
        index: u64,
    },
    /// The image has no record where one is needed.
    #[error("it holds no record")]
    Empty,
}

impl fmt::Display for ImageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {} image", format!("{self:?}").to_lowercase())
    }
}

/// Reads the records of one image, one after the other.
#[derive(Debug)]
pub struct ImageReader<R> {
    input: R,
    longest: u32,
    read: u64,
}

impl<R: Read> ImageReader<R> {
    /// Reads and checks the header.
    ///
    /// # Errors
    /// [`ReadError::Magic`] for an image of another kind.
    pub fn new(kind: ImageKind, mut input: R) -> Result<Self, ReadError> {
        let expected = kind.header();
        let mut header = Vec::new();
        input.by_ref().take(expected.len() as u64).read_to_end(&mut header)?;
        if header != expected {
            return Err(ReadError::Magic(kind));
        }
        Ok(Self { input, longest: kind.longest_record(), read: 0 })
    }

    /// The next record, or `None` behind the last.
    ///
    /// # Errors
    /// When the file ends inside the record, or the record is longer than
    /// [`MAX_RECORD`] or not a message `M`.
    pub fn next_record<M: Message + Default>(&mut self) -> Result<Option<M>, ReadError> {
        self.next_within(&mut Budget::unlimited())
    }

    /// The same, where a budget allows for it.
    pub(super) fn next_within<M: Message + Default>(
        &mut self,
        budget: &mut Budget,
    ) -> Result<Option<M>, ReadError> {
        let Some(size) = self.next_size()? else { return Ok(None) };
        // Grows with what is there, not with what the size promises.
        let mut bytes = Vec::new();
        self.input.by_ref().take(u64::from(size)).read_to_end(&mut bytes)?;
        if bytes.len() < size as usize {
            return Err(ReadError::Truncated);
        }
        let index = self.read;
        self.read += 1;
        budget.take::<M>(&bytes).map_err(|Spent| ReadError::TooMuch { index })?;
        M::decode(bytes.as_slice()).map(Some).map_err(|error| ReadError::Decode { index, error })
    }

    fn next_size(&mut self) -> Result<Option<u32>, ReadError> {
        let mut size = Vec::new();
        self.input.by_ref().take(4).read_to_end(&mut size)?;
        match size.first_chunk().copied().map(u32::from_le_bytes) {
            Some(size) if size > self.longest => {
                Err(RecordTooLong { bytes: u64::from(size), most: self.longest }.into())
            }
            Some(size) => Ok(Some(size)),
            None if size.is_empty() => Ok(None),
            None => Err(ReadError::Truncated),
        }
    }

    /// All further records as an iterator, which ends after an error.
    pub fn records<M: Message + Default>(self) -> Records<R, M> {
        Records { reader: Some(self), message: PhantomData }
    }
}

impl<R: Read + Seek> ImageReader<R> {
    /// Passes over the `length` bytes that follow a record, without a look at them:
    /// of a file with holes there may be more than anyone can read.
    ///
    /// # Errors
    /// [`ReadError::Truncated`] where there are fewer.
    pub fn skip_payload(&mut self, length: u64) -> Result<(), ReadError> {
        let Some(before_last) = length.checked_sub(1) else { return Ok(()) };
        let last = i64::try_from(before_last).map_err(|_| ReadError::Truncated)?;
        self.input.seek_relative(last).map_err(|error| match error.kind() {
            // Beyond what a file has room for.
            io::ErrorKind::InvalidInput => ReadError::Truncated,
            _ => error.into(),
        })?;
        match self.input.read(&mut [0])? {
            0 => Err(ReadError::Truncated),
            _ => Ok(()),
        }
    }

    /// How many bytes there are up to the end of the file, which are passed over.
    ///
    /// # Errors
    /// When it cannot be told.
    pub fn skip_rest(&mut self) -> Result<u64, ReadError> {
        let here = self.input.stream_position()?;
        Ok(self.input.seek(SeekFrom::End(0))?.saturating_sub(here))
    }
}

/// Records of one type; see [`ImageReader::records`].
#[derive(Debug)]
pub struct Records<R, M> {
    reader: Option<ImageReader<R>>,
    message: PhantomData<M>,
}

impl<R: Read, M: Message + Default> Iterator for Records<R, M> {
    type Item = Result<M, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.reader.as_mut()?.next_record().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.reader = None;
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Cursor, Write};

    use proptest::prelude::*;

    use super::*;
    use crate::criu::proto::{FsEntry, PagemapEntry};

    fn entry(vaddr: u64, pages: u32) -> PagemapEntry {
        PagemapEntry { vaddr, compat_nr_pages: pages, ..PagemapEntry::default() }
    }

    fn read(kind: ImageKind, bytes: &[u8]) -> Result<Vec<PagemapEntry>, ReadError> {
        ImageReader::new(kind, bytes)?.records().collect()
    }

    #[test]
    fn an_image_looks_as_criu_writes_it() {
        let mut image = ImageWriter::new(ImageKind::Fs);
        image.record(&FsEntry { cwd_id: 14, root_id: 15, umask: Some(18) }).unwrap();
        // `fs-P.img` of a dump by CRIU 3.17.1.
        let expected =
            [0x19, 0x43, 0x56, 0x54, 0x12, 0x39, 0x40, 0x51, 6, 0, 0, 0, 8, 14, 16, 15, 24, 18];
        assert_eq!(image.finish(), expected);
    }

    #[test]
    fn the_inventory_has_its_magic_alone() {
        assert_eq!(ImageWriter::new(ImageKind::Inventory).finish(), [0x16, 0x31, 0x31, 0x58]);
    }

    #[test]
    fn pages_files_are_known_by_their_names() {
        assert!(is_pages_file(&pages_file_name(0)) && is_pages_file(&pages_file_name(u32::MAX)));
        for name in ["pages-.img", "pages-1.img.zst", "pages-01.img", "pages-+1.img", "core-1.img"]
        {
            assert!(!is_pages_file(name), "{name}");
        }
    }

    #[test]
    fn another_kind_is_refused() {
        let image = ImageWriter::new(ImageKind::Mm).finish();
        assert!(matches!(read(ImageKind::Pagemap, &image), Err(ReadError::Magic(_))));
        assert!(matches!(read(ImageKind::Pagemap, &[]), Err(ReadError::Magic(_))));
    }

    #[test]
    fn a_size_that_no_record_has_is_refused() {
        let mut image = ImageWriter::new(ImageKind::Pagemap).finish();
        image.extend(4097_u32.to_le_bytes());
        assert!(matches!(read(ImageKind::Pagemap, &image), Err(ReadError::TooLong(_))));
        let mut image = ImageWriter::new(ImageKind::Mm).finish();
        image.extend((MAX_RECORD + 1).to_le_bytes());
        assert!(matches!(read(ImageKind::Mm, &image), Err(ReadError::TooLong(_))));
    }

    #[test]
    fn payloads_are_passed_over_as_far_as_they_go() {
        let mut image = ImageWriter::new(ImageKind::Pagemap);
        image.payload(&[7; 10]);
        let bytes = image.finish();
        let skipped = |length| {
            let mut reader = ImageReader::new(ImageKind::Pagemap, Cursor::new(&bytes)).unwrap();
            reader.skip_payload(length).map(|()| reader.skip_rest().unwrap())
        };
        assert_eq!((skipped(0).unwrap(), skipped(3).unwrap(), skipped(10).unwrap()), (10, 7, 0));
        for length in [11, 1 << 40, 1 << 63, u64::MAX] {
            assert!(matches!(skipped(length), Err(ReadError::Truncated)), "{length}");
        }
    }

    #[test]
    fn what_is_passed_over_is_not_read() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&ImageWriter::new(ImageKind::GhostFile).finish()).unwrap();
        // So much of a hole takes minutes to read.
        file.set_len(1 << 40).unwrap();
        file.rewind().unwrap();
        let mut reader = ImageReader::new(ImageKind::GhostFile, BufReader::new(file)).unwrap();
        reader.skip_payload(1 << 39).unwrap();
        assert_eq!(reader.skip_rest().unwrap(), (1 << 39) - 8);
        assert!(matches!(reader.skip_payload(i64::MAX as u64), Err(ReadError::Truncated)));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(entries: Vec<(u64, u32)>) {
            let entries: Vec<_> = entries.into_iter().map(|(a, n)| entry(a, n)).collect();
            let mut image = ImageWriter::new(ImageKind::Pagemap);
            for entry in &entries {
                image.record(entry).unwrap();
            }
            prop_assert_eq!(read(ImageKind::Pagemap, &image.finish()).unwrap(), entries);
        }

        #[test]
        fn a_cut_image_ends_at_a_record_or_is_refused(count in 1..20_u64, cut in 1..20_usize) {
            let mut image = ImageWriter::new(ImageKind::Pagemap);
            for number in 0..count {
                image.record(&entry(number << 12, 1)).unwrap();
            }
            let mut bytes = image.finish();
            bytes.truncate(bytes.len().saturating_sub(cut).max(8));
            match read(ImageKind::Pagemap, &bytes) {
                Ok(entries) => prop_assert!((entries.len() as u64) < count),
                Err(error) => prop_assert!(matches!(error, ReadError::Truncated)),
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let mut image = ImageWriter::new(ImageKind::Pagemap).finish();
            image.extend(bytes);
            let _ = read(ImageKind::Pagemap, &image);
        }
    }
}
