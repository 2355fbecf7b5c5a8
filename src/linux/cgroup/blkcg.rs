//! The controller `io`, `blkio` in version 1: `struct blkcg` (`block/blk-cgroup.h`).
//!
//! A cgroup has a `blkcg_gq` for each disk that it used or that was set up for it.
//! There, and in the `blkcg`, each policy has what it keeps, by a number that it got
//! at boot.

use crate::kernel::{Kernel, KernelError};
use crate::linux::list::MAX_ENTRIES;
use crate::linux::view::{Place, Ptr, Raw, Struct};
use crate::memory::GuestVirt;

use super::subsys::states;

/// `WEIGHT_ONE` in `block/blk-iocost.c`: what a weight of 1 is kept as.
const WEIGHT_ONE: u32 = 1 << 16;

kernel_struct! {
    /// What the controller `io` holds of a cgroup: `struct blkcg`.
    (optional) pub struct Blkcg: "blkcg" {
        /// What all controllers hold.
        css: Raw = ["css"],
        /// What it holds for each disk: the first of a `hlist`.
        blkg_list: GuestVirt = ["blkg_list.first"],
        /// What policies hold, by number: `blkcg_policy_data *[]`.
        cpd: Raw = ["cpd"],
    }
}

kernel_struct! {
    /// What the controller `io` holds of a cgroup for a disk: `struct blkcg_gq`.
    (optional) pub struct BlkcgGq: "blkcg_gq" {
        /// The disk.
        queue: Ptr<RequestQueue<'k>> = ["q"],
        /// Its place among those of the cgroup.
        blkcg_node: Raw = ["blkcg_node"],
        /// The next one's.
        next: GuestVirt = ["blkcg_node.next"],
        /// What policies hold, by number: `blkg_policy_data *[]`.
        pd: Raw = ["pd"],
    }
}

kernel_struct! {
    /// What a disk is asked through: `struct request_queue`.
    pub struct RequestQueue: "request_queue" {
        /// The disk, since 5.15.
        disk: Ptr<Gendisk<'k>> = ?["disk"],
        /// What was kept there before.
        backing_dev_info: Ptr<BackingDevInfo<'k>> = ?["backing_dev_info"],
    }
}

kernel_struct! {
    /// A disk: `struct gendisk`.
    pub struct Gendisk: "gendisk" {
        /// What caches know of it, since 5.15.
        bdi: Ptr<BackingDevInfo<'k>> = ?["bdi"],
    }
}

kernel_struct! {
    /// What caches know of a disk: `struct backing_dev_info`.
    pub struct BackingDevInfo: "backing_dev_info" {
        /// Its numbers, as `254:0`.
        dev_name: [u8; 64] = ["dev_name"],
    }
}

kernel_struct! {
    /// A policy: `struct blkcg_policy`.
    (optional) pub struct BlkcgPolicy: "blkcg_policy" {
        /// Its number.
        plid: i32 = ["plid"],
    }
}

kernel_struct! {
    /// Limits of a disk: `struct throtl_grp` (`block/blk-throttle.h`). Up to 6.8 each
    /// has another one before it, and what is set for version 2 is kept apart from
    /// what is used, which version 1 sets at once.
    (optional) pub struct ThrotlGrp: "throtl_grp" {
        /// What all policies keep.
        pd: Raw = ["pd"],
        /// Bytes a second, `u64` for reads and writes.
        bps: Raw = ["bps"],
        /// Operations a second, `u32`.
        iops: Raw = ["iops"],
        /// As `bps`, of version 2.
        bps_conf: Raw = ["bps_conf", "bps"],
        /// As `iops`, of version 2.
        iops_conf: Raw = ["iops_conf", "iops"],
    }
}

kernel_struct! {
    /// `io.weight` of a cgroup: `struct ioc_cgrp` (`block/blk-iocost.c`).
    (optional) pub struct IocCgrp: "ioc_cgrp" {
        /// What all policies keep.
        cpd: Raw = ["cpd"],
        /// That for disks which have none of their own, times `WEIGHT_ONE`.
        dfl_weight: u32 = ["dfl_weight"],
    }
}

kernel_struct! {
    /// `io.weight` of a disk: `struct ioc_gq`.
    (optional) pub struct IocGq: "ioc_gq" {
        /// What all policies keep.
        pd: Raw = ["pd"],
        /// Times `WEIGHT_ONE`; 0 where there is none.
        cfg_weight: u32 = ["cfg_weight"],
    }
}

states!(Blkcg);

/// How fast a disk may be read and written, each of reads and of writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IoLimits {
    /// Bytes a second; `u64::MAX` for no limit.
    pub bytes: [u64; 2],
    /// Operations a second; `u32::MAX` for no limit.
    pub operations: [u32; 2],
}

impl IoLimits {
    /// Nothing is limited.
    pub const NONE: Self = Self { bytes: [u64::MAX; 2], operations: [u32::MAX; 2] };

    fn of(bytes: Place<'_>, operations: Place<'_>) -> Result<Self, KernelError> {
        Ok(Self {
            bytes: of_reads_and_writes::<8>(bytes)?.map(u64::from_le_bytes),
            operations: of_reads_and_writes::<4>(operations)?.map(u32::from_le_bytes),
        })
    }
}

impl<'k> Blkcg<'k> {
    /// What it holds for each disk.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for more than there can be.
    pub fn disks(&self) -> Result<Vec<BlkcgGq<'k>>, KernelError> {
        let (mut found, mut next) = (Vec::new(), self.blkg_list()?);
        while !next.is_null() {
            if found.len() >= MAX_ENTRIES {
                return Err(super::corrupt("blkcg", self.addr(), "it has no end of disks"));
            }
            let disk = BlkcgGq::container_of(self.kernel(), next, "blkcg_node")?;
            found.push(disk);
            next = disk.next()?;
        }
        Ok(found)
    }

    /// The default of `io.weight`; `None` where the kernel has no such.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn weight(&self) -> Result<Option<u32>, KernelError> {
        let Some(data) = policy(self.kernel(), "blkcg_policy_iocost", self.cpd()?)? else {
            return Ok(None);
        };
        let data = IocCgrp::container_of(self.kernel(), data, "cpd")?;
        Ok(Some(data.dfl_weight()? / WEIGHT_ONE))
    }
}

impl BlkcgGq<'_> {
    /// The numbers of the disk, as `254:0`; `None` where it has gone.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn device(&self) -> Result<Option<String>, KernelError> {
        let Some(queue) = self.queue()? else { return Ok(None) };
        let info = match queue.backing_dev_info()?.flatten() {
            Some(info) => Some(info),
            None => match queue.disk()?.flatten() {
                Some(disk) => disk.bdi()?.flatten(),
                None => None,
            },
        };
        let Some(info) = info else { return Ok(None) };
        let name = info.dev_name()?;
        let len = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
        let name = String::from_utf8_lossy(&name[..len]).into_owned();
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let is_device = name.split_once(':').is_some_and(|(a, b)| is_number(a) && is_number(b));
        Ok(is_device.then_some(name))
    }

    /// `io.max`.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn max(&self) -> Result<IoLimits, KernelError> {
        let Some(group) = self.throttled()? else { return Ok(IoLimits::NONE) };
        IoLimits::of(group.bps_conf()?, group.iops_conf()?)
    }

    /// `blkio.throttle` of version 1.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn throttle(&self) -> Result<IoLimits, KernelError> {
        let Some(group) = self.throttled()? else { return Ok(IoLimits::NONE) };
        IoLimits::of(group.bps()?, group.iops()?)
    }

    fn throttled(&self) -> Result<Option<ThrotlGrp<'_>>, KernelError> {
        let data = policy(self.kernel(), "blkcg_policy_throtl", self.pd()?)?;
        data.map(|data| ThrotlGrp::container_of(self.kernel(), data, "pd")).transpose()
    }

    /// `io.weight` of the disk; `None` where there is none of its own.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn weight(&self) -> Result<Option<u32>, KernelError> {
        let Some(data) = policy(self.kernel(), "blkcg_policy_iocost", self.pd()?)? else {
            return Ok(None);
        };
        let group = IocGq::container_of(self.kernel(), data, "pd")?;
        Ok(Some(group.cfg_weight()? / WEIGHT_ONE).filter(|&weight| weight != 0))
    }
}

/// The number for reads and that for writes, of `N` bytes each, or the last of
/// each where several stand for them: `LIMIT_MAX` behind `LIMIT_LOW`.
fn of_reads_and_writes<const N: usize>(place: Place<'_>) -> Result<[[u8; N]; 2], KernelError> {
    const MOST: u64 = 64;
    if place.size() > MOST || place.size() < 2 * N as u64 {
        return Err(place.corrupt(format!("{} bytes are no limits", place.size())));
    }
    let mut bytes = vec![0; place.size() as usize];
    place.read(&mut bytes)?;
    let each = bytes.len() / 2;
    let last = |half: &[u8]| half.last_chunk().copied().unwrap_or([0; N]);
    Ok([last(&bytes[..each]), last(&bytes[each..])])
}

/// What a policy keeps in a table of those of all policies; `None` where the kernel
/// has no such policy.
fn policy(
    kernel: &Kernel,
    symbol: &'static str,
    table: Place<'_>,
) -> Result<Option<GuestVirt>, KernelError> {
    let Some(policy) = kernel.symbol(symbol) else { return Ok(None) };
    let number = BlkcgPolicy::at(kernel, policy)?.plid()?;
    let number = u64::try_from(number).ok().filter(|&number| number < table.size() / 8);
    let Some(number) = number else {
        return Err(table.corrupt(format!("it has no place for {symbol}")));
    };
    let mut word = [0; 8];
    kernel.read(table.addr().wrapping_add(number * 8), &mut word)?;
    let data = GuestVirt::new(u64::from_le_bytes(word));
    Ok((!data.is_null()).then_some(data))
}
