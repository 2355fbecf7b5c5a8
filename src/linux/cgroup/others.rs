//! What controllers hold that are told in a few words.

use crate::kernel::KernelError;
use crate::linux::list::ListHead;
use crate::linux::view::{Array, Embedded, Raw, Struct};

use super::subsys::states;

kernel_struct! {
    /// What the controller `pids` holds of a cgroup: `struct pids_cgroup`.
    (optional) pub struct PidsCgroup: "pids_cgroup" {
        /// What all controllers hold.
        css: Raw = ["css"],
        /// `pids.max`.
        limit: u64 = ["limit.counter"],
    }
}

kernel_struct! {
    /// What the controller `freezer` of version 1 holds of a cgroup:
    /// `struct freezer`.
    (optional) pub struct Freezer: "freezer" {
        /// What all controllers hold.
        css: Raw = ["css"],
        /// `CGROUP_FREEZ*` and `CGROUP_FROZEN`.
        state: u32 = ["state"],
    }
}

kernel_struct! {
    /// What the controller `net_cls` of version 1 holds of a cgroup:
    /// `struct cgroup_cls_state`.
    (optional) pub struct CgroupClsState: "cgroup_cls_state" {
        /// What all controllers hold.
        css: Raw = ["css"],
        /// `net_cls.classid`.
        classid: u32 = ["classid"],
    }
}

kernel_struct! {
    /// What the controller `devices` of version 1 holds of a cgroup:
    /// `struct dev_cgroup`.
    (optional) pub struct DevCgroup: "dev_cgroup" {
        /// What all controllers hold.
        css: Raw = ["css"],
        /// Devices that `behavior` does not hold for.
        exceptions: Embedded<ListHead<'k>> = ["exceptions"],
        /// `DEVCG_*`.
        behavior: u32 = ["behavior"],
    }
}

kernel_struct! {
    /// What the controller `rdma` holds of a cgroup: `struct rdma_cgroup`.
    (optional) pub struct RdmaCgroup: "rdma_cgroup" {
        /// What all controllers hold.
        css: Raw = ["css"],
        /// Limits and use, one for each device that has any.
        rpools: Embedded<ListHead<'k>> = ["rpools"],
    }
}

kernel_struct! {
    /// What the controller `misc` holds of a cgroup, since 5.13:
    /// `struct misc_cg`.
    (optional) pub struct MiscCg: "misc_cg" {
        /// What all controllers hold.
        css: Raw = ["css"],
        /// Each kind of resource.
        res: Array<MiscRes<'k>> = ["res"],
        /// Where they lie.
        raw_res: Raw = ["res"],
    }
}

kernel_struct! {
    /// A resource of the controller `misc`: `struct misc_res`.
    (optional) pub struct MiscRes: "misc_res" {
        /// `misc.max`; all bits where there is no limit.
        max: u64 = ["max"],
    }
}

states!(PidsCgroup, Freezer, CgroupClsState, DevCgroup, RdmaCgroup, MiscCg);

impl MiscCg<'_> {
    /// Whether it limits anything.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn has_limits(&self) -> Result<bool, KernelError> {
        // Two or three of them are known (`enum misc_res_type`).
        const MOST: u64 = 64;
        let place = self.raw_res()?;
        let size = MiscRes::at(self.kernel(), place.addr())?.size();
        let count = place.size().checked_div(size).unwrap_or(0);
        if count > MOST {
            return Err(place.corrupt(format!("it has {count} kinds of resources")));
        }
        let resources = self.res()?;
        for number in 0..count {
            if resources.get(number)?.max()? != u64::MAX {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
