//! Any blob as BTF, and any types behind a valid header: members are found or
//! not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ovmigrate::kernel::btf::Btf;

/// Names at the offsets 1, 3 and 5.
const STRINGS: &[u8] = b"\0s\0m\0n\0";

fuzz_target!(|bytes: &[u8]| {
    look_around(bytes);
    let mut blob = vec![0x9f, 0xeb, 1, 0];
    let len = bytes.len() as u32;
    for word in [24, 0, len, len, STRINGS.len() as u32] {
        blob.extend(word.to_le_bytes());
    }
    blob.extend(bytes);
    blob.extend(STRINGS);
    look_around(&blob);
});

fn look_around(blob: &[u8]) {
    let Ok(btf) = Btf::parse(blob) else { return };
    for id in btf.composites("s") {
        let _ = btf.size_of(id);
        let _ = btf.type_name(id);
        for path in ["m", "n", "m.n", "m.m.m.m"] {
            if let Some(found) = btf.member(id, path) {
                let bits =
                    found.bits.map_or(0, |bits| u64::from(bits.first) + u64::from(bits.count));
                assert!(bits <= found.size.saturating_mul(8));
            }
        }
    }
}
