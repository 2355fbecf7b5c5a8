//! Types made by hand, as pahole encodes them.

use proptest::prelude::*;

use super::*;

/// Assembles BTF.
pub(in crate::kernel) struct Builder {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

impl Builder {
    pub(in crate::kernel) fn new() -> Self {
        Self { types: Vec::new(), strings: vec![0], count: 0 }
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend(name.bytes());
        self.strings.push(0);
        at
    }

    fn add(&mut self, name: &str, info: u32, payload: u32, entries: &[u32]) -> u32 {
        let name = self.name(name);
        for word in [name, info, payload].iter().chain(entries) {
            self.types.extend(word.to_le_bytes());
        }
        self.count += 1;
        self.count
    }

    pub(in crate::kernel) fn int(&mut self, name: &str, size: u32, encoding: u32) -> u32 {
        self.add(name, u32::from(kind::INT) << 24, size, &[(encoding << 24) | (size * 8)])
    }

    fn reference(&mut self, kind: u8, name: &str, to: u32) -> u32 {
        self.add(name, u32::from(kind) << 24, to, &[])
    }

    pub(in crate::kernel) fn array(&mut self, element: u32, count: u32) -> u32 {
        self.add("", u32::from(kind::ARRAY) << 24, 0, &[element, 1, count])
    }

    /// Members are (name, type, bit offset, bit width).
    pub(in crate::kernel) fn composite(
        &mut self,
        kind: u8,
        name: &str,
        size: u32,
        members: &[(&str, u32, u32, u32)],
    ) -> u32 {
        let flag = members.iter().any(|member| member.3 > 0);
        let mut entries = Vec::new();
        for (name, of, bit, width) in members {
            entries.extend([self.name(name), *of, bit | (width << 24)]);
        }
        let info = (u32::from(flag) << 31) | (u32::from(kind) << 24) | members.len() as u32;
        self.add(name, info, size, &entries)
    }

    /// With a header of `header` bytes.
    pub(in crate::kernel) fn finish(self, header: u32) -> Vec<u8> {
        let mut blob = Vec::new();
        blob.extend(MAGIC.to_le_bytes());
        blob.extend([VERSION, 0]);
        let types = self.types.len() as u32;
        for word in [header, 0, types, types, self.strings.len() as u32] {
            blob.extend(word.to_le_bytes());
        }
        blob.resize(header as usize, 0xee);
        blob.extend(self.types);
        blob.extend(self.strings);
        blob
    }
}

fn sample() -> Vec<u8> {
    let mut btf = Builder::new();
    let int = btf.int("int", 4, 1);
    let uint = btf.int("unsigned int", 4, 0);
    let pid_t = btf.reference(kind::TYPEDEF, "pid_t", int);
    let upid = btf.composite(kind::STRUCT, "upid", 16, &[("nr", int, 0, 0), ("ns", int, 64, 0)]);
    let numbers = btf.array(upid, 3);
    let inner = btf.composite(kind::UNION, "", 8, &[("tgid", pid_t, 0, 0), ("raw", uint, 0, 0)]);
    let qualified = btf.reference(kind::CONST, "", inner);
    btf.composite(
        kind::STRUCT,
        "task",
        80,
        &[
            ("state", uint, 0, 0),
            ("low", uint, 32, 3),
            ("high", int, 35, 29),
            ("", qualified, 64, 0),
            ("numbers", numbers, 128, 0),
        ],
    );
    let anonymous = btf.composite(kind::STRUCT, "", 4, &[("counter", int, 0, 0)]);
    btf.reference(kind::TYPEDEF, "atomic_t", anonymous);
    let pointer = btf.reference(kind::PTR, "", upid);
    let pointers = btf.array(pointer, 2);
    let table = btf.array(pointers, 5);
    btf.composite(kind::STRUCT, "console", 8, &[("a", int, 0, 0)]);
    btf.composite(kind::STRUCT, "console", 96, &[("b", int, 32, 0), ("table", table, 64, 0)]);
    btf.finish(24)
}

/// Offset, size, first bit and width, whether signed, type.
type Found = (u64, u64, Option<(u8, u8)>, bool, String);

fn member(blob: &[u8], of: &str, path: &str) -> Option<Found> {
    let btf = Btf::parse(blob).unwrap();
    let id = *btf.composites(of).last()?;
    let found = btf.member(id, path)?;
    let bits = found.bits.map(|bits| (bits.first, bits.count));
    Some((found.offset, found.size, bits, found.signed, found.type_name))
}

#[test]
fn members_are_found_where_the_compiler_put_them() {
    let blob = sample();
    let uint = "unsigned int".to_owned();
    assert_eq!(member(&blob, "task", "state"), Some((0, 4, None, false, uint.clone())));
    assert_eq!(member(&blob, "task", "low"), Some((4, 4, Some((0, 3)), false, uint.clone())));
    assert_eq!(member(&blob, "task", "high"), Some((4, 4, Some((3, 29)), true, "int".to_owned())));
    assert_eq!(member(&blob, "task", "tgid"), Some((8, 4, None, true, "pid_t".to_owned())));
    assert_eq!(member(&blob, "task", "raw"), Some((8, 4, None, false, uint)));
    let numbers = "struct upid[3]".to_owned();
    assert_eq!(member(&blob, "task", "numbers"), Some((16, 48, None, false, numbers)));
    assert_eq!(member(&blob, "task", "numbers.ns"), Some((24, 4, None, true, "int".to_owned())));
    assert_eq!(member(&blob, "atomic_t", "counter"), Some((0, 4, None, true, "int".to_owned())));
    let table = "struct upid *[5][2]".to_owned();
    assert_eq!(member(&blob, "console", "table"), Some((8, 80, None, false, table)));
    assert_eq!(member(&blob, "console", "table.nr"), None, "pointers are not followed");
}

#[test]
fn what_is_not_there_is_not_found() {
    let blob = sample();
    for (of, path) in
        [("task", "pid"), ("task", "state.x"), ("task", ""), ("pid_t", "x"), ("none", "x")]
    {
        assert_eq!(member(&blob, of, path), None, "{of}.{path}");
    }
}

#[test]
fn a_name_may_have_several_structures() {
    let blob = sample();
    let btf = Btf::parse(&blob).unwrap();
    let sizes: Vec<_> =
        btf.composites("console").into_iter().map(|id| btf.size_of(id).unwrap()).collect();
    assert_eq!(sizes, [8, 96]);
}

#[test]
fn a_longer_header_is_skipped() {
    let mut btf = Builder::new();
    let int = btf.int("int", 4, 1);
    btf.composite(kind::STRUCT, "list_head", 8, &[("next", int, 32, 0)]);
    let blob = btf.finish(40);
    assert_eq!(member(&blob, "list_head", "next"), Some((4, 4, None, true, "int".to_owned())));
}

#[test]
fn a_bit_field_that_no_unit_holds_alone_starts_at_its_byte() {
    assert_eq!(bits_of(30, 4, 4), Some((3, 2, 6, 4)));
    assert_eq!(bits_of(33, 1, 4), Some((4, 4, 1, 1)));
    assert_eq!(bits_of(9, 63, 8), Some((1, 8, 1, 63)));
}

fn bits_of(bit: u32, width: u32, size: u32) -> Option<(u64, u64, u8, u8)> {
    let mut btf = Builder::new();
    let int = btf.int("int", size, 0);
    btf.composite(kind::STRUCT, "packed", 64, &[("field", int, bit, width)]);
    let (offset, size, bits, ..) = member(&btf.finish(24), "packed", "field")?;
    bits.map(|(first, count)| (offset, size, first, count))
}

#[test]
fn circles_end() {
    let mut btf = Builder::new();
    // 1: an anonymous structure that has itself as its members, many times.
    let members: Vec<_> = (0..40).map(|_| ("", 1, 0, 0)).collect();
    btf.composite(kind::STRUCT, "", 8, &members);
    btf.composite(
        kind::STRUCT,
        "circle",
        8,
        &[("", 1, 0, 0), ("array", 4, 0, 0), ("alias", 5, 0, 0)],
    );
    // 3 and 4: arrays of each other; 5 and 6: typedefs of each other.
    btf.array(4, u32::MAX);
    btf.array(3, u32::MAX);
    btf.reference(kind::TYPEDEF, "a", 6);
    btf.reference(kind::TYPEDEF, "b", 5);
    btf.reference(kind::PTR, "", 7);
    let blob = btf.finish(24);
    assert_eq!(member(&blob, "circle", "absent"), None);
    assert_eq!(member(&blob, "circle", "array"), None);
    assert_eq!(member(&blob, "circle", "alias"), None);
    assert!(Btf::parse(&blob).unwrap().type_name(TypeId(7)).ends_with("*"));
    assert!(Btf::parse(&blob).unwrap().composites("a").is_empty());
}

#[test]
fn an_unknown_kind_is_an_error() {
    let mut btf = Builder::new();
    btf.add("", 30 << 24, 0, &[]);
    assert!(matches!(Btf::parse(&btf.finish(24)), Err(KernelError::Btf(_))));
}

proptest! {
    #[test]
    fn spoilt_types_are_read_or_refused(
        spoilt in proptest::collection::vec(any::<(prop::sample::Index, u8)>(), 1..12),
    ) {
        let mut blob = sample();
        for (at, byte) in spoilt {
            let at = at.index(blob.len());
            blob[at] = byte;
        }
        if let Ok(btf) = Btf::parse(&blob) {
            for name in ["task", "upid", "atomic_t", "console", "pid_t"] {
                for id in btf.composites(name) {
                    for path in ["state", "low", "tgid", "numbers.ns", "counter", "table", "nr"] {
                        if let Some(found) = btf.member(id, path) {
                            let bits = found.bits.map_or(0, |bits| bits.first + bits.count);
                            prop_assert!(u64::from(bits) <= found.size.saturating_mul(8));
                        }
                    }
                }
            }
        }
    }
}
