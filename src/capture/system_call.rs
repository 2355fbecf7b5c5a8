//! What becomes of a system call that the freezing interrupted.
//!
//! A frozen thread is in the kernel's signal code. When it leaves that code in
//! the ordinary way, the kernel finishes the call; a process that is restored
//! does not come by there, so this is done here, as CRIU does it after `ptrace`
//! (`compel/arch/x86/src/lib/infect.c`). Where CRIU ends a call with `EINTR`
//! whose time limit is in a restart block, which is kernel state that no image
//! holds, the call is made again here with the time that it has left, where
//! registers can say that. Memory of the process is not touched: it might look.
//!
//! | call | is made again as |
//! |---|---|
//! | `nanosleep`, `clock_nanosleep` for a time, with a place for the time left | the same for the time left, which the kernel has put there |
//! | the same without such a place | `poll` of no descriptors for the time left |
//! | `poll` with a limit | the same with the time left, without a limit as it was |
//! | `futex` until a time (`FUTEX_WAIT_BITSET`) | as it was |
//!
//! Of the registers that change each is one that a function may change, so that
//! only a program notices that makes the call inline and relies on its
//! arguments afterwards.

use nix::errno::Errno;

use crate::kernel::KernelError;
use crate::linux::{RestartBlock, RestartedCall};
use crate::snapshot::Registers;

/// In-kernel results that ask for a restart (`include/linux/errno.h`).
const ERESTARTSYS: i64 = 512;
const ERESTARTNOINTR: i64 = 513;
const ERESTARTNOHAND: i64 = 514;
const ERESTART_RESTARTBLOCK: i64 = 516;
/// Bytes of the `syscall` instruction.
const SYSCALL_LEN: u64 = 2;

/// Numbers of system calls (`arch/x86/entry/syscalls/syscall_64.tbl`).
const SYS_POLL: u64 = 7;
const SYS_NANOSLEEP: u64 = 35;
const SYS_FUTEX: u64 = 202;
const SYS_CLOCK_NANOSLEEP: u64 = 230;

/// `TT_NATIVE`: a `timespec` of 64-bit code (`include/linux/restart_block.h`).
const NATIVE_TIMESPEC: u32 = 1;
/// `FUTEX_WAIT_BITSET` and the flags beside the operation
/// (`include/uapi/linux/futex.h`).
const FUTEX_WAIT_BITSET: u64 = 9;
const FUTEX_FLAGS: u64 = 128 | 256;
/// `CLOCK_MONOTONIC`, also of a sleep by `CLOCK_REALTIME` for a time.
const MONOTONIC: i32 = 1;
const MILLISECOND: u64 = 1_000_000;

/// A call that is to go on from its restart block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Resumable {
    /// A sleep on a clock.
    Sleep {
        clock: i32,
        /// Where the process has the time left.
        remainder: Option<u64>,
        /// Nanoseconds that are left; `None` on a CPU clock.
        left: Option<u64>,
    },
    /// `poll()`, with nanoseconds that are left, if it has a limit.
    Poll { left: Option<u64> },
    /// `futex()`
    Futex,
}

/// Finishes the call that a thread is in, if it is in one: what
/// `arch_do_signal_or_restart()` (`arch/x86/kernel/signal.c`) does.
///
/// `handler` is what the thread does before it goes on: nothing, or run a
/// handler, which restarts calls (`SA_RESTART`) or does not. `now` is
/// `CLOCK_MONOTONIC` in nanoseconds.
pub(super) fn finish(
    registers: &mut Registers,
    block: &RestartBlock<'_>,
    handler: Option<Handler>,
    now: u64,
) -> Result<(), KernelError> {
    match ending(registers, handler) {
        Ending::Final => {}
        Ending::Again => {
            registers.ax = registers.orig_ax;
            registers.ip = registers.ip.wrapping_sub(SYSCALL_LEN);
        }
        Ending::Interrupted => interrupt(registers),
        Ending::GoesOn => match resumable(block, now)? {
            Some(call) => resume(registers, call),
            None => interrupt(registers),
        },
    }
    Ok(())
}

/// How a call ends that a signal interrupted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ending {
    /// There is no call, or it has its result.
    Final,
    /// It is made again as it was.
    Again,
    /// It goes on from its restart block.
    GoesOn,
    /// With `EINTR`.
    Interrupted,
}

fn ending(registers: &Registers, handler: Option<Handler>) -> Ending {
    if registers.orig_ax.cast_signed() < 0 {
        return Ending::Final;
    }
    match (-registers.ax.cast_signed(), handler) {
        (ERESTARTNOINTR, _)
        | (ERESTARTSYS, None | Some(Handler::Restarts))
        | (ERESTARTNOHAND, None) => Ending::Again,
        (ERESTART_RESTARTBLOCK, None) => Ending::GoesOn,
        (ERESTARTSYS | ERESTARTNOHAND | ERESTART_RESTARTBLOCK, _) => Ending::Interrupted,
        _ => Ending::Final,
    }
}

/// A handler of a signal that the thread takes before it goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Handler {
    /// One with `SA_RESTART`.
    Restarts,
    /// One without.
    Interrupts,
}

fn interrupt(registers: &mut Registers) {
    registers.ax = (-(Errno::EINTR as i64)).cast_unsigned();
}

fn resumable(block: &RestartBlock<'_>, now: u64) -> Result<Option<Resumable>, KernelError> {
    let remainder = || -> Result<_, KernelError> {
        let native = block.sleep_remainder_type()? == NATIVE_TIMESPEC;
        Ok(native.then_some(block.sleep_remainder()?).filter(|&place| place != 0))
    };
    Ok(match block.call()? {
        RestartedCall::Sleep => {
            let clock = block.sleep_clock()?;
            let left = (clock == MONOTONIC).then_some(block.sleep_end()?.saturating_sub(now));
            Some(Resumable::Sleep { clock, remainder: remainder()?, left })
        }
        RestartedCall::CpuSleep => {
            let clock = block.sleep_clock()?;
            Some(Resumable::Sleep { clock, remainder: remainder()?, left: None })
        }
        RestartedCall::Poll if !block.poll_is_limited()? => Some(Resumable::Poll { left: None }),
        RestartedCall::Poll => {
            let seconds = block.poll_end_seconds()?.saturating_mul(1000 * MILLISECOND);
            let end = seconds.saturating_add(block.poll_end_nanoseconds()?);
            Some(Resumable::Poll { left: Some(end.saturating_sub(now)) })
        }
        RestartedCall::Futex => Some(Resumable::Futex),
        RestartedCall::Other => None,
    })
}

/// Makes a call again. The number that the thread entered the kernel with may
/// be that of `restart_syscall()`, the arguments are still those of the call.
fn resume(registers: &mut Registers, call: Resumable) {
    let number = match call {
        Resumable::Sleep { remainder: Some(place), .. } if registers.orig_ax == SYS_NANOSLEEP => {
            registers.di = place;
            SYS_NANOSLEEP
        }
        Resumable::Sleep { clock, remainder: Some(place), .. } => {
            registers.di = u64::from(clock.cast_unsigned());
            registers.si = 0;
            registers.dx = place;
            registers.r10 = place;
            SYS_CLOCK_NANOSLEEP
        }
        Resumable::Sleep { left: Some(left), .. } => {
            let Some(left) = milliseconds(left) else { return interrupt(registers) };
            registers.di = 0;
            registers.si = 0;
            registers.dx = left;
            SYS_POLL
        }
        Resumable::Sleep { .. } => return interrupt(registers),
        Resumable::Poll { left } => {
            if let Some(left) = left.and_then(milliseconds) {
                registers.dx = left;
            }
            SYS_POLL
        }
        Resumable::Futex if registers.si & !FUTEX_FLAGS & 0xffff_ffff == FUTEX_WAIT_BITSET => {
            SYS_FUTEX
        }
        // Its limit is a time from now on, in memory.
        Resumable::Futex => return interrupt(registers),
    };
    registers.ax = number;
    registers.ip = registers.ip.wrapping_sub(SYSCALL_LEN);
}

/// As `poll()` takes a time, rounded up: no sleep is to be too short. `None` for
/// more than it takes.
fn milliseconds(nanoseconds: u64) -> Option<u64> {
    let limit = u64::from(i32::MAX.cast_unsigned());
    Some(nanoseconds.div_ceil(MILLISECOND)).filter(|&time| time <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u64 = 0x1002;

    fn registers(number: u64, di: u64, si: u64) -> Registers {
        let ax = (-ERESTART_RESTARTBLOCK).cast_unsigned();
        Registers { orig_ax: number, ax, ip: AT, di, si, dx: 33, r10: 44, ..Registers::default() }
    }

    /// Address, AX and the arguments.
    fn resumed(number: u64, si: u64, call: Resumable) -> (u64, i64, [u64; 4]) {
        let mut registers = registers(number, 11, si);
        resume(&mut registers, call);
        let Registers { ip, ax, di, si, dx, r10, .. } = registers;
        (ip, ax.cast_signed(), [di, si, dx, r10])
    }

    fn ends(orig_ax: i64, code: i64, handler: Option<Handler>) -> Ending {
        let registers = Registers {
            orig_ax: orig_ax.cast_unsigned(),
            ax: (-code).cast_unsigned(),
            ..Registers::default()
        };
        ending(&registers, handler)
    }

    #[test]
    fn a_call_ends_as_the_kernel_ends_it() {
        use Ending::{Again, Final, GoesOn, Interrupted};
        let (restarts, interrupts) = (Some(Handler::Restarts), Some(Handler::Interrupts));
        for (code, [alone, with_restarting, with_other]) in [
            (ERESTARTSYS, [Again, Again, Interrupted]),
            (ERESTARTNOINTR, [Again, Again, Again]),
            (ERESTARTNOHAND, [Again, Interrupted, Interrupted]),
            (ERESTART_RESTARTBLOCK, [GoesOn, Interrupted, Interrupted]),
            // It has its result: EINTR, 17 bytes.
            (4, [Final, Final, Final]),
            (-17, [Final, Final, Final]),
        ] {
            assert_eq!(ends(0, code, None), alone);
            assert_eq!(ends(0, code, restarts), with_restarting);
            assert_eq!(ends(0, code, interrupts), with_other);
            // An interrupt of user code, with a register that looks like it.
            assert_eq!(ends(-1, code, interrupts), Final);
        }
    }

    #[test]
    fn a_sleep_goes_on_with_what_the_kernel_says_is_left() {
        let sleep = Resumable::Sleep { clock: 1, remainder: Some(99), left: Some(5) };
        assert_eq!(resumed(SYS_NANOSLEEP, 99, sleep), (AT - 2, 35, [99, 99, 33, 44]));
        let expected = (AT - 2, 230, [1, 0, 99, 99]);
        assert_eq!(resumed(SYS_CLOCK_NANOSLEEP, 0, sleep), expected);
        // After an earlier interruption: `restart_syscall()`.
        assert_eq!(resumed(219, 0, sleep), expected);
    }

    #[test]
    fn a_sleep_that_is_told_nothing_goes_on_as_a_poll() {
        let sleep = |left| Resumable::Sleep { clock: 1, remainder: None, left };
        let expected = (AT - 2, 7, [0, 0, 3, 44]);
        assert_eq!(resumed(SYS_NANOSLEEP, 0, sleep(Some(2_000_001))), expected);
        // No poll takes so long, nor by that clock.
        assert_eq!(resumed(SYS_NANOSLEEP, 0, sleep(Some(u64::MAX))).1, -4);
        assert_eq!(resumed(SYS_CLOCK_NANOSLEEP, 0, sleep(None)), (AT, -4, [11, 0, 33, 44]));
    }

    #[test]
    fn a_poll_goes_on_with_the_rest_of_its_time() {
        let poll = |left| resumed(SYS_POLL, 2, Resumable::Poll { left });
        assert_eq!(poll(Some(1)), (AT - 2, 7, [11, 2, 1, 44]));
        assert_eq!(poll(Some(0)), (AT - 2, 7, [11, 2, 0, 44]));
        assert_eq!(poll(None), (AT - 2, 7, [11, 2, 33, 44]));
    }

    #[test]
    fn a_futex_waits_on_until_a_time_but_not_for_one() {
        let futex = |operation| resumed(SYS_FUTEX, operation, Resumable::Futex);
        assert_eq!(futex(9 | 128), (AT - 2, 202, [11, 9 | 128, 33, 44]));
        assert_eq!(futex(128), (AT, -4, [11, 128, 33, 44]));
    }
}
