//! Control groups: which a thread is in (`kernel/cgroup/cgroup.c`), and what
//! their controllers hold, one file for each.
//!
//! A hierarchy is a tree of cgroups, each a directory of cgroupfs. That of
//! version 2 is the default one; version 1 has one for each set of controllers
//! that are mounted together, or for a name alone. A thread's `css_set` links to
//! its cgroup in each of them.

mod blkcg;
mod cpu;
mod cpuset;
mod hugetlb;
mod kernfs;
mod memory;
mod others;
mod subsys;

use crate::kernel::{Kernel, KernelError};
use crate::memory::GuestVirt;

use super::list::ListHead;
use super::task::Task;
use super::view::{Embedded, Ptr, Raw, Struct};

pub use blkcg::{
    BackingDevInfo, Blkcg, BlkcgGq, BlkcgPolicy, Gendisk, IoLimits, IocCgrp, IocGq, RequestQueue,
    ThrotlGrp,
};
pub use cpu::{CfsBandwidth, TaskGroup};
pub use cpuset::{Cpuset, CpusetFlags};
pub use hugetlb::{Hstate, HugetlbCgroup};
pub use kernfs::{KernfsIattrs, KernfsNode};
pub use memory::{MemCgroup, PageCounter};
pub use others::{CgroupClsState, DevCgroup, Freezer, MiscCg, MiscRes, PidsCgroup, RdmaCgroup};
pub use subsys::CgroupSubsys;

/// Cgroups above one at most: each is a name on a path, of which processes see
/// those that fit a page.
const MAX_DEPTH: usize = 2048;
/// Hierarchies at most: one for each controller, and some that have a name alone.
pub const MAX_HIERARCHIES: usize = 256;

bitflags::bitflags! {
    /// `CGRP_*` in `include/linux/cgroup-defs.h`, as far as they are looked at.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct CgroupFlags: u64 {
        /// `notify_on_release`, of version 1.
        const NOTIFY_ON_RELEASE = 1 << 0;
        /// `cgroup.clone_children`, of version 1.
        const CLONE_CHILDREN = 1 << 1;
        const _ = !0;
    }
}

kernel_struct! {
    /// The cgroups of a thread, one in each hierarchy: `struct css_set`.
    pub struct CssSet: "css_set" {
        /// That in the hierarchy of version 2.
        dfl_cgrp: Ptr<Cgroup<'k>> = ["dfl_cgrp"],
        /// What each controller holds of them, by number: `cgroup_subsys_state *[]`.
        subsys: Raw = ["subsys"],
        /// All of them.
        cgrp_links: Embedded<ListHead<'k>> = ["cgrp_links"],
    }
}

kernel_struct! {
    /// That a thread is in a cgroup: `struct cgrp_cset_link`.
    pub struct CgrpCsetLink: "cgrp_cset_link" {
        /// The cgroup.
        cgrp: Ptr<Cgroup<'k>> = ["cgrp"],
        /// Its place among those of the thread.
        cgrp_link: Raw = ["cgrp_link"],
    }
}

kernel_struct! {
    /// A cgroup: `struct cgroup`.
    pub struct Cgroup: "cgroup" {
        /// What links it to the one above.
        itself: Embedded<CgroupSubsysState<'k>> = ["self"],
        /// [`CgroupFlags`].
        raw_flags: u64 = ["flags"],
        /// How deep below it there may be others.
        max_depth: i32 = ["max_depth"],
        /// How many may be below it.
        max_descendants: i32 = ["max_descendants"],
        /// Its directory.
        kn: Ptr<KernfsNode<'k>> = ["kn"],
        /// Controllers of those below it that a user has enabled, by number.
        subtree_control: u32 = ["subtree_control"],
        /// What its controllers hold, by number: `cgroup_subsys_state *[]`.
        subsys: Raw = ["subsys"],
        /// Its hierarchy.
        root: Ptr<CgroupRoot<'k>> = ["root"],
        /// The one that its processes count as members of: itself, but where it is
        /// threaded.
        dom_cgrp: GuestVirt = ["dom_cgrp"],
        /// `cgroup.freeze`.
        freeze: bool = ["freezer.freeze"],
        /// Programs of BPF that run for it, by kind, each list with its head.
        bpf_progs: Raw = ?["bpf.progs"],
        /// Those that are in effect, by kind, each a pointer.
        bpf_effective: Raw = ?["bpf.effective"],
    }
}

kernel_struct! {
    /// What a controller holds of a cgroup: `struct cgroup_subsys_state`.
    pub struct CgroupSubsysState: "cgroup_subsys_state" {
        /// That of the cgroup above; null at the root.
        parent: Ptr<CgroupSubsysState<'k>> = ["parent"],
        /// The cgroup.
        cgroup: Ptr<Cgroup<'k>> = ["cgroup"],
    }
}

kernel_struct! {
    /// A hierarchy: `struct cgroup_root`.
    pub struct CgroupRoot: "cgroup_root" {
        /// Its controllers, by number.
        subsys_mask: u32 = ["subsys_mask"],
        /// Its name; empty for one that is named by its controllers.
        raw_name: [u8; 64] = ["name"],
    }
}

impl<'k> Task<'k> {
    /// What a controller holds of the cgroup that the thread is in.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn controller_state(
        &self,
        controller: &CgroupSubsys<'_>,
    ) -> Result<Option<CgroupSubsysState<'k>>, KernelError> {
        let Some(set) = self.cgroups()? else { return Ok(None) };
        let (states, place) = (set.subsys()?, u64::from(controller.id()?) * 8);
        if place >= states.size() {
            return Ok(None);
        }
        let mut word = [0; 8];
        self.kernel().read(states.addr().wrapping_add(place), &mut word)?;
        let state = GuestVirt::new(u64::from_le_bytes(word));
        if state.is_null() {
            return Ok(None);
        }
        CgroupSubsysState::at(self.kernel(), state).map(Some)
    }

    /// Its cgroups, one in each hierarchy that can be seen; that of version 2
    /// first.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for more than there can be.
    pub fn cgroups_of_hierarchies(&self) -> Result<Vec<Cgroup<'k>>, KernelError> {
        let Some(set) = self.cgroups()? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        if let Some(cgroup) = set.dfl_cgrp()?
            && is_unified_visible(self.kernel())?
        {
            found.push(cgroup);
        }
        for link in set.cgrp_links()?.entries::<CgrpCsetLink<'_>>("cgrp_link") {
            if found.len() > MAX_HIERARCHIES {
                return Err(corrupt("css_set", set.addr(), "it has too many cgroups"));
            }
            let Some(cgroup) = link?.cgrp()? else { continue };
            if !cgroup.is_unified()? {
                found.push(cgroup);
            }
        }
        Ok(found)
    }
}

/// Whether version 2 was mounted (`cgrp_dfl_visible`): else processes are not told
/// of it.
fn is_unified_visible(kernel: &Kernel) -> Result<bool, KernelError> {
    let Some(addr) = kernel.symbol("cgrp_dfl_visible") else { return Ok(true) };
    let mut byte = [0];
    kernel.read(addr, &mut byte)?;
    Ok(byte[0] != 0)
}

impl<'k> Cgroup<'k> {
    /// Whether its hierarchy is that of version 2.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn is_unified(&self) -> Result<bool, KernelError> {
        let root = self.root()?.map(|root| root.addr());
        Ok(root == Some(super::symbol(self.kernel(), "cgrp_dfl_root")?))
    }

    /// The flags.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn flags(&self) -> Result<CgroupFlags, KernelError> {
        self.raw_flags().map(CgroupFlags::from_bits_retain)
    }

    /// The cgroups above it from the root on, and itself.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for more than there can be.
    pub fn ancestry(&self) -> Result<Vec<Cgroup<'k>>, KernelError> {
        let (mut found, mut next) = (vec![*self], self.itself()?.parent()?);
        while let Some(above) = next {
            if found.len() >= MAX_DEPTH {
                return Err(corrupt("cgroup", self.addr(), "the cgroups above it have no end"));
            }
            let cgroup = above.cgroup()?;
            found.push(cgroup.ok_or_else(|| corrupt("cgroup", self.addr(), "it has no root"))?);
            next = above.parent()?;
        }
        found.reverse();
        Ok(found)
    }

    /// What a controller holds of it; `None` where it is not enabled for it.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for a controller that the kernel has no place for.
    pub fn state_of(
        &self,
        controller: &CgroupSubsys<'k>,
    ) -> Result<Option<CgroupSubsysState<'k>>, KernelError> {
        let (states, number) = (self.subsys()?, u64::from(controller.id()?));
        if number >= states.size() / 8 {
            return Err(states.corrupt(format!("it has no controller {number}")));
        }
        let mut word = [0; 8];
        self.kernel().read(states.addr().wrapping_add(number * 8), &mut word)?;
        let state = GuestVirt::new(u64::from_le_bytes(word));
        if state.is_null() {
            return Ok(None);
        }
        CgroupSubsysState::at(self.kernel(), state).map(Some)
    }

    /// Whether programs of BPF were attached to it: those above it do not count.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn has_programs(&self) -> Result<bool, KernelError> {
        const MOST: u64 = 4096;
        let (Some(lists), Some(kinds)) = (self.bpf_progs()?, self.bpf_effective()?) else {
            return Ok(false);
        };
        let (kinds, size) = (kinds.size() / 8, lists.size());
        if kinds == 0 || size == 0 || size > MOST || !size.is_multiple_of(kinds * 8) {
            return Err(lists.corrupt(format!("it has {kinds} kinds in {size} bytes")));
        }
        let mut bytes = vec![0; size as usize];
        lists.read(&mut bytes)?;
        let width = size / kinds;
        // A `list_head` links to itself where it is empty, a `hlist_head` to nothing.
        Ok((0..kinds).zip(bytes.chunks_exact(width as usize)).any(|(number, head)| {
            let first = head.first_chunk().map_or(0, |first| u64::from_le_bytes(*first));
            first != 0 && first != lists.addr().wrapping_add(number * width).get()
        }))
    }
}

impl CgroupRoot<'_> {
    /// The name, without what ends it.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn name(&self) -> Result<Vec<u8>, KernelError> {
        let raw = self.raw_name()?;
        let len = raw.iter().position(|&byte| byte == 0).unwrap_or(raw.len());
        Ok(raw[..len].to_vec())
    }
}

fn corrupt(what: &str, addr: GuestVirt, why: &str) -> KernelError {
    KernelError::Corrupt { what: what.to_owned(), addr, why: why.to_owned() }
}
