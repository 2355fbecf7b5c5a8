//! On answers recorded from QEMU 7.2, shortened by lines of no interest.

use super::*;

/// `-machine q35,memory-backend=mem -m 6G`, with a VGA card. A view of system
/// management mode follows, in which RAM lies under the video window.
const Q35_6G: &str = r#"FlatView #0
 AS "memory", root: system
 AS "cpu-memory-0", root: system
 Root memory region: system
  0000000000000000-000000000009ffff (prio 0, ram): mem
  00000000000a0000-00000000000bffff (prio 1, i/o): vga-lowmem
  00000000000c0000-00000000000c9fff (prio 0, rom): mem @00000000000c0000
  00000000000ca000-00000000000ccfff (prio 0, ram): mem @00000000000ca000
  00000000000cd000-00000000000e7fff (prio 0, rom): mem @00000000000cd000
  00000000000e8000-00000000000effff (prio 0, ram): mem @00000000000e8000
  00000000000f0000-00000000000fffff (prio 0, rom): mem @00000000000f0000
  0000000000100000-000000007fffffff (prio 0, ram): mem @0000000000100000
  00000000b0000000-00000000bfffffff (prio 0, i/o): pcie-mmcfg-mmio
  00000000fd000000-00000000fdffffff (prio 1, ram): vga.vram
  00000000fee00000-00000000feefffff (prio 4096, i/o): apic-msi
  00000000fffc0000-00000000ffffffff (prio 0, rom): pc.bios
  0000000100000000-00000001ffffffff (prio 0, ram): mem @0000000080000000

FlatView #1
 AS "cpu-smm-1", root: memory
 Root memory region: memory
  0000000000000000-00000000000bffff (prio 0, ram): mem
"#;

/// `-machine pc -m 4G`, two NUMA backends and a plugged `pc-dimm`.
const PC_NUMA: &str = r#"FlatView #1
 AS "I/O", root: io
 Root memory region: io
  0000000000000000-0000000000000007 (prio 0, i/o): dma-chan

FlatView #2
 AS "memory", root: system
 Root memory region: system
  0000000000000000-00000000000c2fff (prio 0, ram): m0
  00000000000c3000-00000000000e7fff (prio 0, rom): m0 @00000000000c3000
  00000000000e8000-00000000000effff (prio 0, ram): m0 @00000000000e8000
  00000000000f0000-00000000000fffff (prio 0, rom): m0 @00000000000f0000
  0000000000100000-000000007fffffff (prio 0, ram): m0 @0000000000100000
  0000000080000000-00000000bfffffff (prio 0, ram): m1
  00000000fffc0000-00000000ffffffff (prio 0, rom): pc.bios
  0000000100000000-000000013fffffff (prio 0, ram): m1 @0000000040000000
  0000000140000000-000000017fffffff (prio 0, ram): m2
"#;

fn ram(tree: &str, backends: &[&str]) -> Vec<(u64, u64)> {
    let backends: Vec<String> = backends.iter().map(|&id| id.to_owned()).collect();
    join(flat_ram(tree, &backends)).iter().map(|range| (range.guest_phys, range.len)).collect()
}

#[test]
fn ram_is_found_without_firmware_and_video_memory() {
    let expected = [
        (0, 0xa_0000),
        (0xc_a000, 0x3000),
        (0xe_8000, 0x8000),
        (0x10_0000, 0x7ff0_0000),
        (0x1_0000_0000, 0x1_0000_0000),
    ];
    assert_eq!(ram(Q35_6G, &["mem"]), expected);
}

#[test]
fn several_backends_stay_apart() {
    let expected = [
        (0, 0xc_3000),
        (0xe_8000, 0x8000),
        (0x10_0000, 0x7ff0_0000),
        (0x8000_0000, 0x4000_0000),
        (0x1_0000_0000, 0x4000_0000),
        (0x1_4000_0000, 0x4000_0000),
    ];
    assert_eq!(ram(PC_NUMA, &["m1", "m2", "m0"]), expected);
}

#[test]
fn machine_types_before_4_1_call_regions_by_path_and_kvm_adds_its_name() {
    let tree = " AS \"memory\", root: system\n  0000000000000000-0000000000000fff (prio 0, ram): /objects/mem @0000000000002000 KVM\n";
    assert_eq!(ram(tree, &["mem"]), [(0, 0x1000)]);
    assert_eq!(ram(tree, &["other"]), []);
}

#[test]
fn neighbours_are_joined_only_where_both_sides_continue() {
    let range =
        |guest_phys, len, offset| FlatRange { guest_phys, len, region: "mem".into(), offset };
    let joined = join(vec![
        range(0x3000, 0x1000, 0),
        range(0x1000, 0x1000, 0x1000),
        range(0, 0x1000, 0),
        range(0x2000, 0x1000, 0x2000),
    ]);
    assert_eq!(joined, [range(0, 0x3000, 0), range(0x3000, 0x1000, 0)]);
}

#[test]
fn broken_lines_are_no_ranges() {
    for line in [
        "",
        "0-1",
        "  0000-0fff (prio 0, ram",
        "  1000-0fff (prio 0, ram): mem",
        "  0000-ffffffffffffffff (prio 0, ram): mem",
        "  0000-0fff (prio 0, ram): mem @zz",
        "  0000-0fff (prio 0, ram): ",
    ] {
        assert_eq!(parse_range(line), None, "{line:?}");
    }
}

#[test]
fn gpa2hva_tells_an_address_or_a_reason() {
    let answer = "Host virtual address for 0x3fffffff (mem) is 0x7fac47ffefff\r\n";
    assert_eq!(parse_gpa2hva(answer), Some(0x7fac_47ff_efff));
    assert_eq!(parse_gpa2hva("Memory at address 0xa0000 is not RAM\r\n"), None);
    assert_eq!(parse_gpa2hva("No memory is mapped at address 0x7fffffffff\r\n"), None);
}

fn maps(lines: &[&str]) -> Vec<Mapping> {
    lines.iter().filter_map(|line| Mapping::parse(line)).collect()
}

#[test]
fn a_shared_file_is_found_with_the_offset_of_the_block() {
    let maps = maps(&[
        "55d0c0000000-55d0c0100000 r-xp 00000000 fe:01 77 /usr/bin/qemu-system-x86_64",
        "7f97fbfff000-7f987bfff000 rw-s 00000000 00:01 1028 /memfd:memory-backend-memfd (deleted)",
        "7f987bfff000-7f997bfff000 rw-s 80000000 00:01 1028 /memfd:memory-backend-memfd (deleted)",
        "7f997bfff000-7f997c000000 rw-p 00000000 00:00 0",
    ]);
    let extent = file_extent(&maps, 0x7f98_fbff_f000, 0x8000_0000).unwrap();
    assert_eq!((extent.offset, extent.inode), (0x1_0000_0000, 1028));
    let across = file_extent(&maps, 0x7f97_fbff_f000, 0x1_8000_0000).unwrap();
    assert_eq!(across.offset, 0);
    assert_eq!(file_extent(&maps, 0x7f97_fbff_f000, 0x1_8000_1000), None, "leaves the file");
}

#[test]
fn anonymous_memory_and_torn_mappings_have_no_file() {
    let private = ["7f00-8f00 rw-p 00000000 00:00 0", "8f00-9f00 rw-p 00000000 00:01 9 /memfd:x"];
    assert_eq!(file_extent(&maps(&private), 0x7f00, 0x1000), None);
    let file = file_extent(&maps(&private), 0x8f00, 0x1000).unwrap();
    assert!(file.inode == 9 && !file.shared);
    let mixed = ["1000-2000 rw-s 00000000 00:01 9 /a", "2000-3000 rw-p 00001000 00:01 9 /a"];
    assert_eq!(file_extent(&maps(&mixed), 0x1000, 0x2000), None, "shared and private");
    let torn = ["1000-2000 rw-s 00000000 00:01 9 /a", "2000-3000 rw-s 00000000 00:01 9 /a"];
    assert_eq!(file_extent(&maps(&torn), 0x1000, 0x2000), None, "offsets do not continue");
    let hole = ["1000-2000 rw-s 00000000 00:01 9 /a", "3000-4000 rw-s 00002000 00:01 9 /a"];
    assert_eq!(file_extent(&maps(&hole), 0x1000, 0x3000), None);
    assert_eq!(file_extent(&[], 0x1000, 0x1000), None);
}
