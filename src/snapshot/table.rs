//! Tables of things that several owners may share, and typed references into them.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::marker::PhantomData;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

/// A reference to an entry of the [`Table`] that holds all `T` of a snapshot.
///
/// Two owners hold the same `Id` exactly when the kernel lets them share one
/// object (`CLONE_VM`, `CLONE_FILES`, `dup()` and the like).
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct Id<T> {
    index: u32,
    #[serde(skip)]
    of: PhantomData<fn() -> T>,
}

impl<T> Id<T> {
    /// A reference to the entry at `index`, counted from 0.
    pub fn new(index: u32) -> Self {
        Self { index, of: PhantomData }
    }

    /// The entry's position in its table, counted from 0.
    pub fn index(self) -> u32 {
        self.index
    }
}

// Derived implementations would ask for the same of `T`, which is only a name here.
impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index
    }
}

impl<T> Eq for Id<T> {}

impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.index.cmp(&other.index)
    }
}

impl<T> Hash for Id<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.index.hash(state);
    }
}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.index)
    }
}

/// All `T` of a snapshot, each once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Table<T> {
    entries: Vec<T>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<T> Table<T> {
    /// Adds an entry and returns its reference.
    ///
    /// # Panics
    /// When the table already holds `u32::MAX` entries.
    pub fn push(&mut self, entry: T) -> Id<T> {
        let index = u32::try_from(self.entries.len()).expect("fewer than 2^32 entries");
        self.entries.push(entry);
        Id::new(index)
    }

    /// The entry `id` refers to; `None` for a reference from another snapshot.
    pub fn get(&self, id: Id<T>) -> Option<&T> {
        self.entries.get(id.index as usize)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, id: Id<T>) -> Option<&mut T> {
        self.entries.get_mut(id.index as usize)
    }

    /// All entries with their references, in the order they were added.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Id<T>, &T)> {
        self.entries.iter().enumerate().map(|(index, entry)| (Id::new(index as u32), entry))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// A table that is being filled and has equal entries once.
#[derive(Debug)]
pub struct Interned<T> {
    table: Table<T>,
    /// The entries of each hash. A guest that chooses them does not know the key.
    known: HashMap<u64, Vec<Id<T>>>,
    key: RandomState,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self { table: Table::default(), known: HashMap::new(), key: RandomState::new() }
    }
}

impl<T: Hash + PartialEq> Interned<T> {
    /// The reference of an equal entry, which is added when there is none.
    pub fn intern(&mut self, entry: T) -> Id<T> {
        let known = self.known.entry(self.key.hash_one(&entry)).or_default();
        if let Some(equal) = known.iter().find(|known| self.table.get(**known) == Some(&entry)) {
            return *equal;
        }
        let id = self.table.push(entry);
        known.push(id);
        id
    }

    /// The table, to which nothing is added any more.
    pub fn into_table(self) -> Table<T> {
        self.table
    }
}

impl<T> Deref for Interned<T> {
    type Target = Table<T>;

    fn deref(&self) -> &Table<T> {
        &self.table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_entries_are_interned_once() {
        let mut table = Interned::default();
        let first = table.intern("a");
        let second = table.intern("b");
        assert_ne!(first, second);
        assert_eq!(table.intern("a"), first);
        assert_eq!(table.get(second), Some(&"b"));
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn a_foreign_reference_finds_nothing() {
        let table: Table<u8> = Table::default();
        assert_eq!(table.get(Id::new(7)), None);
    }
}
