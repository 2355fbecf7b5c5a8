//! User registers of a frozen thread, as they are to be when it goes on.

use crate::kernel::KernelError;
use crate::linux::{PtRegs, Struct, Task};
use crate::memory::{AddressSpace, GuestVirt, MemoryError};
use crate::snapshot::Registers;

use super::system_call::{self, Handler};

/// Offsets in `struct rseq` and `struct rseq_cs` (`include/uapi/linux/rseq.h`).
const RSEQ_CS_POINTER: u64 = 8;
const RSEQ_CS_SIZE: usize = 32;

/// The general-purpose registers of a frozen thread that is about to run
/// `handler`; `now` is `CLOCK_MONOTONIC` in nanoseconds.
pub(super) fn read(
    thread: &Task<'_>,
    space: &AddressSpace,
    handler: Option<Handler>,
    now: u64,
) -> Result<Registers, KernelError> {
    let mut registers = raw(thread)?;
    system_call::finish(&mut registers, &thread.restart_block()?, handler, now)?;
    leave_critical_section(&mut registers, thread.rseq()?, space)?;
    Ok(registers)
}

/// The words of the register frame as they lie on the kernel stack.
pub(super) fn frame(thread: &Task<'_>) -> Result<[u64; 21], KernelError> {
    let regs = thread.user_regs()?;
    let mut bytes = [0; 168];
    thread.kernel().read(regs.addr(), &mut bytes)?;
    let mut words = [0; 21];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    Ok(words)
}

fn raw(thread: &Task<'_>) -> Result<Registers, KernelError> {
    let regs: PtRegs<'_> = thread.user_regs()?;
    Ok(Registers {
        r15: regs.r15()?,
        r14: regs.r14()?,
        r13: regs.r13()?,
        r12: regs.r12()?,
        bp: regs.bp()?,
        bx: regs.bx()?,
        r11: regs.r11()?,
        r10: regs.r10()?,
        r9: regs.r9()?,
        r8: regs.r8()?,
        ax: regs.ax()?,
        cx: regs.cx()?,
        dx: regs.dx()?,
        si: regs.si()?,
        di: regs.di()?,
        orig_ax: regs.orig_ax()?,
        ip: regs.ip()?,
        cs: u64::from(regs.cs()?),
        flags: regs.flags()?,
        sp: regs.sp()?,
        ss: u64::from(regs.ss()?),
        fs_base: thread.fs_base()?,
        gs_base: thread.gs_base()?,
        ds: u64::from(thread.ds()?),
        es: u64::from(thread.es()?),
        fs: u64::from(thread.fs_index()?),
        gs: u64::from(thread.gs_index()?),
    })
}

/// Moves the instruction pointer out of a restartable sequence, as the kernel
/// does when it preempts or signals a thread (`rseq_ip_fixup()`,
/// `kernel/rseq.c`).
fn leave_critical_section(
    registers: &mut Registers,
    rseq: u64,
    space: &AddressSpace,
) -> Result<(), KernelError> {
    if rseq == 0 {
        return Ok(());
    }
    let mut pointer = [0; 8];
    if !read_user(space, rseq.wrapping_add(RSEQ_CS_POINTER), &mut pointer)? {
        return Ok(());
    }
    let mut section = [0; RSEQ_CS_SIZE];
    let section_at = u64::from_le_bytes(pointer);
    if section_at == 0 || !read_user(space, section_at, &mut section)? {
        return Ok(());
    }
    let words = section.as_chunks().0;
    let word = |index: usize| words.get(index).map_or(0, |word| u64::from_le_bytes(*word));
    // Words: version and flags, start_ip, post_commit_offset, abort_ip.
    let (start, len, abort) = (word(1), word(2), word(3));
    if registers.ip.wrapping_sub(start) < len {
        registers.ip = abort;
    }
    Ok(())
}

/// Reads memory of the process; false where nothing is mapped there, which the
/// process itself would find out in its own time.
fn read_user(space: &AddressSpace, addr: u64, buf: &mut [u8]) -> Result<bool, KernelError> {
    match space.read(GuestVirt::new(addr), buf) {
        Ok(()) => Ok(true),
        Err(MemoryError::NotMapped(_) | MemoryError::OutOfRange { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
