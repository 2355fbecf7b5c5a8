//! Per-CPU variables (`include/asm-generic/percpu.h`).

use crate::kernel::{Kernel, KernelError};
use crate::memory::GuestVirt;

/// Most CPUs an x86-64 kernel is built for (`CONFIG_NR_CPUS` with
/// `CONFIG_MAXSMP`).
pub const MAX_CPUS: u32 = 8192;

/// How many CPUs the kernel counts at most, from 0 on: `nr_cpu_ids`.
///
/// # Errors
///
/// [`KernelError::Corrupt`] for more than any kernel has, or an error of
/// reading.
pub fn cpus(kernel: &Kernel) -> Result<u32, KernelError> {
    let addr = super::symbol(kernel, "nr_cpu_ids")?;
    let mut word = [0; 4];
    kernel.read(addr, &mut word)?;
    match u32::from_le_bytes(word) {
        count @ 1..=MAX_CPUS => Ok(count),
        count => {
            let why = format!("there are no {count} CPUs");
            Err(KernelError::Corrupt { what: "nr_cpu_ids".into(), addr, why })
        }
    }
}

/// What is added to the address of a per-CPU variable to get CPU number `cpu`'s:
/// `__per_cpu_offset[cpu]`.
///
/// # Errors
///
/// [`KernelError::Corrupt`] for a CPU number that no kernel has, or an error of
/// reading.
pub fn per_cpu_offset(kernel: &Kernel, cpu: u32) -> Result<u64, KernelError> {
    let addr = super::symbol(kernel, "__per_cpu_offset")?;
    if cpu >= MAX_CPUS {
        let why = format!("there is no CPU {cpu}");
        return Err(KernelError::Corrupt { what: "__per_cpu_offset".into(), addr, why });
    }
    let mut offset = [0; 8];
    kernel.read(addr.wrapping_add(u64::from(cpu) * 8), &mut offset)?;
    Ok(u64::from_le_bytes(offset))
}

/// The address of `symbol` (a name in [`DECLARATIONS`](super::DECLARATIONS)) of
/// CPU number `cpu`: the symbol plus its offset, modulo 2^64.
///
/// # Errors
///
/// [`KernelError::MissingSymbol`], or where the offset of `cpu` cannot be read.
pub fn per_cpu(kernel: &Kernel, symbol: &'static str, cpu: u32) -> Result<GuestVirt, KernelError> {
    Ok(super::symbol(kernel, symbol)?.wrapping_add(per_cpu_offset(kernel, cpu)?))
}
