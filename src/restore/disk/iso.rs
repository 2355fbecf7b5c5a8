//! A read-only file system around files that lie elsewhere: ISO 9660
//! (ECMA-119), which every Linux reads and in which a file is one run of
//! sectors.
//!
//! ```text
//! sector  0  16        17   18     19     20            FENCE
//!         |  | volume  |    | path tables | root        | small      | large file │… | FENCE
//!         |  | descr.  |end | little, big | directory   | files      |            │  | zeros
//!         └──────────── in memory ─────────────────────────────────┘ └ from where it lies
//! ```
//!
//! What processes wrote stands at no place where somebody looks for a
//! partition table, a RAID or a file system: the first and the last `FENCE`
//! bytes are ours, so that no process can have the guest take the disk for
//! something else.

/// Unit of the file system, in bytes.
pub(super) const SECTOR: u64 = 2048;

/// Superblocks are looked for up to 4 MiB behind the beginning (the second
/// header of LUKS) and in the last MiB.
pub(super) const FENCE: u64 = 8 << 20;

/// Up to here a file is copied, in bytes.
pub(super) const SMALL: u64 = 256 << 10;

/// What is kept in memory at most, in bytes: thousands of threads have some
/// kilobytes each.
const MOST_MEMORY: u64 = 1 << 30;

/// What one directory record can say of a file's length; longer files have
/// several.
const SECTION: u64 = (1 << 32) - SECTOR;

/// Sectors of the volume descriptor, its terminator, the path tables and the
/// directory.
const DESCRIPTOR: u64 = 16;
const PATH_TABLES: u64 = 18;
const DIRECTORY: u64 = 20;

const FLAG_DIRECTORY: u8 = 1 << 1;
/// Another record of the same file follows.
const FLAG_MULTI_EXTENT: u8 = 1 << 7;

/// A file to be put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    /// In lower case: Linux makes the rest of it.
    pub name: &'a str,
    /// In bytes.
    pub size: u64,
}

/// Where the bytes of a disk come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// What is kept in memory.
    Memory,
    /// The file of this index.
    File(usize),
}

/// A piece of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub source: Source,
    /// Where it begins there, in bytes.
    pub offset: u64,
    /// In bytes, a number of sectors.
    pub len: u64,
}

/// A part of a file that is copied into memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Copied {
    /// Which file.
    pub file: usize,
    /// From where in it.
    pub from: u64,
    /// How many bytes.
    pub len: u64,
    /// To where in memory.
    pub to: u64,
}

/// What a disk consists of.
#[derive(Debug)]
pub(super) struct Layout {
    /// In order.
    pub pieces: Vec<Piece>,
    /// What is copied into memory; the rest of it is `head` and zeros.
    pub copied: Vec<Copied>,
    /// The first bytes in memory.
    pub head: Vec<u8>,
    /// Length of what is in memory.
    pub memory: u64,
}

impl Layout {
    /// Lays out files. `None` where there are too many, also for memory, or too large
    /// ones.
    pub fn of(files: &[Entry<'_>]) -> Option<Self> {
        let mut pieces = vec![Piece { source: Source::Memory, offset: 0, len: 0 }];
        let (mut copied, mut memory) = (Vec::new(), FENCE);
        let mut places = vec![0; files.len()];
        let is_small = |entry: &Entry<'_>| entry.size <= SMALL;
        for (file, entry) in files.iter().enumerate().filter(|(_, entry)| is_small(entry)) {
            places[file] = memory;
            copied.push(Copied { file, from: 0, len: entry.size, to: memory });
            memory = memory.checked_add(entry.size.checked_next_multiple_of(SECTOR)?)?;
        }
        pieces[0].len = memory;
        let mut end = memory;
        for (file, entry) in files.iter().enumerate().filter(|(_, entry)| !is_small(entry)) {
            places[file] = end;
            let len = entry.size / SECTOR * SECTOR;
            pieces.push(Piece { source: Source::File(file), offset: 0, len });
            if len < entry.size {
                copied.push(Copied { file, from: len, len: entry.size - len, to: memory });
                pieces.push(Piece { source: Source::Memory, offset: memory, len: SECTOR });
                memory += SECTOR;
            }
            end = end.checked_add(entry.size.checked_next_multiple_of(SECTOR)?)?;
        }
        pieces.push(Piece { source: Source::Memory, offset: memory, len: FENCE });
        let (end, memory) = (end.checked_add(FENCE)?, memory + FENCE);
        if memory > MOST_MEMORY {
            return None;
        }
        let head = head(files, &places, end)?;
        Some(Self { pieces, copied, head, memory })
    }

    /// Length of the disk in bytes.
    pub fn len(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len).sum()
    }
}

/// Everything up to the end of the directory. `None` where that is beyond the
/// fence, or something beyond what 32 bits count in sectors.
fn head(files: &[Entry<'_>], places: &[u64], end: u64) -> Option<Vec<u8>> {
    let directory = directory(files, places)?;
    let size = u32::try_from(directory.len()).ok()?;
    let mut head = vec![0; usize::try_from(DIRECTORY * SECTOR).ok()?];
    let sector = |number: u64| (number * SECTOR) as usize..((number + 1) * SECTOR) as usize;
    let root = record(&[0], DIRECTORY as u32, size, FLAG_DIRECTORY);
    head[sector(DESCRIPTOR)].copy_from_slice(&descriptor(u32::try_from(end / SECTOR).ok()?, &root));
    head[sector(DESCRIPTOR + 1)][..7].copy_from_slice(b"\xffCD001\x01");
    for (number, big) in [(PATH_TABLES, false), (PATH_TABLES + 1, true)] {
        let table = &mut head[sector(number)][..10];
        let (place, parent) = (DIRECTORY as u32, 1_u16);
        table[0] = 1;
        table[2..6].copy_from_slice(&if big { place.to_be_bytes() } else { place.to_le_bytes() });
        table[6..8].copy_from_slice(&if big { parent.to_be_bytes() } else { parent.to_le_bytes() });
    }
    head.extend_from_slice(&directory);
    (head.len() as u64 <= FENCE).then_some(head)
}

/// The primary volume descriptor (8.4).
fn descriptor(sectors: u32, root: &[u8]) -> [u8; SECTOR as usize] {
    let mut descriptor = [0; SECTOR as usize];
    let mut put = |at: usize, bytes: &[u8]| descriptor[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x01CD001\x01");
    // Identifiers of system, volume, set, publisher and so on.
    put(8, &[b' '; 64]);
    put(40, b"OVMIGRATE");
    put(190, &[b' '; 623]);
    put(80, &both_u32(sectors));
    put(120, &both_u16(1));
    put(124, &both_u16(1));
    put(128, &both_u16(SECTOR as u16));
    // Of the path table, which holds the root only.
    put(132, &both_u32(10));
    put(140, &(PATH_TABLES as u32).to_le_bytes());
    put(148, &(PATH_TABLES as u32 + 1).to_be_bytes());
    put(156, root);
    // Four times that are not given.
    for time in 0..4 {
        put(813 + 17 * time, &[b'0'; 16]);
    }
    put(881, &[1]);
    descriptor
}

/// The root directory: no record lies in two sectors.
fn directory(files: &[Entry<'_>], places: &[u64]) -> Option<Vec<u8>> {
    let mut directory = Vec::new();
    let mut put = |record: &[u8]| {
        let room = SECTOR as usize - directory.len() % SECTOR as usize;
        if record.len() > room {
            directory.resize(directory.len() + room, 0);
        }
        directory.extend_from_slice(record);
    };
    let mut records = Vec::new();
    for (entry, &place) in files.iter().zip(places) {
        let mut done = 0;
        loop {
            let len = (entry.size - done).min(SECTION);
            let last = done + len == entry.size;
            let flags = if last { 0 } else { FLAG_MULTI_EXTENT };
            let sector = u32::try_from((place + done) / SECTOR).ok()?;
            records.push(record(entry.name.as_bytes(), sector, len as u32, flags));
            done += len;
            if last {
                break;
            }
        }
    }
    // Of itself and its parent, with the size that they all come to.
    for name in [0, 1] {
        put(&record(&[name], DIRECTORY as u32, 0, FLAG_DIRECTORY));
    }
    records.iter().for_each(|record| put(record));
    let size = directory.len().next_multiple_of(SECTOR as usize);
    directory.resize(size, 0);
    let size = both_u32(u32::try_from(size).ok()?);
    for at in [0, 34] {
        directory[at + 10..at + 18].copy_from_slice(&size);
    }
    Some(directory)
}

/// A directory record (9.1).
fn record(name: &[u8], sector: u32, size: u32, flags: u8) -> Vec<u8> {
    let mut record = vec![0; 33];
    record[2..10].copy_from_slice(&both_u32(sector));
    record[10..18].copy_from_slice(&both_u32(size));
    // Years since 1900, month, day: one that is valid.
    record[18..21].copy_from_slice(&[100, 1, 1]);
    record[25] = flags;
    record[28..32].copy_from_slice(&both_u16(1));
    record[32] = name.len() as u8;
    record.extend_from_slice(name);
    record.resize(record.len().next_multiple_of(2), 0);
    record[0] = record.len() as u8;
    record
}

/// A number in both byte orders.
fn both_u32(number: u32) -> [u8; 8] {
    let mut both = [0; 8];
    both[..4].copy_from_slice(&number.to_le_bytes());
    both[4..].copy_from_slice(&number.to_be_bytes());
    both
}

fn both_u16(number: u16) -> [u8; 4] {
    let mut both = [0; 4];
    both[..2].copy_from_slice(&number.to_le_bytes());
    both[2..].copy_from_slice(&number.to_be_bytes());
    both
}

#[cfg(test)]
#[path = "iso_tests.rs"]
mod tests;
