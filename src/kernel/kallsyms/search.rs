//! Finding the tables of kernels that do not tell where they are.
//!
//! The way in is the token table: every kernel has symbols with digits in their
//! names, so that the tokens `0x30` to `0x39` are the digits themselves, one
//! after the other. The token index that must follow confirms it. The names lie
//! before the token table, with their number in front and, every 256th name, a
//! marker behind. The addresses are before all that, or behind it.

use memchr::memmem;

use crate::memory::GuestVirt;

use super::super::image_copy::ImageCopy;
use super::{
    Kallsyms, NAMES_MAX, SYMBOLS_MAX, SYMBOLS_MIN, TOKENS, TOKENS_MAX, TableAddresses, Tokens,
    is_image_address, split_name,
};

/// The tokens that stand for the digits.
const DIGITS: &[u8] = b"0\x001\x002\x003\x004\x005\x006\x007\x008\x009\0";
/// How many tokens come before that of the digit 0.
const TOKENS_BEFORE_DIGITS: usize = b'0' as usize;
/// Names that must expand before all are walked.
const PROBE: usize = 32;
/// Names between two markers.
const MARKER_STEP: usize = 256;
/// Places and names that are looked at in all, over all attempts: a kernel needs
/// a few million, and an image made to look like tables everywhere ends here.
const WALK_BUDGET: usize = 64 << 20;

/// Tries every place that looks like the tables.
pub(super) fn search(image: &ImageCopy) -> Option<Kallsyms<'_>> {
    let mut budget = WALK_BUDGET;
    for digits in memmem::find_iter(image.bytes(), DIGITS) {
        let Some((table, index)) = token_tables(image, digits) else { continue };
        if let Some(found) = names_before(image, table, index, &mut budget) {
            return Some(found);
        }
    }
    None
}

/// Offsets in the image of the token table whose digits are at `digits`, and of
/// its index.
fn token_tables(image: &ImageCopy, digits: usize) -> Option<(usize, usize)> {
    let bytes = image.bytes();
    // Token 0 ends at the 48th NUL before the digits. Where it starts shows
    // only from the index: what lies before it may be anything.
    let window = &bytes[digits.saturating_sub(TOKENS_MAX as usize)..digits];
    let mut ends = memchr::memrchr_iter(0, window);
    let token_0_end = digits - window.len() + ends.nth(TOKENS_BEFORE_DIGITS - 1)?;
    let token_1 = token_0_end + 1;
    let window = bytes.get(token_1..)?;
    let window = &window[..window.len().min(TOKENS_MAX as usize)];
    // Starts of tokens 1 to 255, relative to token 1, and the end of the last.
    let starts: Vec<usize> = std::iter::once(0)
        .chain(memchr::memchr_iter(0, window).map(|end| end + 1))
        .take(TOKENS)
        .collect();
    let (&end, starts) = starts.split_last().filter(|(_, starts)| starts.len() == TOKENS - 1)?;
    // The index is aligned by the address, not by the offset: it is the same,
    // as the image starts on a page.
    for align in [2, 4, 8] {
        let at = (token_1 + end).next_multiple_of(align);
        let words = bytes.get(at..at + TOKENS * 2)?.as_chunks::<2>().0;
        let mut index = words.iter().map(|word| usize::from(u16::from_le_bytes(*word)));
        let (first, shift) = (index.next()?, index.next()?);
        let fits = index.zip(&starts[1..]).all(|(entry, start)| entry == start + shift);
        if first == 0 && (1..=token_1).contains(&shift) && fits {
            return Some((token_1 - shift, at));
        }
    }
    None
}

/// Walks back from the token table to a number that is followed by as many
/// names, and opens the tables around it.
fn names_before<'a>(
    image: &'a ImageCopy,
    table: usize,
    index: usize,
    budget: &mut usize,
) -> Option<Kallsyms<'a>> {
    let at = |offset: usize| image.start().checked_add(offset as u64);
    let mut tables = TableAddresses {
        num_syms: GuestVirt::NULL,
        names: GuestVirt::NULL,
        token_table: at(table)?,
        token_index: at(index)?,
        offsets: GuestVirt::NULL,
        relative_base: None,
    };
    let tokens = Tokens::read(image, &tables)?;
    let bytes = &image.bytes()[..table];
    let lowest = table.saturating_sub(NAMES_MAX as usize);
    for place in (lowest..table).rev().filter(|place| place % 4 == 0) {
        *budget = budget.checked_sub(1)?;
        let Some(count) = word_at(bytes, place) else { continue };
        if !(SYMBOLS_MIN..=SYMBOLS_MAX).contains(&count) {
            continue;
        }
        // Where tables are aligned to 8 bytes, zeros fill up the number; the
        // first name is never empty.
        let padded = word_at(bytes, place + 4) == Some(0);
        let names = place + if padded { 8 } else { 4 };
        if are_names(bytes, names, count as usize, &tokens, budget) {
            tables.num_syms = at(place)?;
            tables.names = at(names)?;
            if let Some(found) = with_offsets(image, tables, count) {
                return Some(found);
            }
        }
    }
    None
}

/// Whether `count` names lie at `names`, with their markers behind.
fn are_names(
    bytes: &[u8],
    names: usize,
    count: usize,
    tokens: &Tokens<'_>,
    budget: &mut usize,
) -> bool {
    let Some(mut rest) = bytes.get(names..) else { return false };
    let len = rest.len();
    let mut markers = Vec::new();
    let mut expanded = Vec::new();
    for number in 0..count {
        if *budget == 0 {
            return false;
        }
        *budget -= 1;
        if number % MARKER_STEP == 0 {
            markers.push((len - rest.len()) as u32);
        }
        let Some((name, after)) = split_name(rest) else { return false };
        if name.is_empty() || number < PROBE && tokens.expand(name, &mut expanded).is_none() {
            return false;
        }
        rest = after;
    }
    let end = names + len - rest.len();
    [4, 8].into_iter().any(|align| {
        let at = end.next_multiple_of(align);
        (0..).zip(&markers).all(|(index, marker)| word_at(bytes, at + index * 4) == Some(*marker))
    })
}

/// Completes `tables` by the place of the addresses, in each known order.
fn with_offsets(image: &ImageCopy, tables: TableAddresses, count: u32) -> Option<Kallsyms<'_>> {
    let len = u64::from(count) * 4;
    let base_at = |addr: GuestVirt| {
        let base = image.u64_at(addr).filter(|base| is_image_address(*base));
        base.is_some().then_some(addr)
    };
    let before = |addr: GuestVirt, len: u64| addr.get().checked_sub(len).map(GuestVirt::new);
    let mut orders = Vec::new();
    // Older kernels (6.1): offsets, relative base, number of symbols.
    if let Some(base) = before(tables.num_syms, 8).and_then(base_at)
        && let Some(offsets) = before(base, len.next_multiple_of(8))
    {
        orders.push(TableAddresses { offsets, relative_base: Some(base), ..tables });
    }
    // Newer ones (6.12): token index, offsets, relative base if there is one.
    let offsets = tables.token_index.checked_add(TOKENS as u64 * 2)?;
    let end = offsets.checked_add(len)?.get().checked_next_multiple_of(8)?;
    if let Some(base) = base_at(GuestVirt::new(end)) {
        orders.push(TableAddresses { offsets, relative_base: Some(base), ..tables });
    }
    orders.push(TableAddresses { offsets, relative_base: None, ..tables });
    orders.iter().find_map(|tables| Kallsyms::open(image, tables).ok())
}

fn word_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word))
}
