//! What a thread has for itself alone.

use crate::control::Target;
use crate::kernel::{Kernel, KernelError};
use crate::linux::{Cred, Struct, Task, symbol};
use crate::memory::AddressSpace;
use crate::snapshot::{
    AltStack, Credentials, ExtendedState, Rseq, Scheduling, SigSet, Thread, component,
};

use super::error::CaptureError;
use super::seccomp::Filters;
use super::signals::Deliveries;
use super::timers::PosixTimers;
use super::xsave::{ComponentLayout, XsaveLayout, parse, parse_fxsave};
use super::{confinement, registers, signals};

/// Nice 0 in `static_prio` (`include/linux/sched/prio.h`).
const DEFAULT_PRIO: i32 = 120;
/// `SS_AUTODISARM`: the only flag that stays with an alternate stack.
const SS_AUTODISARM: u32 = 1 << 31;
/// `PFA_NO_NEW_PRIVS` (`include/linux/sched.h`).
const NO_NEW_PRIVS: u64 = 1 << 0;
/// The length of `struct rseq` that glibc registers, and the only one that
/// kernels without `rseq_len` accept.
const RSEQ_LEN: u32 = 32;
/// An XSAVE area has a header behind the legacy area.
const XSAVE_HEADER_END: usize = 576;

/// Reads threads of one process.
pub(super) struct Reader<'a, 'k> {
    timers: &'a PosixTimers,
    deliveries: Deliveries<'k>,
    /// `CLOCK_MONOTONIC` in nanoseconds.
    now: u64,
    space: AddressSpace,
    layout: XsaveLayout,
}

impl<'a, 'k> Reader<'a, 'k> {
    pub(super) fn new(
        target: &Target<'k>,
        timers: &'a PosixTimers,
        now: u64,
    ) -> Result<Self, CaptureError> {
        let leader = target.leader();
        let mm = leader.mm()?;
        let mm = mm.ok_or(CaptureError::Missing { pid: target.pid(), what: "memory" })?;
        let layout = xsave_layout(leader.kernel(), leader.xfeatures()?)?;
        let deliveries = Deliveries::of(target)?;
        Ok(Self { timers, deliveries, now, space: mm.space()?, layout })
    }

    pub(super) fn read(
        &self,
        thread: &Task<'_>,
        filters: &mut Filters,
    ) -> Result<Thread, CaptureError> {
        let tid = thread.pid()?;
        let cred = thread.cred()?.ok_or(CaptureError::Missing { pid: tid, what: "credentials" })?;
        let handler = self.deliveries.handler(thread)?;
        Ok(Thread {
            tid: tid.cast_unsigned(),
            comm: name(thread)?.into(),
            registers: registers::read(thread, &self.space, handler, self.now)?,
            extended_state: self.extended_state(thread)?,
            blocked: SigSet(blocked(thread)?),
            pending: signals::pending(thread.pending()?, self.timers)?,
            alt_stack: alt_stack(thread)?,
            clear_child_tid: thread.clear_child_tid()?,
            robust_list: thread.robust_list()?,
            rseq: rseq(thread)?,
            scheduling: Scheduling {
                policy: thread.policy()?,
                nice: thread.static_prio()?.saturating_sub(DEFAULT_PRIO),
                rt_priority: thread.rt_priority()?,
            },
            pdeath_signal: thread.pdeath_signal()?,
            credentials: credentials(&cred, thread.atomic_flags()? & NO_NEW_PRIVS != 0)?,
            seccomp: filters.of(thread)?,
        })
    }

    fn extended_state(&self, thread: &Task<'_>) -> Result<ExtendedState, CaptureError> {
        let area = thread.xsave_area()?;
        let parsed = if area.len() < XSAVE_HEADER_END {
            parse_fxsave(&area)
        } else {
            parse(&area, &self.layout)
        };
        let tid = thread.pid()?;
        let mut state = parsed.map_err(|source| CaptureError::ExtendedState { tid, source })?;
        // The kernel switches PKRU by itself; the area's copy may be stale.
        if let (Some(xsave), Some(pkru)) = (&mut state.xsave, thread.pkru()?)
            && xsave.pkru.is_some()
        {
            xsave.set_pkru(pkru);
        }
        Ok(state)
    }
}

/// The guest CPU's layout as its kernel read it from CPUID
/// (`arch/x86/kernel/fpu/xstate.c`).
fn xsave_layout(kernel: &Kernel, xfeatures: u64) -> Result<XsaveLayout, KernelError> {
    /// `XFEATURE_FLAG_ALIGNED`: bit 1 of `xstate_flags`.
    const ALIGNED: u32 = 1 << 1;
    let mut layout = XsaveLayout::new(xfeatures);
    for number in (2..=component::CET_USER).filter(|number| xfeatures >> number & 1 == 1) {
        let entry = |name| -> Result<u32, KernelError> {
            let mut word = [0; 4];
            let addr = symbol(kernel, name)?.wrapping_add(u64::from(number) * 4);
            kernel.read(addr, &mut word)?;
            Ok(u32::from_le_bytes(word))
        };
        let flags = match kernel.symbol("xstate_flags") {
            Some(_) => entry("xstate_flags")?,
            None => 0,
        };
        let (offset, size) = (entry("xstate_offsets")?, entry("xstate_sizes")?);
        layout.set(number, ComponentLayout { offset, size, aligned: flags & ALIGNED != 0 });
    }
    Ok(layout)
}

pub(super) fn name(thread: &Task<'_>) -> Result<Vec<u8>, KernelError> {
    let comm = thread.raw_comm()?;
    let len = comm.iter().position(|&byte| byte == 0).unwrap_or(comm.len() - 1);
    Ok(comm[..len].to_vec())
}

/// The mask that user space set: a system call such as `ppoll()` has put its
/// own in place for its duration, as `PTRACE_GETSIGMASK` knows.
fn blocked(thread: &Task<'_>) -> Result<u64, KernelError> {
    if thread.restore_sigmask()?.unwrap_or(false) {
        return thread.saved_sigmask();
    }
    thread.blocked()
}

fn alt_stack(thread: &Task<'_>) -> Result<AltStack, KernelError> {
    let size = thread.sas_ss_size()?;
    if size == 0 {
        return Ok(AltStack::default());
    }
    let flags = thread.sas_ss_flags()? & SS_AUTODISARM;
    Ok(AltStack { sp: thread.sas_ss_sp()?, size, flags })
}

fn rseq(thread: &Task<'_>) -> Result<Option<Rseq>, KernelError> {
    let address = thread.rseq()?;
    if address == 0 {
        return Ok(None);
    }
    let len = thread.rseq_len()?.unwrap_or(RSEQ_LEN);
    Ok(Some(Rseq { address, len, signature: thread.rseq_sig()? }))
}

fn credentials(cred: &Cred<'_>, no_new_privs: bool) -> Result<Credentials, KernelError> {
    Ok(Credentials {
        uid: cred.uid()?,
        gid: cred.gid()?,
        euid: cred.euid()?,
        egid: cred.egid()?,
        suid: cred.suid()?,
        sgid: cred.sgid()?,
        fsuid: cred.fsuid()?,
        fsgid: cred.fsgid()?,
        groups: cred.group_info()?.map_or(Ok(Vec::new()), |info| info.groups())?,
        cap_inheritable: cred.cap_inheritable()?,
        cap_permitted: cred.cap_permitted()?,
        cap_effective: cred.cap_effective()?,
        cap_bounding: cred.cap_bset()?,
        cap_ambient: cred.cap_ambient()?,
        securebits: cred.securebits()?,
        no_new_privs,
        apparmor_profile: confinement::profile(cred)?,
    })
}
