//! Settings of a thread that no version of CRIU keeps, where they are not the
//! default.

use crate::kernel::KernelError;
use crate::linux::{Task, TaskFlags};

use super::seccomp::STRICT;

/// Notes them, and what they are set by.
pub(super) fn survey(
    thread: &Task<'_>,
    note: &mut impl FnMut(bool, &str),
) -> Result<(), KernelError> {
    execution(thread, note)?;
    scheduling(thread, note)?;
    let io_priority = thread.io_context()?.map_or(Ok(0), |context| context.priority())?;
    note(io_priority != 0, "has an I/O priority (ionice)");
    note(thread.mempolicy()?.is_some_and(|policy| !policy.is_null()), "has a NUMA memory policy");
    let has_keys = match thread.cred()? {
        Some(cred) => [cred.process_keyring()?, cred.thread_keyring()?]
            .into_iter()
            .flatten()
            .any(|keyring| !keyring.is_null()),
        None => false,
    };
    note(has_keys, "has keys of its own (keyctl)");
    let flags = thread.flags()?;
    note(flags.contains(TaskFlags::LOCAL_THROTTLE), "serves a device (PR_SET_IO_FLUSHER)");
    note(
        flags.contains(TaskFlags::MCE_PROCESS),
        "chose what becomes of it when memory fails (PR_MCE_KILL)",
    );
    Ok(())
}

/// What instructions and system calls do.
fn execution(thread: &Task<'_>, note: &mut impl FnMut(bool, &str)) -> Result<(), KernelError> {
    // `PFA_SPEC_*` (`include/linux/sched.h`).
    const SPECULATION: u64 = 0xf8;
    // `SYSCALL_WORK_BIT_SYSCALL_USER_DISPATCH` (`include/linux/thread_info.h`).
    const USER_DISPATCH: u64 = 1 << 5;
    // `XFEATURE_XTILE_DATA` (`arch/x86/include/asm/fpu/types.h`).
    const TILES: u64 = 1 << 18;
    let dispatches = thread.syscall_work()?.unwrap_or(0) & USER_DISPATCH != 0;
    let has_ports = thread.io_bitmap()?.is_some_and(|bitmap| !bitmap.is_null())
        || thread.iopl()?.unwrap_or(0) != 0;
    let has_tiles = thread.fpu_state()?.permitted()?.unwrap_or(0) & TILES != 0;
    let faults = thread.faulting_instructions()?;
    // Strict seccomp brings it along, and does so again after a restore
    // (`seccomp_set_mode_strict()`, `kernel/seccomp.c`).
    let may_read_clock = !faults.rdtsc || thread.seccomp_mode()? == STRICT;
    note(thread.personality()? != 0, "has a personality (setarch)");
    note(dispatches, "has its system calls dispatched (PR_SET_SYSCALL_USER_DISPATCH)");
    note(has_ports, "may use I/O ports (ioperm, iopl)");
    note(has_tiles, "may use AMX (ARCH_REQ_XCOMP_PERM)");
    note(!may_read_clock, "may not read the time-stamp counter (PR_SET_TSC)");
    note(faults.cpuid, "may not ask what the CPU is (ARCH_SET_CPUID)");
    note(
        thread.atomic_flags()? & SPECULATION != 0,
        "has a speculation setting (PR_SET_SPECULATION_CTRL)",
    );
    Ok(())
}

/// When it runs, and beside whom.
fn scheduling(thread: &Task<'_>, note: &mut impl FnMut(bool, &str)) -> Result<(), KernelError> {
    // `UCLAMP_MIN` and `UCLAMP_MAX` (`include/linux/sched.h`).
    let is_limited = match thread.uclamp_requests()? {
        Some(limits) => limits.get(0)?.user_defined()? || limits.get(1)?.user_defined()?,
        None => false,
    };
    note(thread.sched_reset_on_fork()?, "resets its scheduling policy on fork");
    note(is_limited, "has limits of utilisation (uclamp)");
    note(thread.custom_slice()?.unwrap_or(false), "has a time slice of its own (sched_setattr)");
    note(thread.core_cookie()?.unwrap_or(0) != 0, "has a core of its own (PR_SCHED_CORE)");
    Ok(())
}
