//! The names in a directory, as far as they are in memory.

use std::collections::{HashMap, HashSet};

use crate::kernel::KernelError;
use crate::memory::GuestVirt;

use super::list::Entries;
use super::path::Dentry;
use super::view::Struct;

/// Most names of a directory that are looked at.
const MAX_CHILDREN: usize = 100_000;
/// Most names that are looked at in all directories of a save together.
const MAX_LOOKS: usize = 1 << 22;

/// How many names may still be looked at.
#[derive(Debug)]
pub struct Looks(usize);

impl Default for Looks {
    fn default() -> Self {
        Self::new(MAX_LOOKS)
    }
}

impl Looks {
    pub(super) fn new(most: usize) -> Self {
        Self(most)
    }
}

impl<'k> Dentry<'k> {
    /// The name `name` in this directory, if it is in memory among the first
    /// 100 000.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] where the list of names is being changed, and where
    /// more would be looked at than `looks` has left.
    pub fn child_named(&self, name: &[u8], looks: &mut Looks) -> Result<Option<Self>, KernelError> {
        let mut found = self.children_named(&HashSet::from([name.to_vec()]), looks)?;
        Ok(found.remove(name))
    }

    /// The same of several names, in one walk.
    ///
    /// # Errors
    ///
    /// As [`child_named`](Self::child_named).
    pub fn children_named(
        &self,
        names: &HashSet<Vec<u8>>,
        looks: &mut Looks,
    ) -> Result<HashMap<Vec<u8>, Self>, KernelError> {
        let lengths: HashSet<u32> = names.iter().map(|name| name.len() as u32).collect();
        let mut found = HashMap::new();
        let mut children = Children::of(self)?;
        for _ in 0..MAX_CHILDREN {
            if found.len() == names.len() {
                break;
            }
            let Some(child) = children.step()? else { break };
            let out = || self.corrupt("there are too many names to look at".into());
            looks.0 = looks.0.checked_sub(1).ok_or_else(out)?;
            if !lengths.contains(&child.name_len()?) {
                continue;
            }
            let name = child.name_bytes()?;
            if names.contains(&name) && !child.is_deleted()? {
                found.entry(name).or_insert(child);
            }
        }
        Ok(found)
    }

    fn corrupt(&self, why: String) -> KernelError {
        KernelError::Corrupt { what: "dentry".into(), addr: self.addr(), why }
    }
}

/// A walk through the names of a directory.
enum Children<'k> {
    List(Entries<'k, Dentry<'k>>),
    /// Since 6.8: the directory, the link that leads to the next name, and that name.
    Links {
        of: Dentry<'k>,
        from: GuestVirt,
        at: GuestVirt,
    },
}

impl<'k> Children<'k> {
    fn of(directory: &Dentry<'k>) -> Result<Self, KernelError> {
        if let Some(names) = directory.subdirs()? {
            return Ok(Self::List(names.entries("child")));
        }
        let Some(at) = directory.first_child()? else {
            let (from, at) = (GuestVirt::NULL, GuestVirt::NULL);
            return Ok(Self::Links { of: *directory, from, at });
        };
        Ok(Self::Links { of: *directory, from: directory.place("first_child")?.addr(), at })
    }

    fn step(&mut self) -> Result<Option<Dentry<'k>>, KernelError> {
        let (of, from, at) = match self {
            Self::List(entries) => return entries.next().transpose(),
            Self::Links { at, .. } if at.is_null() => return Ok(None),
            Self::Links { of, from, at } => (*of, from, at),
        };
        let child = Dentry::container_of(of.kernel(), *at, "next_sibling")?;
        if !at.is_kernel() || child.sibling_back()? != Some(*from) {
            return Err(of.corrupt(format!("the list of its names: {from} leads to {at}")));
        }
        (*from, *at) = (*at, child.next_sibling()?.unwrap_or(GuestVirt::NULL));
        Ok(Some(child))
    }
}
