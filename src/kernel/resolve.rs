//! From what is known of a kernel build to the profile that it is read by.

use std::collections::BTreeMap;

use super::declare::{Declarations, FieldDecl};
use super::fit::BASE_STRUCTS;
use super::image::{BASE_SYMBOLS, START_KERNEL_MAP};
use super::profile::ProfileStruct;
use super::types::Types;

/// The names of all symbols that a profile holds.
pub(super) fn symbol_names(declarations: &Declarations) -> impl Iterator<Item = &'static str> {
    let declared = declarations.symbols.iter().flat_map(|symbol| symbol.names);
    BASE_SYMBOLS.iter().chain(declared).copied()
}

/// Addresses as linked, from those in an image that was moved by
/// `kaslr_offset`. Per-CPU offsets lie below the image and stay where they are.
pub(super) fn as_linked(
    symbols: &BTreeMap<String, u64>,
    kaslr_offset: u64,
) -> BTreeMap<String, u64> {
    let linked = |addr: u64| match addr {
        START_KERNEL_MAP.. => addr.wrapping_sub(kaslr_offset),
        _ => addr,
    };
    symbols.iter().map(|(name, addr)| (name.clone(), linked(*addr))).collect()
}

/// Looks up every structure that `declarations` may read, with all alternative
/// paths. What is missing is left out: whether it must be there is decided by
/// [`Kernel::new`](super::Kernel::new), which says what was looked for.
pub(super) fn structs(
    types: &dyn Types,
    declarations: &Declarations,
) -> BTreeMap<String, ProfileStruct> {
    // Several declarations may read parts of one structure.
    let mut wanted: BTreeMap<&str, Vec<&FieldDecl>> = BTreeMap::new();
    for structure in BASE_STRUCTS.iter().chain(declarations.structs) {
        wanted.entry(structure.name).or_default().extend(structure.fields);
    }
    let found = wanted.into_iter().filter_map(|(name, fields)| {
        let paths: Vec<_> = fields.iter().flat_map(|field| field.paths).copied().collect();
        // Of several structures with one name, the one that has the most of
        // what is read is meant; the first of equals.
        let best = types
            .layouts(name, &paths)
            .into_iter()
            .reduce(|best, next| if next.members.len() > best.members.len() { next } else { best });
        Some((name.to_owned(), best?))
    });
    found.collect()
}
