//! The names in a directory, as far as they are in memory.

use crate::kernel::KernelError;
use crate::memory::GuestVirt;

use super::path::Dentry;
use super::view::Struct;

/// Most names of a directory that are looked at.
const MAX_CHILDREN: usize = 100_000;

impl Dentry<'_> {
    /// The name `name` in this directory, if it is in memory among the first
    /// 100 000.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] where the list of names is being changed.
    pub fn child_named(&self, name: &[u8]) -> Result<Option<Self>, KernelError> {
        if let Some(names) = self.subdirs()? {
            for child in names.entries::<Self>("child").take(MAX_CHILDREN) {
                let child = child?;
                if child.is_called(name)? {
                    return Ok(Some(child));
                }
            }
            return Ok(None);
        }
        let Some(mut at) = self.first_child()? else { return Ok(None) };
        let mut from = self.place("first_child")?.addr();
        for _ in 0..MAX_CHILDREN {
            if at.is_null() {
                break;
            }
            let child = Self::container_of(self.kernel(), at, "next_sibling")?;
            if !at.is_kernel() || child.sibling_back()? != Some(from) {
                let why = format!("the list of its names: {from} leads to {at}");
                return Err(KernelError::Corrupt { what: "dentry".into(), addr: self.addr(), why });
            }
            if child.is_called(name)? {
                return Ok(Some(child));
            }
            (from, at) = (at, child.next_sibling()?.unwrap_or(GuestVirt::NULL));
        }
        Ok(None)
    }

    fn is_called(&self, name: &[u8]) -> Result<bool, KernelError> {
        Ok(self.name_len()? as usize == name.len()
            && self.name_bytes()? == name
            && !self.is_deleted()?)
    }
}
