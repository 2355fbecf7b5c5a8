//! What is set for a cgroup of version 2, controller by controller.

use crate::kernel::KernelError;
use crate::linux::{
    Blkcg, CgroupSubsysState, Cpuset, Hstate, HugetlbCgroup, IoLimits, MemCgroup, MiscCg,
    PageCounter, PidsCgroup, RdmaCgroup, Struct, TaskGroup,
};
use crate::snapshot::CgroupParameter;

use super::Reader;
use super::text::{self, huge_page_size, list, pages, up_to};

/// `PIDS_MAX`: more than any kernel has PIDs (`kernel/cgroup/pids.c`).
pub(super) const PIDS_MAX: u64 = (1 << 22) + 1;
/// `RUNTIME_INF`: all CPU time there is (`kernel/sched/sched.h`).
pub(super) const ALL_TIME: u64 = u64::MAX;
/// Nanoseconds of a microsecond.
pub(super) const MICROSECOND: u64 = 1000;
/// `CGROUP_WEIGHT_DFL`.
const DEFAULT_WEIGHT: u32 = 100;

/// Files that set nothing, or what another file sets, or what is looked at here
/// apart from them.
const OTHERS: [&str; 18] = [
    "cgroup.procs",
    "cgroup.threads",
    "cgroup.type",
    "cgroup.subtree_control",
    "cgroup.freeze",
    "cgroup.kill",
    "cgroup.pressure",
    "cpu.pressure",
    "io.pressure",
    "irq.pressure",
    "memory.pressure",
    "memory.reclaim",
    "memory.peak",
    "memory.swap.peak",
    "cpu.weight.nice",
    "cpuset.cpus.partition",
    "misc.max",
    "rdma.max",
];

/// Reads what is set for a cgroup.
pub(super) fn read(reader: &mut Reader<'_, '_>) -> Result<(), KernelError> {
    for file in OTHERS {
        reader.has(file);
    }
    let cgroup = reader.cgroup;
    reader.refuse_if(cgroup.freeze()?, "is frozen");
    reader.refuse_if(cgroup.dom_cgrp()? != cgroup.addr(), "is threaded");
    reader.refuse_if(cgroup.has_programs()?, "has BPF programs");
    for (file, most) in [
        ("cgroup.max.descendants", cgroup.max_descendants()?),
        ("cgroup.max.depth", cgroup.max_depth()?),
    ] {
        let most = u64::try_from(most).unwrap_or(0);
        if reader.has(file) {
            reader.set(file, up_to(most, i32::MAX.cast_unsigned().into()));
        }
    }
    type Controller = fn(&mut Reader<'_, '_>, CgroupSubsysState<'_>) -> Result<(), KernelError>;
    let controllers: [(&str, Controller); 8] = [
        ("cpuset", cpuset),
        ("cpu", cpu),
        ("io", io),
        ("memory", memory),
        ("pids", |reader, state| pids(reader, state)),
        ("hugetlb", |reader, state| hugetlb(reader, state, ("max", text::pages), "max")),
        ("misc", misc),
        ("rdma", rdma),
    ];
    for (name, read) in controllers {
        if let Some(state) = reader.state_of(name)? {
            read(reader, state)?;
        }
    }
    Ok(())
}

fn cpuset(reader: &mut Reader<'_, '_>, state: CgroupSubsysState<'_>) -> Result<(), KernelError> {
    let cpuset = Cpuset::of(state)?;
    if reader.has("cpuset.cpus") {
        reader.set("cpuset.cpus", list(&cpuset.cpus()?));
    }
    if reader.has("cpuset.mems") {
        reader.set("cpuset.mems", list(&cpuset.nodes()?));
    }
    let exclusive = cpuset.cpus_exclusive()?;
    if reader.has("cpuset.cpus.exclusive") && !exclusive.is_empty() {
        reader.set("cpuset.cpus.exclusive", list(&exclusive));
    }
    reader.refuse_if(cpuset.partition_root_state()?.unwrap_or(0) != 0, "is a partition of CPUs");
    Ok(())
}

fn cpu(reader: &mut Reader<'_, '_>, state: CgroupSubsysState<'_>) -> Result<(), KernelError> {
    let group = TaskGroup::of(state)?;
    let is_idle = group.idle()?.unwrap_or(0) != 0;
    if reader.has("cpu.idle") && is_idle {
        reader.set("cpu.idle", 1);
    }
    // Idle ones have a weight that cannot be set.
    if reader.has("cpu.weight") && !is_idle {
        reader.set("cpu.weight", text::weight(text::scaled_down(group.shares()?)));
    }
    let bandwidth = group.bandwidth()?;
    let (quota, period) = (bandwidth.quota()?, bandwidth.period()? / MICROSECOND);
    let quota = if quota == ALL_TIME { "max".into() } else { (quota / MICROSECOND).to_string() };
    if reader.has("cpu.max") {
        reader.set("cpu.max", format!("{quota} {period}"));
    }
    let burst = bandwidth.burst()?.unwrap_or(0) / MICROSECOND;
    if reader.has("cpu.max.burst") && burst != 0 {
        reader.set("cpu.max.burst", burst);
    }
    for (file, clamp) in ["cpu.uclamp.min", "cpu.uclamp.max"].into_iter().zip(group.clamps()?) {
        if reader.has(file)
            && let Some(clamp) = clamp
        {
            reader.set(file, format!("{}.{:02}", clamp / 100, clamp % 100));
        }
    }
    Ok(())
}

fn io(reader: &mut Reader<'_, '_>, state: CgroupSubsysState<'_>) -> Result<(), KernelError> {
    let group = Blkcg::of(state)?;
    let (mut limits, mut weights) = (Vec::new(), Vec::new());
    for disk in group.disks()? {
        let Some(device) = disk.device()? else { continue };
        let own = disk.max()?;
        if own != IoLimits::NONE {
            let bytes = own.bytes.map(|limit| up_to(limit, u64::MAX));
            let times = own.operations.map(|limit| up_to(limit.into(), u32::MAX.into()));
            limits.push(format!(
                "{device} rbps={} wbps={} riops={} wiops={}",
                bytes[0], bytes[1], times[0], times[1]
            ));
        }
        weights.extend(disk.weight()?.map(|weight| format!("{device} {weight}")));
    }
    if reader.has("io.max") {
        limits.sort();
        reader.parameters.extend(lines("io.max", limits));
    }
    if reader.has("io.weight") {
        let weight = group.weight()?.unwrap_or(DEFAULT_WEIGHT);
        reader.set("io.weight", format!("default {weight}"));
        weights.sort();
        reader.parameters.extend(lines("io.weight", weights));
    }
    Ok(())
}

/// One parameter for each line, as the kernel takes one at a time.
pub(super) fn lines(file: &str, lines: Vec<String>) -> impl Iterator<Item = CgroupParameter> {
    lines.into_iter().map(move |value| CgroupParameter { name: file.to_owned(), value })
}

fn memory(reader: &mut Reader<'_, '_>, state: CgroupSubsysState<'_>) -> Result<(), KernelError> {
    let group = MemCgroup::of(state)?;
    let (memory, swap) = (group.memory()?, group.swap()?);
    for (file, limit) in [
        ("memory.min", memory.min()?),
        ("memory.low", memory.low()?),
        ("memory.high", memory.high()?),
        ("memory.max", memory.max()?),
        ("memory.swap.high", swap.high()?),
        ("memory.swap.max", swap.max()?),
    ] {
        if reader.has(file) {
            reader.set(file, pages(limit));
        }
    }
    if reader.has("memory.oom.group") {
        reader.set("memory.oom.group", u8::from(group.oom_group()?));
    }
    // These not all kernels have.
    let limit = group.zswap_max()?.unwrap_or(PageCounter::UNLIMITED);
    if reader.has("memory.zswap.max") && limit < PageCounter::UNLIMITED {
        reader.set("memory.zswap.max", pages(limit));
    }
    if reader.has("memory.zswap.writeback") && group.zswap_writeback()? == Some(false) {
        reader.set("memory.zswap.writeback", 0);
    }
    Ok(())
}

pub(super) fn pids(
    reader: &mut Reader<'_, '_>,
    state: CgroupSubsysState<'_>,
) -> Result<(), KernelError> {
    let limit = PidsCgroup::of(state)?.limit()?;
    if reader.has("pids.max") {
        reader.set("pids.max", up_to(limit, PIDS_MAX));
    }
    Ok(())
}

/// Limits of each size of huge pages, which `limit` is the file of and how it shows
/// them.
pub(super) fn hugetlb(
    reader: &mut Reader<'_, '_>,
    state: CgroupSubsysState<'_>,
    limit: (&str, fn(u64) -> String),
    unlimited: &str,
) -> Result<(), KernelError> {
    let group = HugetlbCgroup::of(state)?;
    let (file, show) = limit;
    for (number, order) in (0..).zip(Hstate::orders(state.kernel())?) {
        let size = huge_page_size(order);
        // What is not limited is so to whole huge pages.
        let most = PageCounter::UNLIMITED >> order << order;
        for (kind, counters) in [("", group.hugepage()?), ("rsvd.", group.rsvd_hugepage()?)] {
            let pages = counters.get(number)?.max()?;
            let value = if pages >= most && !unlimited.is_empty() {
                unlimited.to_owned()
            } else {
                show(pages)
            };
            let name = format!("hugetlb.{size}.{kind}{file}");
            if reader.has(&name) {
                reader.set(name, value);
            }
        }
    }
    Ok(())
}

fn misc(reader: &mut Reader<'_, '_>, state: CgroupSubsysState<'_>) -> Result<(), KernelError> {
    let is_limited = MiscCg::of(state)?.has_limits()?;
    reader.refuse_if(is_limited, "has limits of the controller misc");
    Ok(())
}

fn rdma(reader: &mut Reader<'_, '_>, state: CgroupSubsysState<'_>) -> Result<(), KernelError> {
    let has_pools = !RdmaCgroup::of(state)?.rpools()?.is_empty()?;
    reader.refuse_if(has_pools, "has limits or use of the controller rdma");
    Ok(())
}
