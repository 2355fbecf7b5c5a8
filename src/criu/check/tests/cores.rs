//! Cores: registers, timers, signals.

use super::*;

pub fn core(set: &mut Set, tid: u32, f: impl Fn(&mut CoreEntry)) {
    change(set, ImageKind::Core, tid, |entries| f(&mut entries[0]));
}

fn task(set: &mut Set, f: impl Fn(&mut TaskCoreEntry)) {
    core(set, 100, |core| f(core.tc.as_mut().expect("tc")));
}

fn thread(set: &mut Set, f: impl Fn(&mut ThreadCoreEntry)) {
    core(set, 101, |core| f(core.thread_core.as_mut().expect("thread_core")));
}

fn gpregs(set: &mut Set, f: impl Fn(&mut UserX86RegsEntry)) {
    core(set, 101, |core| f(&mut core.thread_info.as_mut().expect("thread_info").gpregs));
}

pub(super) fn fpregs(set: &mut Set, f: impl Fn(&mut UserX86FpregsEntry)) {
    core(set, 100, |core| f(&mut core.thread_info.as_mut().expect("thread_info").fpregs));
}

#[test]
fn mistakes_in_cores_are_found() {
    let leader = "core-100.img";
    let other = "core-101.img";
    assert_found(&[
        (|s| core(s, 100, |c| c.mtype = 0), leader, "mtype"),
        (|s| core(s, 100, |c| c.thread_info = None), leader, "thread_info"),
        (|s| core(s, 100, |c| c.thread_core = None), leader, "thread_core"),
        (|s| core(s, 100, |c| c.tc = None), leader, "tc"),
        (|s| core(s, 101, |c| c.tc = Some(TaskCoreEntry::default())), other, "tc"),
        (|s| core(s, 101, |c| c.ids = Some(TaskKobjIdsEntry::default())), other, "ids"),
        (|s| task(s, |t| t.task_state = 99), leader, "tc.task_state"),
        (|s| task(s, |t| (t.task_state, t.stop_signo) = (3, Some(9))), leader, "tc.stop_signo"),
        (|s| task(s, |t| t.timers = None), leader, "tc.timers"),
        (
            |s| task(s, |t| t.timers.as_mut().expect("timers").prof.vusec = 1_000_000),
            leader,
            "tc.timers.prof",
        ),
        (|s| task(s, |t| t.rlimits = None), leader, "tc.rlimits"),
        (
            |s| task(s, |t| t.rlimits.as_mut().expect("rlimits").rlimits.truncate(15)),
            leader,
            "tc.rlimits",
        ),
        (
            |s| task(s, |t| t.rlimits.as_mut().expect("rlimits").rlimits[3].max = 5),
            leader,
            "tc.rlimits",
        ),
        // There are two timers.
        (
            |s| task(s, |t| t.rlimits.as_mut().expect("rlimits").rlimits[11].cur = 1),
            leader,
            "tc.rlimits",
        ),
        (
            |s| {
                task(s, |t| t.rlimits.as_mut().expect("rlimits").rlimits[11].cur = 2);
                let mut siginfo = vec![0; 128];
                siginfo[0] = 34;
                let signals = vec![SiginfoEntry { siginfo }];
                thread(s, |t| t.signals_p = Some(SignalQueueEntry { signals: signals.clone() }));
            },
            leader,
            "tc.rlimits",
        ),
        (|s| task(s, |t| t.sigactions.truncate(61)), leader, "tc.sigactions"),
        (
            |s| {
                let mut siginfo = vec![0; 128];
                siginfo[0] = 17;
                let signals = vec![SiginfoEntry { siginfo }];
                thread(s, |t| t.signals_p = Some(SignalQueueEntry { signals: signals.clone() }));
            },
            leader,
            "tc.sigactions",
        ),
        (
            |s| {
                task(s, |t| {
                    let short = SiginfoEntry { siginfo: vec![0; 127] };
                    t.signals_s = Some(SignalQueueEntry { signals: vec![short] });
                });
            },
            leader,
            "tc.signals_s",
        ),
        (|s| thread(s, |t| t.futex_rla_len = 16), other, "thread_core.futex_rla_len"),
        (|s| thread(s, |t| t.creds = None), other, "thread_core.creds"),
        (
            |s| thread(s, |t| t.creds.as_mut().expect("creds").cap_bnd.truncate(1)),
            other,
            "thread_core.creds.cap_bnd",
        ),
        (
            |s| thread(s, |t| t.creds.as_mut().expect("creds").cap_amb.push(1)),
            other,
            "thread_core.creds.cap_amb",
        ),
        (|s| thread(s, |t| t.sched_policy = Some(6)), other, "thread_core.sched_policy"),
        (|s| thread(s, |t| t.sched_policy = Some(1)), other, "thread_core.sched_prio"),
        (|s| thread(s, |t| t.sched_nice = Some(20)), other, "thread_core.sched_nice"),
        (
            |s| thread(s, |t| (t.seccomp_mode, t.seccomp_filter) = (Some(2), Some(2))),
            other,
            "thread_core.seccomp_filter",
        ),
    ]);
}

/// The first timer is on CLOCK_MONOTONIC, the second on a thread's CPU time.
fn posix_timer(set: &mut Set, index: usize, f: impl Fn(&mut PosixTimerEntry)) {
    task(set, |task| f(&mut task.timers.as_mut().expect("timers").posix[index]));
}

fn cpu(set: &mut Set, f: impl Fn(&mut CpuinfoX86Entry)) {
    change(set, ImageKind::Cpuinfo, 0, |entries: &mut Vec<CpuinfoEntry>| {
        f(&mut entries[0].x86_entry[0]);
    });
}

#[test]
fn mistakes_in_the_cpu_are_found() {
    assert_found(&[
        (|s| cpu(s, |c| c.capability_ver = 3), "cpuinfo.img", "x86_entry.capability_ver"),
        (|s| cpu(s, |c| c.capability.push(0)), "cpuinfo.img", "x86_entry.capability"),
        (
            |s| {
                change(s, ImageKind::Cpuinfo, 0, |c: &mut Vec<CpuinfoEntry>| c[0].x86_entry.clear())
            },
            "cpuinfo.img",
            "x86_entry",
        ),
    ]);
}

#[test]
fn mistakes_in_posix_timers_are_found() {
    let image = "core-100.img";
    let field = "tc.timers.posix";
    assert_found(&[
        (|s| posix_timer(s, 1, |t| t.it_id = 0), image, field),
        (|s| posix_timer(s, 0, |t| t.it_id = 1 << 31), image, field),
        (|s| posix_timer(s, 0, |t| t.insec = 1_000_000_000), image, field),
        (|s| posix_timer(s, 0, |t| t.vnsec = 1_000_000_000), image, field),
        (|s| posix_timer(s, 0, |t| t.vsec = u64::MAX), image, field),
        (|s| posix_timer(s, 0, |t| (t.vsec, t.vnsec) = (0, 0)), image, field),
        (|s| posix_timer(s, 0, |t| t.it_sigev_notify = 3), image, field),
        (|s| posix_timer(s, 0, |t| t.si_signo = 0), image, field),
        (|s| posix_timer(s, 0, |t| t.si_signo = 65), image, field),
        (|s| posix_timer(s, 1, |t| t.notify_thread_id = Some(102)), image, field),
        (|s| posix_timer(s, 1, |t| t.notify_thread_id = None), image, field),
        (|s| posix_timer(s, 0, |t| t.clock_id = 4), image, field),
        // The CPU time of thread 102, and of process 101.
        (|s| posix_timer(s, 1, |t| t.clock_id = (!102 << 3 | 6_i32).cast_unsigned()), image, field),
        (|s| posix_timer(s, 1, |t| t.clock_id = (!101 << 3 | 2_i32).cast_unsigned()), image, field),
        (|s| posix_timer(s, 1, |t| t.clock_id = (!100 << 3 | 3_i32).cast_unsigned()), image, field),
    ]);
}

#[test]
fn mistakes_in_registers_are_found() {
    let general = "core-101.img";
    let extended = "core-100.img";
    assert_found(&[
        (|s| gpregs(s, |r| r.cs = 0x2b), general, "thread_info.gpregs.cs"),
        (|s| gpregs(s, |r| r.ss = 0), general, "thread_info.gpregs.ss"),
        (|s| gpregs(s, |r| r.ip = 0xffff_ffff_8100_0000), general, "thread_info.gpregs.ip"),
        (|s| gpregs(s, |r| r.ip = 0x8000_0000_0000), general, "thread_info.gpregs.ip"),
        // Data, and the vdso.
        (|s| gpregs(s, |r| r.ip = 0x40_1000), general, "thread_info.gpregs.ip"),
        (|s| gpregs(s, |r| r.ip = 0x7ffc_1000_4010), general, "thread_info.gpregs.ip"),
        (|s| gpregs(s, |r| r.sp = u64::MAX), general, "thread_info.gpregs.sp"),
        (|s| gpregs(s, |r| r.fs_base = 1 << 63), general, "thread_info.gpregs.fs_base"),
        (|s| gpregs(s, |r| r.flags |= 0x3000), general, "thread_info.gpregs.flags"),
        (|s| gpregs(s, |r| r.mode = Some(2)), general, "thread_info.gpregs.mode"),
        (|s| fpregs(s, |r| r.mxcsr = u32::MAX), extended, "thread_info.fpregs.mxcsr"),
        (
            |s| fpregs(s, |r| (r.mxcsr, r.mxcsr_mask) = (0x1fc0, 0xffbf)),
            extended,
            "thread_info.fpregs.mxcsr",
        ),
        (|s| fpregs(s, |r| r.twd = 0x1_0000), extended, "thread_info.fpregs.twd"),
        (|s| fpregs(s, |r| r.st_space.clear()), extended, "thread_info.fpregs.st_space"),
        (|s| fpregs(s, |r| r.xmm_space.truncate(63)), extended, "thread_info.fpregs.xmm_space"),
        (
            |s| fpregs(s, |r| r.xsave.as_mut().expect("xsave").ymmh_space.truncate(10)),
            extended,
            "thread_info.fpregs.xsave.ymmh_space",
        ),
        (
            |s| fpregs(s, |r| r.xsave.as_mut().expect("xsave").xstate_bv |= 1 << 7),
            extended,
            "thread_info.fpregs.xsave.hi16_zmm",
        ),
    ]);
}

#[test]
fn mistakes_in_seccomp_filters_are_found() {
    fn filters(set: &mut Set, f: impl Fn(&mut Vec<SeccompFilter>)) {
        change::<SeccompEntry>(set, ImageKind::Seccomp, 0, |entries| {
            f(&mut entries[0].seccomp_filters);
        });
    }
    let image = "seccomp.img";
    assert_found(&[
        (|s| filters(s, |f| f[0].filter.clear()), image, "seccomp_filters.filter"),
        (|s| filters(s, |f| f[0].filter.push(0)), image, "seccomp_filters.filter"),
        (|s| filters(s, |f| f[1].filter = vec![0; 8 * 4097]), image, "seccomp_filters.filter"),
        (|s| filters(s, |f| f[1].prev = Some(1)), image, "seccomp_filters.prev"),
        (|s| filters(s, |f| f[0].prev = Some(2)), image, "seccomp_filters.prev"),
    ]);
}
