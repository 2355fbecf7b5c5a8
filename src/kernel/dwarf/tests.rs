//! Structures that a compiler laid out, as it describes them in DWARF and in
//! BTF and as the compiled program finds them itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use goblin::elf::Elf;

use super::super::btf::Btf;
use super::super::profile::{ProfileMember, ProfileStruct};
use super::super::types::Types;
use super::*;

/// What kernels have: anonymous structures in unions, bit fields across
/// storage units, packed ones, typedefs of anonymous structures, arrays of two
/// dimensions, qualifiers, enumerations, flexible arrays.
const PROGRAM: &str = r#"
#include <stddef.h>
#include <stdio.h>
#include <string.h>

typedef struct { int counter; } atomic_t;
typedef unsigned int gfp_t;
enum plain { A, B, C };
enum negative { MINUS = -1, ZERO };
struct inner { char head; short numbers[3][2]; struct { long deep; }; };
struct packed { char first; unsigned int wide : 20; unsigned int rest : 12; } __attribute__((packed));
struct list { struct list *next; struct list **pprev; };
struct sample {
    volatile long state;
    const char *name;
    unsigned int one : 1, three : 3;
    int negative_bits : 5;
    unsigned int after_unit : 30;
    unsigned long long_bits : 40;
    union {
        struct { signed char a; unsigned short b; };
        unsigned long both;
        struct inner inner;
    };
    atomic_t usage;
    gfp_t flags;
    enum plain plain;
    enum negative sign;
    struct packed packed;
    struct list list[2];
    int (*call)(struct sample *);
    unsigned char _Alignas(64) aligned;
    unsigned int tail[];
};

union both { long l; int i; };

#define PLACE(s, t, m) printf("%s %s %zu %zu\n", s, #m, offsetof(t, m), sizeof(((t *)0)->m));
#define BITS(s, t, m) { t x; memset(&x, 0, sizeof x); x.m = -1; \
    printf("%s %s bits", s, #m); \
    for (size_t i = 0; i < sizeof x * 8; i++) \
        if (((unsigned char *)&x)[i / 8] >> (i % 8) & 1) printf(" %zu", i); \
    printf("\n"); }
struct sample global_sample; union both global_both; atomic_t global_atomic;

int main(void)
{
    printf("sizes %zu %zu %zu\n", sizeof(struct sample), sizeof(union both), sizeof(atomic_t));
    PLACE("sample", struct sample, state) PLACE("sample", struct sample, name)
    PLACE("sample", struct sample, a) PLACE("sample", struct sample, b)
    PLACE("sample", struct sample, both) PLACE("sample", struct sample, inner.numbers)
    PLACE("sample", struct sample, inner.deep) PLACE("sample", struct sample, usage)
    PLACE("sample", struct sample, usage.counter) PLACE("sample", struct sample, flags)
    PLACE("sample", struct sample, plain) PLACE("sample", struct sample, sign)
    PLACE("sample", struct sample, packed) PLACE("sample", struct sample, list)
    PLACE("sample", struct sample, call) PLACE("sample", struct sample, aligned)
    PLACE("both", union both, i) PLACE("atomic_t", atomic_t, counter)
    BITS("sample", struct sample, one) BITS("sample", struct sample, three)
    BITS("sample", struct sample, negative_bits) BITS("sample", struct sample, after_unit)
    BITS("sample", struct sample, long_bits) BITS("packed", struct packed, wide)
    BITS("packed", struct packed, rest)
}
"#;

const PATHS: &[&str] = &[
    "state",
    "name",
    "one",
    "three",
    "negative_bits",
    "after_unit",
    "long_bits",
    "a",
    "b",
    "both",
    "inner",
    "inner.head",
    "inner.numbers",
    "inner.deep",
    "usage",
    "usage.counter",
    "flags",
    "plain",
    "sign",
    "packed",
    "packed.wide",
    "packed.rest",
    "list",
    "list.pprev",
    "call",
    "aligned",
    "tail",
    "i",
    "l",
    "counter",
    "wide",
    "rest",
    "first",
    "head",
    "numbers",
    "deep",
    "absent",
    "inner.absent",
    "A",
    "B",
    "C",
];
const NAMES: [&str; 6] = ["sample", "both", "atomic_t", "packed", "inner", "plain"];

/// Compiles the program.
fn compile(folder: &Path, name: &str, options: &[&str]) -> std::path::PathBuf {
    let (source, program) = (folder.join("program.c"), folder.join(name));
    fs::write(&source, PROGRAM).unwrap();
    let output = Command::new("gcc").args(options).arg("-o").args([&program, &source]).output();
    let output = output.expect("gcc is installed");
    assert!(output.status.success(), "gcc {options:?}: {output:?}");
    program
}

fn section<'a>(elf: &Elf<'_>, bytes: &'a [u8], name: &str) -> &'a [u8] {
    let named = elf
        .section_headers
        .iter()
        .find(|section| elf.shdr_strtab.get_at(section.sh_name) == Some(name));
    named.and_then(|section| bytes.get(section.file_range()?)).unwrap_or_default()
}

fn with_dwarf<T>(options: &[&str], look: impl FnOnce(&Dwarf<'_>) -> T) -> T {
    let scratch = tempfile::tempdir().unwrap();
    let bytes = fs::read(compile(scratch.path(), "dwarf", options)).unwrap();
    let elf = Elf::parse(&bytes).unwrap();
    let sections = DwarfSections::load(|id| -> gimli::Result<_> {
        Ok(Cow::Borrowed(section(&elf, &bytes, id.name())))
    });
    look(&Dwarf::index(&sections.unwrap()).unwrap())
}

/// The one structure of this name, without the names of types: tools write
/// dimensions and integers in their own ways.
fn layout_of(types: &dyn Types, name: &str) -> ProfileStruct {
    let mut layouts = types.layouts(name, PATHS);
    let mut layout = layouts.pop().unwrap_or_else(|| panic!("no {name}"));
    assert!(layouts.is_empty(), "several {name}");
    for member in layout.members.values_mut() {
        member.type_name.clear();
    }
    layout
}

#[test]
fn dwarf_of_every_version_tells_what_btf_tells() {
    let scratch = tempfile::tempdir().unwrap();
    let bytes = fs::read(compile(scratch.path(), "btf", &["-gbtf", "-c"])).unwrap();
    let elf = Elf::parse(&bytes).unwrap();
    let btf = Btf::parse(section(&elf, &bytes, ".BTF")).unwrap();
    for version in ["-gdwarf-5", "-gdwarf-4", "-gdwarf-3"] {
        with_dwarf(&[version], |dwarf| {
            for name in NAMES {
                let mut layouts = [layout_of(dwarf, name), layout_of(&btf, name)];
                // gcc 12 marks no enumeration as signed.
                layouts.iter_mut().for_each(|layout| drop(layout.members.remove("sign")));
                assert!(!layouts[0].members.is_empty(), "{name}");
                assert_eq!(layouts[0], layouts[1], "{version} {name}");
            }
        });
    }
}

#[test]
fn dwarf_tells_what_the_program_finds() {
    let scratch = tempfile::tempdir().unwrap();
    let program = compile(scratch.path(), "program", &["-g"]);
    let output = Command::new(program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    with_dwarf(&["-g"], |dwarf| {
        let layouts: BTreeMap<_, _> =
            NAMES.iter().map(|name| (*name, layout_of(dwarf, name))).collect();
        let mut lines = text.lines();
        let sizes = ["sample", "both", "atomic_t"].map(|name| layouts[name].size.to_string());
        assert_eq!(lines.next().unwrap(), format!("sizes {}", sizes.join(" ")));
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let member = &layouts[words[0]].members[words[1]];
            let (what, found) = words[2..].split_first().unwrap();
            if *what == "bits" {
                let bits: Vec<u64> = found.iter().map(|bit| bit.parse().unwrap()).collect();
                assert_eq!(bits_of(member), bits, "{line}");
            } else {
                assert_eq!(format!("{} {}", member.offset, member.size), words[2..].join(" "));
                assert_eq!(member.bits, None, "{line}");
            }
        }
        let signed = |path: &str| layouts["sample"].members[path].signed;
        assert!(["state", "a", "negative_bits", "usage.counter", "sign"].iter().all(|p| signed(p)));
        assert!(!["b", "flags", "plain", "one", "name"].iter().any(|path| signed(path)));
        assert!(!layouts["sample"].members.contains_key("absent"));
        // Constants lie at their values.
        assert_eq!(["A", "B", "C"].map(|path| layouts["plain"].members[path].offset), [0, 1, 2]);
    });
}

fn bits_of(member: &ProfileMember) -> Vec<u64> {
    let bits = member.bits.expect("a bit field");
    let first = member.offset * 8 + u64::from(bits.first);
    (first..first + u64::from(bits.count)).collect()
}

#[test]
fn types_are_named_as_c_writes_them() {
    with_dwarf(&["-g"], |dwarf| {
        let layout = dwarf.layouts("sample", PATHS).pop().unwrap();
        let name_of = |path: &str| layout.members[path].type_name.as_str();
        for (path, name) in [
            ("name", "const char *"),
            ("state", "volatile long int"),
            ("usage", "atomic_t"),
            ("list.pprev", "struct list **"),
            ("call", "function *"),
            ("plain", "enum plain"),
        ] {
            assert_eq!(name_of(path), name);
        }
    });
}

#[test]
fn a_program_without_debug_information_has_no_types() {
    with_dwarf(&["-g0"], |dwarf| assert!(dwarf.is_empty()));
}
