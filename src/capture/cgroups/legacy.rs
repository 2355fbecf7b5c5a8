//! What is set for a cgroup of version 1, controller by controller. As CRIU has it
//! (`cgp_parse_builtins()`, `criu/cgroup-props.c`), with limits of I/O and of huge
//! pages.

use crate::kernel::KernelError;
use crate::linux::{
    Blkcg, CgroupClsState, CgroupFlags, CgroupSubsysState, Cpuset, CpusetFlags, DevCgroup, Freezer,
    MemCgroup, PageCounter, TaskGroup,
};

use super::Reader;
use super::text::{bytes, list, scaled_down};
use super::unified::{self, ALL_TIME, MICROSECOND, hugetlb, lines};

/// What a cgroup has where nobody has set another: `vm.swappiness`.
const SWAPPINESS: i32 = 60;
/// `CGROUP_FREEZER_ONLINE`: the only bit of one that freezes nothing.
const FREEZER_ONLINE: u32 = 1 << 0;
/// `DEVCG_DEFAULT_ALLOW`.
const ALLOW: u32 = 1;

/// Files that set nothing, or what is looked at here apart from them.
const OTHERS: [&str; 23] = [
    "tasks",
    "cgroup.procs",
    "cgroup.event_control",
    "cpuacct.usage",
    "freezer.state",
    "devices.allow",
    "devices.deny",
    "blkio.reset_stats",
    "memory.force_empty",
    "memory.failcnt",
    "memory.max_usage_in_bytes",
    "memory.memsw.failcnt",
    "memory.memsw.max_usage_in_bytes",
    "memory.kmem.failcnt",
    "memory.kmem.max_usage_in_bytes",
    "memory.kmem.tcp.failcnt",
    "memory.kmem.tcp.max_usage_in_bytes",
    "memory.pressure_level",
    "cpu.idle",
    "cpu.cfs_burst_us",
    "cpu.shares",
    "notify_on_release",
    "cgroup.clone_children",
];

/// Reads what is set for a cgroup.
pub(super) fn read(reader: &mut Reader<'_, '_>) -> Result<(), KernelError> {
    for file in OTHERS {
        reader.has(file);
    }
    let flags = reader.cgroup.flags()?;
    for (file, flag) in [
        ("notify_on_release", CgroupFlags::NOTIFY_ON_RELEASE),
        ("cgroup.clone_children", CgroupFlags::CLONE_CHILDREN),
    ] {
        if flags.contains(flag) {
            reader.set(file, 1);
        }
    }
    type Controller = fn(&mut Reader<'_, '_>, CgroupSubsysState<'_>) -> Result<(), KernelError>;
    let controllers: [(&str, Controller); 8] = [
        ("cpuset", cpuset),
        ("cpu", cpu),
        ("io", blkio),
        ("memory", memory),
        ("devices", devices),
        ("freezer", freezer),
        ("net_cls", net_cls),
        ("pids", unified::pids),
    ];
    for (name, read) in controllers {
        if let Some(state) = reader.state_of(name)? {
            read(reader, state)?;
        }
    }
    if let Some(state) = reader.state_of("hugetlb")? {
        for file in reader.files.keys().cloned().collect::<Vec<_>>() {
            let counts = file.ends_with(".failcnt") || file.ends_with(".max_usage_in_bytes");
            if file.starts_with("hugetlb.") && counts {
                reader.has(&file);
            }
        }
        hugetlb(reader, state, ("limit_in_bytes", bytes), "")?;
    }
    Ok(())
}

fn cpuset(reader: &mut Reader<'_, '_>, state: CgroupSubsysState<'_>) -> Result<(), KernelError> {
    let cpuset = Cpuset::of(state)?;
    let flags = cpuset.flags()?;
    // Newer kernels count from another bit on.
    reader.refuse_if(!flags.contains(CpusetFlags::ONLINE), "is a cpuset of flags not known");
    for (file, value) in [("cpuset.cpus", cpuset.cpus()?), ("cpuset.mems", cpuset.nodes()?)] {
        if reader.has(file) {
            reader.set(file, list(&value));
        }
    }
    for (file, flag) in [
        ("cpuset.memory_migrate", CpusetFlags::MEMORY_MIGRATE),
        ("cpuset.cpu_exclusive", CpusetFlags::CPU_EXCLUSIVE),
        ("cpuset.mem_exclusive", CpusetFlags::MEM_EXCLUSIVE),
        ("cpuset.mem_hardwall", CpusetFlags::MEM_HARDWALL),
        ("cpuset.memory_spread_page", CpusetFlags::SPREAD_PAGE),
        ("cpuset.memory_spread_slab", CpusetFlags::SPREAD_SLAB),
        ("cpuset.sched_load_balance", CpusetFlags::SCHED_LOAD_BALANCE),
    ] {
        if reader.has(file) {
            reader.set(file, u8::from(flags.contains(flag)));
        }
    }
    if let Some(level) = cpuset.relax_domain_level()?
        && reader.has("cpuset.sched_relax_domain_level")
    {
        reader.set("cpuset.sched_relax_domain_level", level);
    }
    Ok(())
}

fn cpu(reader: &mut Reader<'_, '_>, state: CgroupSubsysState<'_>) -> Result<(), KernelError> {
    let group = TaskGroup::of(state)?;
    // Idle ones have a weight that cannot be set.
    if group.idle()?.unwrap_or(0) != 0 {
        reader.set("cpu.idle", 1);
    } else {
        reader.set("cpu.shares", scaled_down(group.shares()?));
    }
    let bandwidth = group.bandwidth()?;
    if reader.has("cpu.cfs_period_us") {
        reader.set("cpu.cfs_period_us", bandwidth.period()? / MICROSECOND);
    }
    if reader.has("cpu.cfs_quota_us") {
        let quota = bandwidth.quota()?;
        let all = quota == ALL_TIME;
        let value = if all { "-1".to_owned() } else { (quota / MICROSECOND).to_string() };
        reader.set("cpu.cfs_quota_us", value);
    }
    for (file, clamp) in ["cpu.uclamp.min", "cpu.uclamp.max"].into_iter().zip(group.clamps()?) {
        if reader.has(file)
            && let Some(clamp) = clamp
        {
            reader.set(file, format!("{}.{:02}", clamp / 100, clamp % 100));
        }
    }
    let burst = bandwidth.burst()?.unwrap_or(0) / MICROSECOND;
    if burst != 0 {
        reader.set("cpu.cfs_burst_us", burst);
    }
    Ok(())
}

fn blkio(reader: &mut Reader<'_, '_>, state: CgroupSubsysState<'_>) -> Result<(), KernelError> {
    let mut limits: [Vec<String>; 4] = Default::default();
    for disk in Blkcg::of(state)?.disks()? {
        let Some(device) = disk.device()? else { continue };
        let own = disk.throttle()?;
        let bytes = own.bytes.map(|limit| Some(limit).filter(|limit| *limit != u64::MAX));
        let times = own.operations.map(|limit| Some(limit).filter(|limit| *limit != u32::MAX));
        let all = [bytes[0], bytes[1], times[0].map(u64::from), times[1].map(u64::from)];
        for (lines, limit) in limits.iter_mut().zip(all) {
            lines.extend(limit.map(|limit| format!("{device} {limit}")));
        }
    }
    for (file, mut own) in [
        "blkio.throttle.read_bps_device",
        "blkio.throttle.write_bps_device",
        "blkio.throttle.read_iops_device",
        "blkio.throttle.write_iops_device",
    ]
    .into_iter()
    .zip(limits)
    {
        if reader.has(file) {
            own.sort();
            reader.parameters.extend(lines(file, own));
        }
    }
    Ok(())
}

fn memory(reader: &mut Reader<'_, '_>, state: CgroupSubsysState<'_>) -> Result<(), KernelError> {
    let group = MemCgroup::of(state)?;
    if reader.has("memory.use_hierarchy")
        && let Some(hierarchy) = group.use_hierarchy()?
    {
        reader.set("memory.use_hierarchy", u8::from(hierarchy));
    }
    // The limit of memory comes first: that with swap must not be below it.
    let memory = group.memory()?.max()?;
    let both = group.swap()?.max()?;
    for (file, limit) in [
        ("memory.limit_in_bytes", Some(memory)),
        ("memory.memsw.limit_in_bytes", Some(both)),
        ("memory.soft_limit_in_bytes", group.soft_limit()?),
    ] {
        if reader.has(file)
            && let Some(limit) = limit
        {
            reader.set(file, bytes(limit));
        }
    }
    for (file, counter) in [
        ("memory.kmem.limit_in_bytes", group.kmem()?),
        ("memory.kmem.tcp.limit_in_bytes", group.tcpmem()?),
    ] {
        let limit = counter.map_or(Ok(PageCounter::UNLIMITED), |counter| counter.max())?;
        // Later kernels do not let it be set.
        if reader.has(file) && limit < PageCounter::UNLIMITED {
            reader.set(file, bytes(limit));
        }
    }
    let swappiness = group.swappiness()?.unwrap_or(SWAPPINESS);
    if reader.has("memory.swappiness") && swappiness != SWAPPINESS {
        reader.set("memory.swappiness", swappiness);
    }
    let move_charge = group.move_charge_at_immigrate()?.unwrap_or(0);
    if reader.has("memory.move_charge_at_immigrate") && move_charge != 0 {
        reader.set("memory.move_charge_at_immigrate", move_charge);
    }
    if reader.has("memory.oom_control") && group.oom_kill_disable()?.unwrap_or(0) != 0 {
        reader.set("memory.oom_control", 1);
    }
    Ok(())
}

fn devices(reader: &mut Reader<'_, '_>, state: CgroupSubsysState<'_>) -> Result<(), KernelError> {
    let group = DevCgroup::of(state)?;
    let restricted = group.behavior()? != ALLOW || !group.exceptions()?.is_empty()?;
    reader.refuse_if(restricted, "restricts devices");
    Ok(())
}

fn freezer(reader: &mut Reader<'_, '_>, state: CgroupSubsysState<'_>) -> Result<(), KernelError> {
    let is_frozen = Freezer::of(state)?.state()? & !FREEZER_ONLINE != 0;
    reader.refuse_if(is_frozen, "is frozen");
    Ok(())
}

fn net_cls(reader: &mut Reader<'_, '_>, state: CgroupSubsysState<'_>) -> Result<(), KernelError> {
    let class = CgroupClsState::of(state)?.classid()?;
    if reader.has("net_cls.classid") {
        reader.set("net_cls.classid", class);
    }
    Ok(())
}
