//! What the records of a set of images may take of memory.
//!
//! Two bytes of a record can stand for a hundred times as many of what it is
//! decoded to, so that records are weighed before.

use prost::encoding::decode_varint;

/// What all records of a set may weigh together, in bytes: those of two hundred
/// thousand open files, or of twenty thousand threads. What they take is rather less
/// for a set that somebody saved, and up to twice as much for any, as collections
/// have room to grow.
const SET: u64 = 1 << 30;

/// What keeping a record costs beside itself.
const RECORD: u64 = 64;
/// The largest message of which another one holds many (`FanotifyMarkEntry`).
const ELEMENT: u64 = 128;
/// What a byte may become: a number.
const NUMBER: u64 = 8;
/// How deep messages lie in one another that are decoded (`RECURSION_LIMIT` of
/// `prost`).
const DEPTH: u32 = 100;

/// What is left for records that were not decoded yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Budget {
    /// `None` once a record was more than that.
    left: Option<u64>,
}

/// More than there is left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Spent;

impl Budget {
    /// For a set that may come from anywhere.
    pub fn of_set() -> Self {
        Self::of(SET)
    }

    /// For a set of our own making.
    pub fn unlimited() -> Self {
        Self::of(u64::MAX)
    }

    /// For records of such a weight.
    pub fn of(weight: u64) -> Self {
        Self { left: Some(weight) }
    }

    /// Takes a record that is to be decoded as `M`. After one that weighs too much
    /// no other is taken.
    pub fn take<M>(&mut self, record: &[u8]) -> Result<(), Spent> {
        self.left = self.left.and_then(|left| left.checked_sub(weight::<M>(record)));
        self.left.map(drop).ok_or(Spent)
    }

    /// Whether a record was too much.
    pub fn is_spent(&self) -> bool {
        self.left.is_none()
    }
}

/// What a record takes at most when it is decoded, but for what collections have
/// room for.
fn weight<M>(record: &[u8]) -> u64 {
    let message = size_of::<M>() as u64 + RECORD;
    message + NUMBER * record.len() as u64 + ELEMENT * parts(record, DEPTH)
}

/// How many messages, texts and arrays are in what is read as fields, as far as it
/// can be. A text may be taken for some.
fn parts(mut fields: &[u8], depth: u32) -> u64 {
    const VARINT: u64 = 0;
    const FIXED_64: u64 = 1;
    const BYTES: u64 = 2;
    const GROUP: u64 = 3;
    const END_OF_GROUP: u64 = 4;
    const FIXED_32: u64 = 5;
    let mut count = 0;
    while let Ok(key) = decode_varint(&mut fields) {
        let kind = key & 7;
        let len = match kind {
            // What is in a group is fields like others.
            GROUP | END_OF_GROUP => Ok(0),
            FIXED_64 => Ok(8),
            FIXED_32 => Ok(4),
            BYTES => decode_varint(&mut fields),
            VARINT => decode_varint(&mut fields).map(|_| 0),
            _ => break,
        };
        let len = len.ok().and_then(|len| usize::try_from(len).ok());
        let Some((content, behind)) = len.and_then(|len| fields.split_at_checked(len)) else {
            break;
        };
        fields = behind;
        if kind == BYTES {
            count += 1 + depth.checked_sub(1).map_or(0, |depth| parts(content, depth));
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::criu::container::{ImageKind, ImageReader};
    use crate::criu::proto::*;

    #[test]
    fn no_element_is_larger_than_it_is_weighed() {
        let sizes = [
            size_of::<VmaEntry>(),
            size_of::<AioRingEntry>(),
            size_of::<SaEntry>(),
            size_of::<SiginfoEntry>(),
            size_of::<PosixTimerEntry>(),
            size_of::<RlimitEntry>(),
            size_of::<CgSetEntry>(),
            size_of::<CgMemberEntry>(),
            size_of::<CgControllerEntry>(),
            size_of::<CgroupDirEntry>(),
            size_of::<CgroupPropEntry>(),
            size_of::<SeccompFilter>(),
            size_of::<CpuinfoX86Entry>(),
            size_of::<InotifyWdEntry>(),
            size_of::<FanotifyMarkEntry>(),
            size_of::<EventpollTfdEntry>(),
            size_of::<PacketMclist>(),
            size_of::<ScmEntry>(),
            size_of::<String>(),
        ];
        assert_eq!(sizes.into_iter().max(), Some(ELEMENT as usize));
    }

    #[test]
    fn what_is_in_a_message_is_counted_at_any_depth() {
        let dir = |children| CgroupDirEntry { children, ..CgroupDirEntry::default() };
        let below = vec![dir(vec![]), dir(vec![dir(vec![])])];
        // Each has a name, and three of the four are in another one.
        assert_eq!(parts(&dir(below).encode_to_vec(), DEPTH), 4 + 3);
        let empty = [0x32, 0].repeat(1000);
        assert_eq!(parts(&empty, DEPTH), 1000);
        // A group around, and an end that is cut off.
        assert_eq!(parts(&[&[0x43], &*empty, &[0x44, 0x32]].concat(), DEPTH), 1000);
        assert_eq!(parts(b"/dev/null", DEPTH), 0);
    }

    #[test]
    fn a_hundred_thousand_open_files_leave_room() {
        let set = crate::criu::sample::image_set();
        let mut reader = ImageReader::new(ImageKind::Files, set["files.img"].as_slice()).unwrap();
        let mut heaviest = 0;
        while let Some(file) = reader.next_record::<FileEntry>().unwrap() {
            heaviest = heaviest.max(weight::<FileEntry>(&file.encode_to_vec()));
        }
        let open = weight::<FdinfoEntry>(&FdinfoEntry::default().encode_to_vec());
        assert!(100_000 * (heaviest + open) < SET / 2, "{heaviest} and {open}");
    }

    #[test]
    fn twenty_thousand_threads_fit() {
        let set = crate::criu::sample::image_set();
        let core = weight::<CoreEntry>(&set["core-101.img"]);
        assert!(20_000 * core < SET, "{core}");
    }

    #[test]
    fn what_is_spent_stays_spent() {
        let weight = weight::<FsEntry>(&[8, 1]);
        let mut budget = Budget::of(2 * weight - 1);
        assert_eq!(budget.take::<FsEntry>(&[8, 1]), Ok(()));
        assert!(!budget.is_spent());
        assert_eq!(budget.take::<FsEntry>(&[8, 1]), Err(Spent));
        assert!(budget.is_spent());
        assert_eq!(budget.take::<FsEntry>(&[]), Err(Spent));
    }

    proptest! {
        /// Whatever is decoded was counted before.
        #[test]
        fn no_message_has_more_parts_than_were_counted(bytes: Vec<u8>) {
            let counted = parts(&bytes, DEPTH);
            if let Ok(mm) = MmEntry::decode(bytes.as_slice()) {
                prop_assert!(counted >= (mm.vmas.len() + mm.aios.len()) as u64);
            }
            if let Ok(dir) = CgroupDirEntry::decode(bytes.as_slice()) {
                prop_assert!(counted >= (dir.children.len() + dir.properties.len()) as u64);
            }
        }
    }
}
