//! Red-black trees: `struct rb_root` (`include/linux/rbtree_types.h`).

use crate::kernel::{Kernel, KernelError};
use crate::memory::GuestVirt;

use super::list::MAX_ENTRIES;
use super::view::Struct;

/// What `rb_node.__rb_parent_color` has beside the parent's address.
const COLOR_BITS: u64 = 3;

kernel_struct! {
    /// A tree: `struct rb_root`.
    pub struct RbRoot: "rb_root" {
        /// Its first node; null for a tree of nothing.
        node: GuestVirt = ["rb_node"],
    }
}

kernel_struct! {
    /// A structure's place in a tree: `struct rb_node`.
    pub struct RbNode: "rb_node" {
        /// The node above, and the colour.
        parent_color: u64 = ["__rb_parent_color"],
        /// Those below that come before.
        left: GuestVirt = ["rb_left"],
        /// Those below that come after.
        right: GuestVirt = ["rb_right"],
    }
}

impl<'k> RbRoot<'k> {
    /// The structures that are linked into this tree by their member `field`,
    /// in order.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for more than 2^20 entries, or where a pointer
    /// leads out of the kernel or to a node that does not link back.
    pub fn entries<T: Struct<'k>>(&self, field: &'static str) -> Result<Vec<T>, KernelError> {
        let kernel = self.kernel();
        let mut walk = Walk { kernel, root: self.addr(), open: Vec::new(), left: MAX_ENTRIES };
        walk.descend(self.node()?, GuestVirt::NULL)?;
        let mut found = Vec::new();
        while let Some(node) = walk.open.pop() {
            found.push(T::container_of(kernel, node.addr(), field)?);
            walk.descend(node.right()?, node.addr())?;
        }
        Ok(found)
    }
}

/// A walk through a tree in order.
struct Walk<'k> {
    kernel: &'k Kernel,
    root: GuestVirt,
    /// Nodes whose left side was walked.
    open: Vec<RbNode<'k>>,
    /// How many more there may be.
    left: usize,
}

impl Walk<'_> {
    /// Goes down to the first node at or below `at`, which `parent` links to.
    fn descend(&mut self, mut at: GuestVirt, mut parent: GuestVirt) -> Result<(), KernelError> {
        while !at.is_null() {
            let corrupt = |why: String| KernelError::Corrupt {
                what: "a red-black tree".into(),
                addr: self.root,
                why,
            };
            if !at.is_kernel() {
                return Err(corrupt(format!("{parent} links to {at}")));
            }
            self.left = self.left.checked_sub(1).ok_or_else(|| corrupt("it has no end".into()))?;
            let node = RbNode::at(self.kernel, at)?;
            if node.parent_color()? & !COLOR_BITS != parent.get() {
                return Err(corrupt(format!("{at} does not link back to {parent}")));
            }
            let left = node.left()?;
            if !left.is_null() && left == node.right()? {
                return Err(corrupt(format!("{at} links to {left} twice")));
            }
            self.open.push(node);
            (at, parent) = (left, at);
        }
        Ok(())
    }
}
