//! Any text as VMCOREINFO: parsed or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ovmigrate::kernel::vmcoreinfo::VmcoreInfo;

fuzz_target!(|text: &[u8]| {
    if let Ok(info) = VmcoreInfo::parse(text) {
        assert!(info.release.len() <= 64);
        let _ = info.kaslr_offset;
    }
});
