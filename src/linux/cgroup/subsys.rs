//! Controllers: `struct cgroup_subsys`.

use crate::kernel::{Kernel, KernelError};
use crate::linux::string::name_at;
use crate::linux::view::Struct;
use crate::memory::GuestVirt;

/// Controllers at most: 14 in 7.2.
const MAX_CONTROLLERS: u64 = 32;

kernel_struct! {
    /// A controller: `struct cgroup_subsys`.
    pub struct CgroupSubsys: "cgroup_subsys" {
        /// Its number.
        id: u32 = ["id"],
        /// Its name.
        raw_name: GuestVirt = ["name"],
        /// Its name in version 1.
        raw_legacy_name: GuestVirt = ["legacy_name"],
    }
}

impl<'k> CgroupSubsys<'k> {
    /// All that the kernel has, by number: `cgroup_subsys[]`.
    ///
    /// # Errors
    ///
    /// [`KernelError::MissingSymbol`], or where guest memory cannot be read.
    pub fn all(kernel: &'k Kernel) -> Result<Vec<Self>, KernelError> {
        let table = crate::linux::symbol(kernel, "cgroup_subsys")?;
        // As many as a cgroup has places for.
        let states = super::Cgroup::at(kernel, table)?.subsys()?;
        let mut found = Vec::new();
        for number in 0..(states.size() / 8).min(MAX_CONTROLLERS) {
            let mut word = [0; 8];
            kernel.read(table.wrapping_add(number * 8), &mut word)?;
            let controller = GuestVirt::new(u64::from_le_bytes(word));
            if controller.is_null() {
                break;
            }
            found.push(Self::at(kernel, controller)?);
        }
        Ok(found)
    }

    /// The one with a name; `None` where the kernel has none.
    ///
    /// # Errors
    ///
    /// As [`all`](Self::all).
    pub fn named(kernel: &'k Kernel, name: &str) -> Result<Option<Self>, KernelError> {
        for controller in Self::all(kernel)? {
            if controller.name()? == name {
                return Ok(Some(controller));
            }
        }
        Ok(None)
    }

    /// Its name, as `cgroup.controllers` has it.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn name(&self) -> Result<String, KernelError> {
        name_at(self.kernel(), self.raw_name()?)
    }

    /// Its name in version 1, as `/proc/cgroups` has it.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn legacy_name(&self) -> Result<String, KernelError> {
        let name = self.raw_legacy_name()?;
        if name.is_null() { self.name() } else { name_at(self.kernel(), name) }
    }

    /// Whether a mask has its bit.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn is_in(&self, mask: u32) -> Result<bool, KernelError> {
        Ok(mask.checked_shr(self.id()?).is_some_and(|rest| rest & 1 == 1))
    }
}

/// What a controller keeps, found by what all controllers keep of a cgroup, which
/// is a part of it: the member `css`.
macro_rules! states {
    ($($name:ident),* $(,)?) => {$(
        impl<'k> $name<'k> {
            /// What the controller holds of a cgroup.
            ///
            /// # Errors
            ///
            /// Where the kernel has no such structure.
            pub fn of(state: $crate::linux::CgroupSubsysState<'k>) -> Result<Self, KernelError> {
                use $crate::linux::view::Struct;
                Self::container_of(state.kernel(), state.addr(), "css")
            }
        }
    )*};
}

pub(super) use states;
