//! Any records as a set of images: it is decoded and passes the check, or is
//! refused.
#![no_main]

use std::collections::BTreeMap;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use ovmigrate::criu::{CheckOptions, ImageKind, check, pages_file_name};

/// Whose images are in the set.
const PID: u32 = 1;

/// A set that has all images of one process. Magic numbers and sizes, which
/// chance does not hit, are right; what `tail` holds comes after the records of
/// the image that it names.
#[derive(Arbitrary, Debug)]
struct Input {
    inventory: Vec<u8>,
    pstree: Vec<Vec<u8>>,
    ids: Vec<u8>,
    core: Vec<u8>,
    mm: Vec<u8>,
    pagemap: Vec<Vec<u8>>,
    files: Vec<Vec<u8>>,
    fdinfo: Vec<Vec<u8>>,
    fs: Vec<u8>,
    seccomp: Option<Vec<u8>>,
    timens: Option<Vec<u8>>,
    pages: Vec<u8>,
    tail: (u8, Vec<u8>),
}

fuzz_target!(|input: Input| {
    let one = |record: Vec<u8>| vec![record];
    let images = [
        (ImageKind::Inventory, 0, one(input.inventory)),
        (ImageKind::Pstree, 0, input.pstree),
        (ImageKind::Ids, PID, one(input.ids)),
        (ImageKind::Core, PID, one(input.core)),
        (ImageKind::Mm, PID, one(input.mm)),
        (ImageKind::Pagemap, PID, input.pagemap),
        (ImageKind::Files, 0, input.files),
        (ImageKind::Fdinfo, 1, input.fdinfo),
        (ImageKind::Fs, PID, one(input.fs)),
        (ImageKind::Seccomp, 0, input.seccomp.into_iter().collect()),
        (ImageKind::Timens, 0, input.timens.into_iter().collect()),
    ];
    let (tailed, tail) = input.tail;
    let mut set = BTreeMap::from([(pages_file_name(1), input.pages)]);
    for (number, (kind, id, records)) in images.into_iter().enumerate() {
        let mut image = header(kind);
        for record in records {
            image.extend((record.len() as u32).to_le_bytes());
            image.extend(record);
        }
        if number == usize::from(tailed) {
            image.extend(&tail);
        }
        set.insert(kind.file_name(id), image);
    }
    for shell_job in [false, true] {
        let _ = check(&set, CheckOptions { shell_job });
    }
});

fn header(kind: ImageKind) -> Vec<u8> {
    let common = (kind != ImageKind::Inventory).then_some(0x5456_4319_u32);
    common.into_iter().chain([kind.magic()]).flat_map(u32::to_le_bytes).collect()
}
