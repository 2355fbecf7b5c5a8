//! Tables made by hand in each layout, as `scripts/kallsyms.c` would order them.

use proptest::prelude::*;

use super::*;

/// Where the images that are made here start.
pub(in crate::kernel) const START: u64 = 0xffff_ffff_8a00_0000;
const COUNT: usize = 600;

/// How a kernel release lays its tables out.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel) struct Layout {
    /// Addresses before the names (5.10, 6.1) or behind the tokens.
    offsets_first: bool,
    align: usize,
    /// `kallsyms_seqs_of_names` between markers and tokens (6.1).
    seqs_before_tokens: bool,
    coding: fn(table: u64) -> Coding,
}

pub(in crate::kernel) const LAYOUTS: [Layout; 5] = [
    // 5.10
    Layout { offsets_first: true, align: 8, seqs_before_tokens: false, coding: per_cpu },
    // 6.1
    Layout { offsets_first: true, align: 8, seqs_before_tokens: true, coding: per_cpu },
    // 6.12
    Layout { offsets_first: false, align: 8, seqs_before_tokens: false, coding: per_cpu },
    // 6.16, whose per-CPU symbols are image addresses
    Layout { offsets_first: false, align: 8, seqs_before_tokens: false, coding: from_base },
    // 7.2
    Layout { offsets_first: false, align: 4, seqs_before_tokens: false, coding: from_entry },
];

fn per_cpu(_: u64) -> Coding {
    Coding::AbsolutePerCpu { base: START }
}

fn from_base(_: u64) -> Coding {
    Coding::FromBase { base: START }
}

fn from_entry(table: u64) -> Coding {
    Coding::FromEntry { table }
}

fn symbols(coding: Coding) -> Vec<(u64, String)> {
    let mut symbols = vec![(START, "T_stext".to_owned())];
    if let Coding::AbsolutePerCpu { .. } = coding {
        symbols.insert(0, (0x1fb80, "Acpu_info".to_owned()));
    }
    let long = "x".repeat(200);
    for number in symbols.len() as u64..COUNT as u64 {
        let tail = if number == 300 { long.as_str() } else { "" };
        symbols.push((START + number * 0x40, format!("dsymbol_{number}{tail}")));
    }
    symbols
}

/// Writes tables into an image, and tells where they are.
struct Builder {
    bytes: Vec<u8>,
    align: usize,
}

impl Builder {
    fn place(&mut self, bytes: &[u8]) -> GuestVirt {
        self.bytes.resize(self.bytes.len().next_multiple_of(self.align), 0);
        let addr = GuestVirt::new(START + self.bytes.len() as u64);
        self.bytes.extend(bytes);
        addr
    }

    fn next(&self) -> u64 {
        START + self.bytes.len().next_multiple_of(self.align) as u64
    }

    fn offsets(&mut self, symbols: &[(u64, String)], coding: Coding) -> GuestVirt {
        let raw = symbols.iter().enumerate().flat_map(|(index, (addr, _))| {
            let raw = match coding {
                Coding::AbsolutePerCpu { .. } if *addr < START => *addr,
                Coding::AbsolutePerCpu { base } => (base - 1).wrapping_sub(*addr),
                Coding::FromBase { base } => addr - base,
                Coding::FromEntry { table } => addr.wrapping_sub(table + index as u64 * 4),
            };
            (raw as u32).to_le_bytes()
        });
        self.place(&raw.collect::<Vec<_>>())
    }
}

/// Token texts: a character stands for itself, and 0x80 for `symbol_`.
fn tokens() -> (Vec<u8>, Vec<u8>) {
    let (mut table, mut index) = (Vec::new(), Vec::new());
    for token in 0..=255u8 {
        index.extend((table.len() as u16).to_le_bytes());
        match token {
            0x80 => table.extend(b"symbol_"),
            _ if token.is_ascii_graphic() => table.push(token),
            _ => table.extend(format!("t{token}").bytes()),
        }
        table.push(0);
    }
    (table, index)
}

fn build(layout: Layout) -> (ImageCopy, TableAddresses, Vec<(u64, String)>) {
    let symbols = symbols((layout.coding)(0));
    let (bytes, tables) = image(layout, &symbols);
    (ImageCopy::new(GuestVirt::new(START), bytes), tables, symbols)
}

/// An image that begins with code and holds the tables of `symbols`.
pub(in crate::kernel) fn image(
    layout: Layout,
    symbols: &[(u64, String)],
) -> (Vec<u8>, TableAddresses) {
    let mut image = Builder { bytes: vec![0x90; 0x1003], align: layout.align };
    let (mut names, mut markers) = (Vec::new(), Vec::new());
    for (number, (_, name)) in symbols.iter().enumerate() {
        if number % 256 == 0 {
            markers.extend((names.len() as u32).to_le_bytes());
        }
        let packed: Vec<u8> = match name.split_once("symbol_") {
            Some((kind, rest)) => [kind.as_bytes(), &[0x80], rest.as_bytes()].concat(),
            None => name.as_bytes().to_vec(),
        };
        if packed.len() >= 0x80 {
            names.push(packed.len() as u8 & 0x7f | 0x80);
            names.push((packed.len() >> 7) as u8);
        } else {
            names.push(packed.len() as u8);
        }
        names.extend(packed);
    }
    let base_of = |coding| match coding {
        Coding::AbsolutePerCpu { base } | Coding::FromBase { base } => Some(base),
        Coding::FromEntry { .. } => None,
    };
    let (mut offsets, mut relative_base) = (GuestVirt::NULL, None);
    let mut place_offsets = |image: &mut Builder| {
        let coding = (layout.coding)(image.next());
        offsets = image.offsets(symbols, coding);
        relative_base = base_of(coding).map(|base| image.place(&base.to_le_bytes()));
    };
    if layout.offsets_first {
        place_offsets(&mut image);
    }
    let num_syms = image.place(&(symbols.len() as u32).to_le_bytes());
    let names = image.place(&names);
    image.place(&markers);
    if layout.seqs_before_tokens {
        image.place(&vec![0xa5; symbols.len() * 3]);
    }
    let (table, index) = tokens();
    let token_table = image.place(&table);
    let token_index = image.place(&index);
    if !layout.offsets_first {
        place_offsets(&mut image);
        image.place(&vec![0xa5; symbols.len() * 3]);
    }
    image.place(&[0; 64]);
    let tables =
        TableAddresses { num_syms, names, token_table, token_index, offsets, relative_base };
    (image.bytes, tables)
}

fn decode(symbols: &Kallsyms<'_>) -> Vec<(u64, String)> {
    let mut all = Vec::new();
    let _ = symbols.visit(|symbol| {
        all.push((symbol.addr.get(), format!("{}{}", char::from(symbol.kind), symbol.name)));
        ControlFlow::<()>::Continue(())
    });
    all
}

#[test]
fn tables_are_read_where_they_are_told_to_be() {
    for layout in LAYOUTS {
        let (image, tables, expected) = build(layout);
        let symbols = Kallsyms::open(&image, &tables).unwrap();
        assert_eq!(decode(&symbols), expected, "{layout:?}");
    }
}

#[test]
fn tables_are_found_in_every_layout() {
    for layout in LAYOUTS {
        let (image, _, expected) = build(layout);
        let symbols = Kallsyms::search(&image).unwrap();
        assert_eq!(decode(&symbols), expected, "{layout:?}");
    }
}

#[test]
fn tables_of_another_kernel_are_refused() {
    let (image, tables, _) = build(LAYOUTS[0]);
    let mut moved = image.bytes().to_vec();
    let base = tables.relative_base.unwrap().get() - START;
    moved[base as usize + 2] ^= 0x20;
    let moved = ImageCopy::new(image.start(), moved);
    assert!(matches!(Kallsyms::open(&moved, &tables), Err(KernelError::Kallsyms(_))));
    assert!(Kallsyms::search(&moved).is_err());
}

#[test]
fn an_image_of_nothing_but_digits_ends() {
    let digits = b"0\x001\x002\x003\x004\x005\x006\x007\x008\x009\0".repeat(50_000);
    let image = ImageCopy::new(GuestVirt::new(START), digits);
    assert!(Kallsyms::search(&image).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn spoilt_tables_are_read_or_refused(
        layout in 0..LAYOUTS.len(),
        spoilt in proptest::collection::vec(any::<(prop::sample::Index, u8)>(), 1..20),
    ) {
        let (image, tables, expected) = build(LAYOUTS[layout]);
        let mut bytes = image.bytes().to_vec();
        for (at, byte) in spoilt {
            // The tables, not the code in front of them.
            let at = 0x1003 + at.index(bytes.len() - 0x1003);
            bytes[at] = byte;
        }
        let image = ImageCopy::new(image.start(), bytes);
        let read = [Kallsyms::open(&image, &tables), Kallsyms::search(&image)];
        for symbols in read.into_iter().flatten() {
            prop_assert!(decode(&symbols).len() <= symbols.len());
            prop_assert!(symbols.len() <= expected.len().max(image.bytes().len() / 4));
        }
    }
}
