//! kallsyms: the kernel's own symbol table, as its memory holds it
//! (`scripts/kallsyms.c` writes it, `kernel/kallsyms.c` reads it).
//!
//! ```text
//! names        per symbol: length (1 or 2 bytes of LEB128), then that many tokens
//! token_index  256 u16: where each token's text starts in token_table
//! token_table  256 texts, each ended by NUL
//! offsets      per symbol, ascending by address: 32 bits, coded in one of three ways
//! ```
//!
//! The first character of an expanded name is the symbol's type, as `nm` prints
//! it. The order of the tables, their alignment and the coding of addresses
//! differ between releases and distributions' backports, so they are told by
//! what fits, not by a version number.

mod search;
#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use serde::{Deserialize, Serialize};

use crate::memory::GuestVirt;

use super::error::KernelError;
use super::image::START_KERNEL_MAP;
use super::image_copy::ImageCopy;
use super::wanted::WantedSymbols;

/// Symbols at most. Debian's kernels have under 190 000.
const SYMBOLS_MAX: u32 = 1 << 20;
/// Symbols at least, so that a table can be told from chance.
const SYMBOLS_MIN: u32 = 16;
/// Bytes of names at most.
const NAMES_MAX: u64 = 64 << 20;
/// Bytes of `token_table` at most: `token_index` has 16 bits.
const TOKENS_MAX: u64 = 1 << 16;
/// Bytes of an expanded name at most: `KSYM_NAME_LEN` is 512 since 6.1.
const NAME_MAX: usize = 1024;
const TOKENS: usize = 256;

/// Where the tables lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableAddresses {
    /// `kallsyms_num_syms`: a 32-bit number.
    pub num_syms: GuestVirt,
    /// `kallsyms_names`.
    pub names: GuestVirt,
    /// `kallsyms_token_table`.
    pub token_table: GuestVirt,
    /// `kallsyms_token_index`.
    pub token_index: GuestVirt,
    /// `kallsyms_offsets`.
    pub offsets: GuestVirt,
    /// `kallsyms_relative_base`, which kernels with offsets relative to their
    /// own place have no more.
    pub relative_base: Option<GuestVirt>,
}

impl TableAddresses {
    /// The tables, without what KASLR relocates.
    fn parts(&self, count: u32) -> Option<[Range<GuestVirt>; 3]> {
        Some([
            self.names..self.token_table,
            // The index follows the token table in every layout.
            self.token_table..self.token_index.checked_add(TOKENS as u64 * 2)?,
            self.offsets..self.offsets.checked_add(u64::from(count) * 4)?,
        ])
    }
}

/// A kernel symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// Its address, as KASLR moved it; for some per-CPU symbols an offset below
    /// the kernel image.
    pub addr: GuestVirt,
    /// Its type as `nm` prints it; capital letters are global.
    pub kind: u8,
    /// Its name.
    pub name: &'a str,
}

/// How the 32 bits of an address are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    /// Not negative: the address itself (per-CPU offsets). Negative:
    /// `base - 1 - offset` (`CONFIG_KALLSYMS_ABSOLUTE_PERCPU`).
    AbsolutePerCpu { base: u64 },
    /// Unsigned, from `base` on.
    FromBase { base: u64 },
    /// Signed, from the entry itself on.
    FromEntry { table: u64 },
}

impl Coding {
    /// The address of the symbol `index`, whose entry holds `raw`.
    fn address(self, index: usize, raw: u32) -> u64 {
        let signed = i64::from(raw.cast_signed());
        match self {
            Self::AbsolutePerCpu { .. } if signed >= 0 => u64::from(raw),
            Self::AbsolutePerCpu { base } => {
                base.wrapping_sub(1).wrapping_sub(signed.cast_unsigned())
            }
            Self::FromBase { base } => base.wrapping_add(u64::from(raw)),
            Self::FromEntry { table } => {
                table.wrapping_add(index as u64 * 4).wrapping_add(signed.cast_unsigned())
            }
        }
    }
}

/// Decoded access to the tables.
#[derive(Debug)]
pub struct Kallsyms<'a> {
    /// From the first name on; longer than the names are.
    names: &'a [u8],
    tokens: Tokens<'a>,
    offsets: &'a [u8],
    coding: Coding,
    tables: TableAddresses,
    parts: [Range<GuestVirt>; 3],
}

impl<'a> Kallsyms<'a> {
    /// Opens the tables at `tables`, and checks that they describe the kernel
    /// whose code starts where `image` does.
    ///
    /// # Errors
    ///
    /// [`KernelError::Kallsyms`].
    pub fn open(image: &'a ImageCopy, tables: &TableAddresses) -> Result<Self, KernelError> {
        let bad = KernelError::Kallsyms;
        let count = image.u32_at(tables.num_syms).ok_or(bad("no number of symbols"))?;
        if !(SYMBOLS_MIN..=SYMBOLS_MAX).contains(&count) {
            return Err(bad("the number of symbols is implausible"));
        }
        // In every layout the names come before the token table.
        let names_len = tables.token_table.checked_offset_from(tables.names);
        names_len.filter(|len| *len <= NAMES_MAX).ok_or(bad("the names have no plausible size"))?;
        let names = image.range(tables.names, tables.token_table).ok_or(bad("no names"))?;
        let offsets = image.get(tables.offsets, u64::from(count) * 4).ok_or(bad("no offsets"))?;
        let base = match tables.relative_base {
            Some(addr) => Some(image.u64_at(addr).ok_or(bad("no relative base"))?),
            None => None,
        };
        let symbols = Self {
            names,
            tokens: Tokens::read(image, tables).ok_or(bad("no tokens"))?,
            offsets,
            coding: coding(offsets, base, tables.offsets),
            tables: *tables,
            parts: tables.parts(count).ok_or(bad("they leave the address space"))?,
        };
        if !symbols.fits(image.start()) {
            return Err(bad("the addresses are not those of this kernel"));
        }
        Ok(symbols)
    }

    /// Searches `image` for the tables and opens them.
    ///
    /// # Errors
    ///
    /// [`KernelError::Kallsyms`].
    pub fn search(image: &'a ImageCopy) -> Result<Self, KernelError> {
        search::search(image)
            .ok_or(KernelError::Kallsyms("the kernel image holds no symbol tables"))
    }

    /// How many symbols there are.
    pub fn len(&self) -> usize {
        self.offsets.len() / 4
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `visit` for each symbol, ascending by address, until it breaks.
    ///
    /// # Errors
    ///
    /// [`KernelError::Kallsyms`] at the first name that cannot be expanded.
    pub fn visit<T>(
        &self,
        mut visit: impl FnMut(Symbol<'_>) -> ControlFlow<T>,
    ) -> Result<Option<T>, KernelError> {
        let mut expanded = Vec::with_capacity(NAME_MAX);
        let mut rest = self.names;
        for addr in self.addresses() {
            let (tokens, after) =
                split_name(rest).ok_or(KernelError::Kallsyms("the names end too early"))?;
            rest = after;
            let (kind, name) = self
                .tokens
                .expand(tokens, &mut expanded)
                .ok_or(KernelError::Kallsyms("a name is not one"))?;
            if let ControlFlow::Break(found) = visit(Symbol { addr, kind, name }) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The addresses of those of `names` that there are. Static symbols of
    /// several files may share a name with the global one; the first is taken
    /// where none is global.
    ///
    /// # Errors
    ///
    /// As [`visit`](Self::visit).
    pub fn find<'n>(
        &self,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Result<BTreeMap<String, u64>, KernelError> {
        let mut wanted = WantedSymbols::new(names);
        self.visit(|symbol| {
            wanted.offer(symbol.name, symbol.addr.get(), symbol.kind.is_ascii_uppercase());
            ControlFlow::<()>::Continue(())
        })?;
        Ok(wanted.found())
    }

    /// Where the tables are.
    pub fn tables(&self) -> TableAddresses {
        self.tables
    }

    /// The parts of the image that the symbols were read from.
    pub fn parts(&self) -> &[Range<GuestVirt>] {
        &self.parts
    }

    fn addresses(&self) -> impl Iterator<Item = GuestVirt> {
        let raw = self.offsets.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
        raw.enumerate().map(|(index, raw)| GuestVirt::new(self.coding.address(index, raw)))
    }

    /// Whether the addresses ascend, as they are sorted, and one of them is
    /// where the kernel's code starts. A few may be out of order: symbols whose
    /// sections were placed after the table was made.
    fn fits(&self, stext: GuestVirt) -> bool {
        let (mut descents, mut has_stext, mut last) = (0, false, GuestVirt::NULL);
        for addr in self.addresses() {
            descents += usize::from(addr < last);
            has_stext |= addr == stext;
            last = addr;
        }
        has_stext && descents <= self.len() / 100
    }
}

/// Tells how addresses are coded. The last symbol of the image lies past its
/// code, so that its entry is negative only where that is the mark of a
/// relocated address.
fn coding(offsets: &[u8], base: Option<u64>, table: GuestVirt) -> Coding {
    let last = offsets.last_chunk().map_or(0, |word| i32::from_le_bytes(*word));
    match base {
        Some(base) if last < 0 => Coding::AbsolutePerCpu { base },
        Some(base) => Coding::FromBase { base },
        None => Coding::FromEntry { table: table.get() },
    }
}

/// Splits the first name's tokens off. Since 6.1 a length with its high bit set
/// has a second byte (`get_symbol_seq()` in `kernel/kallsyms.c`).
fn split_name(names: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = names.split_first()?;
    if first & 0x80 == 0 {
        return rest.split_at_checked(usize::from(first));
    }
    let (&second, rest) = rest.split_first()?;
    rest.split_at_checked(usize::from(first & 0x7f) | usize::from(second) << 7)
}

/// The texts that a byte of a name stands for.
#[derive(Debug)]
struct Tokens<'a>(Vec<&'a [u8]>);

impl<'a> Tokens<'a> {
    fn read(image: &'a ImageCopy, tables: &TableAddresses) -> Option<Self> {
        let end = image.start().checked_add(image.bytes().len() as u64)?;
        let room = end.checked_offset_from(tables.token_table)?.min(TOKENS_MAX);
        let table = image.get(tables.token_table, room)?;
        let index = image.get(tables.token_index, TOKENS as u64 * 2)?;
        let starts = index.as_chunks::<2>().0.iter().map(|word| u16::from_le_bytes(*word));
        let texts = starts.map(|start| {
            let text = table.get(usize::from(start)..)?;
            let end = text.iter().take(NAME_MAX).position(|byte| *byte == 0)?;
            Some(&text[..end])
        });
        texts.collect::<Option<_>>().map(Self)
    }

    /// Expands a name into `buf`, and splits its type off.
    fn expand<'b>(&self, tokens: &[u8], buf: &'b mut Vec<u8>) -> Option<(u8, &'b str)> {
        buf.clear();
        for token in tokens {
            let text = self.0.get(usize::from(*token))?;
            if buf.len() + text.len() > NAME_MAX {
                return None;
            }
            buf.extend_from_slice(text);
        }
        let (kind, name) = buf.split_first()?;
        let name = str::from_utf8(name).ok()?;
        let plain = kind.is_ascii_graphic() && name.bytes().all(|byte| byte.is_ascii_graphic());
        (plain && !name.is_empty()).then_some((*kind, name))
    }
}

/// Whether an address is one of the kernel image's.
fn is_image_address(addr: u64) -> bool {
    addr >= START_KERNEL_MAP
}
