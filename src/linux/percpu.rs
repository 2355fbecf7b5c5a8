//! Per-CPU variables (`include/asm-generic/percpu.h`).

use crate::kernel::{Kernel, KernelError};
use crate::memory::GuestVirt;

/// Most CPUs an x86-64 kernel is built for (`CONFIG_NR_CPUS` with
/// `CONFIG_MAXSMP`).
pub const MAX_CPUS: u32 = 8192;

/// The address of `symbol` (a name in [`DECLARATIONS`](super::DECLARATIONS)) of
/// CPU number `cpu`: the symbol plus `__per_cpu_offset[cpu]`, modulo 2^64.
///
/// # Errors
///
/// [`KernelError::MissingSymbol`], [`KernelError::Corrupt`] for a CPU number
/// that no kernel has, or an error of reading.
pub fn per_cpu(kernel: &Kernel, symbol: &'static str, cpu: u32) -> Result<GuestVirt, KernelError> {
    let offsets = super::symbol(kernel, "__per_cpu_offset")?;
    if cpu >= MAX_CPUS {
        let what = format!("the CPU of {symbol}");
        return Err(KernelError::Corrupt {
            what,
            addr: offsets,
            why: format!("there is no CPU {cpu}"),
        });
    }
    let mut offset = [0; 8];
    kernel.read(offsets.wrapping_add(u64::from(cpu) * 8), &mut offset)?;
    Ok(super::symbol(kernel, symbol)?.wrapping_add(u64::from_le_bytes(offset)))
}
