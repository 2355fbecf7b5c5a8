use super::*;

fn entry(name: &str, size: u64) -> Entry<'_> {
    Entry { name, size }
}

fn le_u32(bytes: &[u8]) -> u64 {
    u64::from(u32::from_le_bytes(bytes[..4].try_into().unwrap()))
}

/// Reads the directory as Linux does: name, place in bytes and length of each
/// record, and whether another of the same file follows.
fn read(head: &[u8]) -> Vec<(String, u64, u64, bool)> {
    let descriptor = &head[(DESCRIPTOR * SECTOR) as usize..];
    assert_eq!(&descriptor[..7], b"\x01CD001\x01");
    let root = &descriptor[156..190];
    let (from, len) = (le_u32(&root[2..]) * SECTOR, le_u32(&root[10..]));
    let directory = &head[from as usize..(from + len) as usize];
    let (mut at, mut found) = (0, Vec::new());
    while at < directory.len() {
        let len = directory[at] as usize;
        if len == 0 {
            at = (at + 1).next_multiple_of(SECTOR as usize);
            continue;
        }
        assert!(at % SECTOR as usize + len <= SECTOR as usize, "a record lies in two sectors");
        let record = &directory[at..at + len];
        let name = &record[33..33 + record[32] as usize];
        let more = record[25] & FLAG_MULTI_EXTENT != 0;
        let name = String::from_utf8(name.to_vec()).unwrap();
        found.push((name, le_u32(&record[2..]) * SECTOR, le_u32(&record[10..]), more));
        at += len;
    }
    // The directory itself and its parent.
    assert_eq!(found[..2], ["\0", "\x01"].map(|name| (name.to_owned(), from, len, false)));
    found.split_off(2)
}

/// What lies at a place of the disk.
fn at(layout: &Layout, place: u64) -> (Source, u64) {
    let mut begin = 0;
    for piece in &layout.pieces {
        if place < begin + piece.len {
            return (piece.source, piece.offset + place - begin);
        }
        begin += piece.len;
    }
    panic!("{place} is behind the end");
}

#[test]
fn each_file_is_found_where_the_directory_says() {
    let files =
        [entry("a.img", 0), entry("b.img", 100), entry("pages-1.img", 1 << 20), entry("z", 5000)];
    let layout = Layout::of(&files).unwrap();
    let found = read(&layout.head);
    assert_eq!(found.len(), files.len());
    for (file, (record, entry)) in found.iter().zip(&files).enumerate() {
        assert_eq!((record.0.as_str(), record.2, record.3), (entry.name, entry.size, false));
        if entry.size > SMALL {
            assert_eq!(at(&layout, record.1), (Source::File(file), 0));
        } else {
            let copied = layout.copied.iter().find(|copied| copied.file == file).unwrap();
            assert_eq!((copied.from, copied.len), (0, entry.size));
            assert_eq!(at(&layout, record.1), (Source::Memory, copied.to));
        }
    }
}

#[test]
fn the_rest_of_a_file_that_fills_no_sector_is_copied() {
    let size = SMALL + SECTOR + 7;
    let layout = Layout::of(&[entry("odd", size), entry("next", 1 << 20)]).unwrap();
    let found = read(&layout.head);
    let whole = SMALL + SECTOR;
    assert_eq!(at(&layout, found[0].1 + whole - 1), (Source::File(0), whole - 1));
    let copied = Copied { file: 0, from: whole, len: 7, to: FENCE };
    assert_eq!(layout.copied, [copied]);
    assert_eq!(at(&layout, found[0].1 + whole), (Source::Memory, FENCE));
    assert_eq!(at(&layout, found[1].1), (Source::File(1), 0));
}

#[test]
fn a_file_of_more_than_4_gib_has_several_records() {
    let size = 2 * SECTION + SECTOR;
    let layout = Layout::of(&[entry("large", size), entry("last", 10)]).unwrap();
    let found = read(&layout.head);
    let sizes: Vec<_> = found.iter().map(|record| (record.2, record.3)).collect();
    assert_eq!(sizes, [(SECTION, true), (SECTION, true), (SECTOR, false), (10, false)]);
    assert_eq!(at(&layout, found[1].1), (Source::File(0), SECTION));
    assert_eq!(at(&layout, found[2].1), (Source::File(0), 2 * SECTION));
}

#[test]
fn nothing_of_a_file_is_near_the_ends_of_the_disk() {
    let layout = Layout::of(&[entry("small", 9), entry("large", SMALL + SECTOR)]).unwrap();
    let ours = |place| matches!(at(&layout, place).0, Source::Memory);
    assert!(layout.copied.iter().all(|copied| copied.to >= FENCE));
    assert!(layout.head.len() as u64 <= FENCE && ours(FENCE - 1));
    let last = layout.copied.iter().map(|copied| copied.to + SECTOR).max().unwrap();
    let end = layout.len();
    for place in [end - FENCE, end - 1] {
        let (source, offset) = at(&layout, place);
        assert!(source == Source::Memory && (last..layout.memory).contains(&offset));
    }
    assert_eq!(end % SECTOR, 0);
}

#[test]
fn many_files_fill_several_sectors_and_too_many_are_refused() {
    let names: Vec<String> = (0..1000).map(|number| format!("core-{number}.img")).collect();
    let files: Vec<_> = names.iter().map(|name| entry(name, 1)).collect();
    let found = read(&Layout::of(&files).unwrap().head);
    let found: Vec<_> = found.iter().map(|record| record.0.as_str()).collect();
    assert_eq!(found, names);
    let many = vec![entry("pagemap-shmem-1000000.img", 0); 200_000];
    assert!(Layout::of(&many).is_none());
    assert!(Layout::of(&[entry("huge", u64::MAX - 1)]).is_none());
    assert!(Layout::of(&[entry("large", 9 << 40)]).is_none());
}

#[test]
fn small_files_take_no_more_memory_than_there_is_for_them() {
    let small = |count| Layout::of(&vec![entry("a.img", SMALL); count]);
    let room = ((MOST_MEMORY - 2 * FENCE) / SMALL) as usize;
    assert_eq!(small(room).unwrap().memory, MOST_MEMORY);
    assert!(small(room + 1).is_none());
}
