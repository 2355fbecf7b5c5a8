//! Work flags of a thread: `struct thread_info`.

use crate::kernel::KernelError;

use super::task::Task;
use super::view::Struct;

/// Bytes at the start of `signal_wake_up_state()` that hold its first step.
const PROLOGUE: usize = 64;
/// `lock or r/m8, imm8`, what `set_bit()` of a constant compiles to
/// (`arch_set_bit()` in `arch/x86/include/asm/bitops.h`): a LOCK prefix and an
/// opcode whose ModRM byte has 1 in its middle field (Intel SDM vol. 2, `OR`).
const LOCK: u8 = 0xf0;
const OR: u8 = 0x80;
/// What stands in the place of LOCK on a machine of one CPU: a DS prefix, which
/// means nothing (`alternatives_smp_unlock()` in `arch/x86/kernel/alternative.c`).
const UNLOCKED: u8 = 0x3e;

/// `_TIF_SIGPENDING` where flags have the numbers of all architectures.
const GENERIC_SIGPENDING: u64 = 1 << 1;

/// Instructions that end a thread by `SIGSEGV`, as it or its parent asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FaultingInstructions {
    /// `CPUID` (`ARCH_SET_CPUID`).
    pub cpuid: bool,
    /// `RDTSC` and `RDTSCP` (`PR_SET_TSC`).
    pub rdtsc: bool,
}

impl Task<'_> {
    /// `_TIF_SIGPENDING`, the bit of [`thread_info_flags`](Self::thread_info_flags)
    /// that makes a thread look at its signals.
    ///
    /// It is bit 2 in `arch/x86/include/asm/thread_info.h` and, since x86 takes
    /// its flags from `include/asm-generic/thread_info_tif.h` (6.18), bit 1,
    /// where bit 2 is another. No type and no symbol tells one from the other,
    /// so this asks the code of `signal_wake_up_state()` (`kernel/signal.c`),
    /// which sets the bit first of all.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] where that function sets no bit of these flags.
    pub fn tif_sigpending(&self) -> Result<u64, KernelError> {
        let flags = self.place("thread_info_flags")?.addr().get().wrapping_sub(self.addr().get());
        let code_addr = super::symbol(self.kernel(), "signal_wake_up_state")?;
        let mut code = [0; PROLOGUE];
        self.kernel().read(code_addr, &mut code)?;
        sets_one_bit(&code, flags).ok_or_else(|| KernelError::Corrupt {
            what: "signal_wake_up_state".into(),
            addr: code_addr,
            why: "its code does not set a flag of struct thread_info".into(),
        })
    }

    /// Which instructions it must not use.
    ///
    /// # Errors
    ///
    /// As [`tif_sigpending`](Self::tif_sigpending), by which the numbers of
    /// `TIF_NOCPUID` and `TIF_NOTSC` are told.
    pub fn faulting_instructions(&self) -> Result<FaultingInstructions, KernelError> {
        let flags = self.thread_info_flags()?;
        let (nocpuid, notsc) = match self.tif_sigpending()? {
            GENERIC_SIGPENDING => (20, 21),
            _ => (15, 16),
        };
        let has = |bit: u32| flags >> bit & 1 != 0;
        Ok(FaultingInstructions { cpuid: has(nocpuid), rdtsc: has(notsc) })
    }
}

/// The bit that the first `lock or` of `code` (or what became of it) sets in a
/// word `offset` bytes behind the address in some register.
fn sets_one_bit(code: &[u8], offset: u64) -> Option<u64> {
    code.windows(5).find_map(|code| {
        let &[lock, opcode, modrm, third, fourth] = code else { return None };
        // No displacement, or one of 8 bits; 4 would be a SIB byte, and 5
        // without displacement is relative to the instruction pointer.
        let (displacement, mask) = match (modrm >> 6, modrm & 7) {
            (_, 4) | (0, 5) => return None,
            (0, _) => (0, third),
            (1, _) => (u64::from(third), fourth),
            _ => return None,
        };
        let byte = displacement.checked_sub(offset).filter(|&byte| byte < 4)?;
        let is_or = [LOCK, UNLOCKED].contains(&lock) && opcode == OR && modrm >> 3 & 7 == 1;
        (is_or && mask.is_power_of_two()).then(|| u64::from(mask) << (8 * byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `signal_wake_up_state()` of Debian's 6.12.117 and 7.2.13: NOPs of
    /// the tracer, `push %rbx`, `mov %rdi,%rbx`, the `lock or`, `or $1,%esi`.
    const OLD: &[u8] =
        b"\x66\x0f\x1f\x00\x0f\x1f\x44\x00\x00\x53\x48\x89\xfb\xf0\x80\x0f\x04\x83\xce\x01";
    const GENERIC: &[u8] =
        b"\x0f\x1f\x40\xd6\x0f\x1f\x44\x00\x00\x53\x48\x89\xfb\xf0\x80\x0f\x02\x83\xce\x01";

    #[test]
    fn the_bit_is_read_from_the_code_that_sets_it() {
        assert_eq!(sets_one_bit(OLD, 0), Some(1 << 2));
        assert_eq!(sets_one_bit(GENERIC, 0), Some(1 << 1));
        assert_eq!(sets_one_bit(b"\xf0\x80\x4f\x08\x04", 8), Some(1 << 2));
        assert_eq!(sets_one_bit(b"\xf0\x80\x4f\x09\x04", 8), Some(1 << 10));
        // With one CPU.
        assert_eq!(sets_one_bit(b"\x48\x89\xfb\x3e\x80\x0f\x04\x83", 0), Some(1 << 2));
    }

    #[test]
    fn other_code_sets_no_bit() {
        assert_eq!(sets_one_bit(&[0; PROLOGUE], 0), None);
        assert_eq!(sets_one_bit(OLD, 8), None);
        // `lock and`, two bits, another word, and a SIB byte.
        assert_eq!(sets_one_bit(b"\xf0\x80\x27\x04\x90", 0), None);
        assert_eq!(sets_one_bit(b"\xf0\x80\x0f\x06\x90", 0), None);
        assert_eq!(sets_one_bit(b"\xf0\x80\x4f\x10\x04", 8), None);
        assert_eq!(sets_one_bit(b"\xf0\x80\x0c\x24\x04", 0), None);
    }
}
