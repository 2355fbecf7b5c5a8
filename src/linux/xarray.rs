//! Arrays that grow: `struct xarray` (`lib/xarray.c`, `include/linux/xarray.h`).
//!
//! A tree of nodes of 64 slots. What a slot holds tells its lowest bits: a
//! pointer, a number (`xa_mk_value()`), or an internal entry, which is a node,
//! or in the slots behind an entry that covers several of them, the number of
//! the slot it stands in.

use crate::kernel::{Kernel, KernelError};
use crate::memory::GuestVirt;

use super::view::{Raw, Struct};

kernel_struct! {
    /// The root: `struct xarray`.
    pub struct XArray: "xarray" {
        /// `xa_head`: a node, the only entry, at index 0, or null.
        head: u64 = ["xa_head"],
    }
}

kernel_struct! {
    /// A node: `struct xa_node`.
    pub struct XaNode: "xa_node" {
        /// By how many bits an index is shifted to count its slots.
        shift: u8 = ["shift"],
        /// Its slots.
        slots: Raw = ["slots"],
    }
}

/// Slots of a node: `XA_CHUNK_SIZE`, as `CONFIG_BASE_SMALL` is for machines of
/// a few MiB.
const SLOTS: usize = 64;
/// `XA_CHUNK_SHIFT`.
const SLOT_BITS: u8 = 6;
/// Internal entries up to here are no nodes (`xa_is_node()`).
const LAST_RESERVED: u64 = 4096;

/// An entry and the indices that it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XaEntry {
    /// The first index.
    pub first: u64,
    /// How many there are.
    pub count: u64,
    /// What it is.
    pub value: XaValue,
}

/// What an array holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XaValue {
    /// A pointer.
    Pointer(GuestVirt),
    /// A number.
    Number(u64),
}

impl<'k> XArray<'k> {
    /// All that is there, by ascending index, `limit` entries at most.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] where the tree makes no sense or has more
    /// entries; else where guest memory cannot be read.
    pub fn entries(&self, limit: usize) -> Result<Vec<XaEntry>, KernelError> {
        let mut walk = Walk {
            kernel: self.kernel(),
            array: self.addr(),
            entries: Vec::new(),
            nodes: 0,
            limit,
        };
        let head = self.head()?;
        match node(head) {
            Some(root) => walk.node(root, 0, u64::BITS as u8)?,
            None => walk.entry(head, 0, 1)?,
        }
        Ok(walk.entries)
    }
}

/// The address of a node, if an entry is one.
fn node(entry: u64) -> Option<GuestVirt> {
    (is_internal(entry) && entry > LAST_RESERVED).then(|| GuestVirt::new(entry - 2))
}

fn is_internal(entry: u64) -> bool {
    entry & 3 == 2
}

struct Walk<'k> {
    kernel: &'k Kernel,
    array: GuestVirt,
    entries: Vec<XaEntry>,
    nodes: usize,
    limit: usize,
}

impl Walk<'_> {
    /// Collects below a node whose first index is `first` and that has a
    /// smaller shift than `above`.
    fn node(&mut self, addr: GuestVirt, first: u64, above: u8) -> Result<(), KernelError> {
        self.nodes += 1;
        if self.nodes > self.limit {
            return Err(self.corrupt(format!("it has more than {} nodes", self.limit)));
        }
        let node = XaNode::at(self.kernel, addr)?;
        let shift = node.shift()?;
        if shift >= above || !shift.is_multiple_of(SLOT_BITS) {
            return Err(self.corrupt(format!("its node at {addr} has a shift of {shift}")));
        }
        let mut slots = [0; SLOTS * 8];
        self.kernel.read(node.slots()?.addr(), &mut slots)?;
        let slots = slots.as_chunks().0.iter().map(|slot| u64::from_le_bytes(*slot));
        let index =
            |slot: u64| slot.checked_shl(u32::from(shift)).and_then(|at| first.checked_add(at));
        for (number, entry) in (0..).zip(slots) {
            if entry == 0 {
                continue;
            }
            let at = index(number)
                .ok_or_else(|| self.corrupt("it has an index of more than 64 bits".into()))?;
            if let Some(child) = self::node(entry) {
                self.node(child, at, shift)?;
            } else if is_internal(entry) {
                self.sibling(index(entry >> 2), 1 << shift);
            } else {
                self.entry(entry, at, 1 << shift)?;
            }
        }
        Ok(())
    }

    /// A slot that belongs to the entry at index `of`. Other internal entries
    /// stand for nothing (`XA_ZERO_ENTRY`, `XA_RETRY_ENTRY`).
    fn sibling(&mut self, of: Option<u64>, count: u64) {
        if let Some(last) = self.entries.last_mut().filter(|last| Some(last.first) == of) {
            last.count = last.count.saturating_add(count);
        }
    }

    fn entry(&mut self, entry: u64, first: u64, count: u64) -> Result<(), KernelError> {
        let value = match entry {
            0 => return Ok(()),
            number if number & 1 == 1 => XaValue::Number(number >> 1),
            pointer => XaValue::Pointer(GuestVirt::new(pointer)),
        };
        if self.entries.len() >= self.limit {
            return Err(self.corrupt(format!("it has more than {} entries", self.limit)));
        }
        self.entries.push(XaEntry { first, count, value });
        Ok(())
    }

    fn corrupt(&self, why: String) -> KernelError {
        KernelError::Corrupt { what: "xarray".into(), addr: self.array, why }
    }
}
