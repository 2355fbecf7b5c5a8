//! Any image and any addresses in it: the symbol tables are read or refused.
#![no_main]

use std::ops::ControlFlow;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use ovmigrate::kernel::ImageCopy;
use ovmigrate::kernel::kallsyms::{Kallsyms, TableAddresses};
use ovmigrate::memory::GuestVirt;

const START: u64 = 0xffff_ffff_8100_0000;

#[derive(Arbitrary, Debug)]
struct Input {
    /// Of the tables, from the start of the image.
    places: [u16; 5],
    relative_base: Option<u16>,
    /// Puts a token table and its index, which chance does not hit, behind the
    /// image's other bytes, so that the search gets past them.
    with_tokens: bool,
    bytes: Vec<u8>,
}

fuzz_target!(|input: Input| {
    let Input { places, relative_base, with_tokens, mut bytes } = input;
    if with_tokens {
        append_tokens(&mut bytes);
    }
    let image = ImageCopy::new(GuestVirt::new(START), bytes);
    let at = |place: u16| GuestVirt::new(START + u64::from(place));
    let [num_syms, names, token_table, token_index, offsets] = places.map(at);
    let relative_base = relative_base.map(at);
    let tables =
        TableAddresses { num_syms, names, token_table, token_index, offsets, relative_base };
    let opened = [Kallsyms::open(&image, &tables), Kallsyms::search(&image)];
    for symbols in opened.into_iter().flatten() {
        let mut count = 0;
        let _ = symbols.visit(|_| {
            count += 1;
            ControlFlow::<()>::Continue(())
        });
        assert!(count <= symbols.len());
    }
});

fn append_tokens(bytes: &mut Vec<u8>) {
    let mut index = Vec::new();
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let start = bytes.len();
    for token in 0..=255u8 {
        index.extend(((bytes.len() - start) as u16).to_le_bytes());
        match token.is_ascii_graphic() {
            true => bytes.push(token),
            false => bytes.extend(b"tok"),
        }
        bytes.push(0);
    }
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend(index);
}
