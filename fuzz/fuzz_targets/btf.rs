//! Any blob as BTF: members are found in it or not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ovmigrate::kernel::btf::Btf;

fuzz_target!(|input: (&str, &str, &[u8])| {
    let (structure, path, blob) = input;
    let Ok(btf) = Btf::parse(blob) else { return };
    for id in btf.composites(structure) {
        let _ = btf.size_of(id);
        let _ = btf.type_name(id);
        if let Some(found) = btf.member(id, path) {
            let bits = found.bits.map_or(0, |bits| u64::from(bits.first) + u64::from(bits.count));
            assert!(bits <= found.size * 8);
        }
    }
});
