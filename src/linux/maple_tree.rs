//! Maple trees, as `mm_struct` keeps its VMAs in since 6.1
//! (`lib/maple_tree.c`, `include/linux/maple_tree.h`).
//!
//! An encoded node pointer has its type in bits 3 to 6 and flags below; in the
//! root these say that it is a node at all. Nodes are 256 bytes and aligned to
//! that. Only the nodes that a tree of VMAs consists of are read: leaf and
//! range nodes of 16 slots, and allocation nodes of 10.

use crate::kernel::{Kernel, KernelError};
use crate::memory::GuestVirt;

use super::view::Struct;

kernel_struct! {
    /// The root of a tree: `struct maple_tree`.
    (optional) pub struct MapleTree: "maple_tree" {
        /// `ma_root`: an encoded node, a single entry, or null.
        root: u64 = ["ma_root"],
    }
}

/// Bytes of a node, and their alignment (`MAPLE_NODE_MASK` is this less one).
const NODE_SIZE: usize = 256;
/// `enum maple_type`.
const LEAF_64: u64 = 1;
const RANGE_64: u64 = 2;
const ARANGE_64: u64 = 3;
/// A tree of 64-bit keys with at least five children a node is never deeper
/// (`MAPLE_HEIGHT_MAX` is 31).
const MAX_DEPTH: u32 = 31;

impl<'k> MapleTree<'k> {
    /// The non-null entries in key order, `limit` at most.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] where a node is of an unknown kind, the tree is
    /// too deep or has more entries than `limit`; else where guest memory
    /// cannot be read.
    pub fn entries(&self, limit: usize) -> Result<Vec<GuestVirt>, KernelError> {
        Walk::new(self.kernel(), self.addr(), limit).collect(self.root()?)
    }
}

/// `xa_is_node()`: an internal entry (low bits `10`) above the reserved ones. A
/// root that is none of this is the tree's only entry.
fn is_root_node(entry: u64) -> bool {
    entry & 3 == 2 && entry > 4096
}

struct Walk<'k> {
    kernel: &'k Kernel,
    tree: GuestVirt,
    entries: Vec<GuestVirt>,
    nodes: usize,
    limit: usize,
}

impl<'k> Walk<'k> {
    fn new(kernel: &'k Kernel, tree: GuestVirt, limit: usize) -> Self {
        Self { kernel, tree, entries: Vec::new(), nodes: 0, limit }
    }

    /// Collects all of the tree whose `ma_root` is `root`.
    fn collect(mut self, root: u64) -> Result<Vec<GuestVirt>, KernelError> {
        if is_root_node(root) {
            self.node(root, u64::MAX, MAX_DEPTH)?;
        } else if root != 0 {
            self.entries.push(GuestVirt::new(root));
        }
        Ok(self.entries)
    }

    /// Collects below the encoded node `entry`, whose keys go up to `max`.
    fn node(&mut self, entry: u64, max: u64, depth: u32) -> Result<(), KernelError> {
        self.nodes += 1;
        if depth == 0 || self.nodes > self.limit.saturating_add(MAX_DEPTH as usize) {
            return Err(self.corrupt("it is too deep or does not end".into()));
        }
        let kind = entry >> 3 & 0xf;
        let addr = GuestVirt::new(entry & !(NODE_SIZE as u64 - 1));
        let mut bytes = [0; NODE_SIZE];
        self.kernel.read(addr, &mut bytes)?;
        let words = bytes.as_chunks().0;
        let word = |index: usize| words.get(index).map_or(0, |word| u64::from_le_bytes(*word));
        let slots: usize = match kind {
            LEAF_64 | RANGE_64 => 16,
            ARANGE_64 => 10,
            _ => return Err(self.corrupt(format!("{addr} is a node of unknown kind {kind}"))),
        };
        // Word 0 is the parent, then come one pivot fewer than slots. A pivot
        // of zero past the first ends the node, as does one that reaches `max`.
        for slot in 0..slots {
            let pivot = if slot + 1 < slots { word(1 + slot) } else { max };
            let last = (pivot == 0 && slot > 0) || pivot >= max;
            let child = word(slots + slot);
            if kind == LEAF_64 {
                self.leaf_entry(child)?;
            } else if child != 0 {
                self.node(child, if last { max } else { pivot }, depth - 1)?;
            }
            if last {
                break;
            }
        }
        Ok(())
    }

    fn leaf_entry(&mut self, entry: u64) -> Result<(), KernelError> {
        // Null is a gap; an internal entry (`XA_ZERO_ENTRY`) stands for one.
        if entry == 0 || entry & 3 == 2 {
            return Ok(());
        }
        if self.entries.len() >= self.limit {
            return Err(self.corrupt(format!("it has more than {} entries", self.limit)));
        }
        self.entries.push(GuestVirt::new(entry));
        Ok(())
    }

    fn corrupt(&self, why: String) -> KernelError {
        KernelError::Corrupt { what: "maple_tree".into(), addr: self.tree, why }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The entries of a tree by its `ma_root`, also with a kernel that has none.
    pub(in super::super) fn entries_below(
        kernel: &Kernel,
        root: u64,
        limit: usize,
    ) -> Result<Vec<GuestVirt>, KernelError> {
        Walk::new(kernel, GuestVirt::NULL, limit).collect(root)
    }
}
