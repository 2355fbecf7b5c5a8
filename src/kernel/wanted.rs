//! Picking symbols by name out of a table with many more.

use std::collections::{BTreeMap, HashMap};

/// The symbols that are sought, and the best that was offered for each.
#[derive(Debug)]
pub(super) struct WantedSymbols<'n>(HashMap<&'n str, Option<Offer>>);

#[derive(Clone, Copy, Debug)]
struct Offer {
    addr: u64,
    global: bool,
}

impl<'n> WantedSymbols<'n> {
    pub(super) fn new(names: impl IntoIterator<Item = &'n str>) -> Self {
        Self(names.into_iter().map(|name| (name, None)).collect())
    }

    /// Takes a symbol of the table if it is sought, and global where the one
    /// before was not.
    pub(super) fn offer(&mut self, name: &str, addr: u64, global: bool) {
        if let Some(best) = self.0.get_mut(name)
            && best.is_none_or(|best| global && !best.global)
        {
            *best = Some(Offer { addr, global });
        }
    }

    /// Addresses by name.
    pub(super) fn found(self) -> BTreeMap<String, u64> {
        let found = self.0.into_iter().filter_map(|(name, best)| Some((name, best?.addr)));
        found.map(|(name, addr)| (name.to_owned(), addr)).collect()
    }
}
