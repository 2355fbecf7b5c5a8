//! One pause of the VM and what is done in it.

use std::collections::BTreeSet;

use crate::domain::{Domain, Interrupt, Pause};
use crate::kernel::{Kernel, KernelError};
use crate::linux::{CpuInfo, Place};

use super::error::ControlError;
use super::target::Target;

/// `RESCHEDULE_VECTOR` (`arch/x86/include/asm/irq_vectors.h`): the CPU enters
/// the kernel and looks at its work flags on the way out.
const RESCHEDULE_VECTOR: u8 = 0xfd;
/// `CALL_FUNCTION_SINGLE_VECTOR`: the CPU empties its `call_single_queue`.
const CALL_FUNCTION_SINGLE_VECTOR: u8 = 0xfb;

/// The VM is paused; interrupts are collected and raised at the end.
///
/// Dropped without [`finish`](Self::finish) it continues the VM and raises
/// none.
#[derive(Debug)]
pub(super) struct Intervention<'d, 'k> {
    kernel: &'k Kernel,
    pause: Pause<'d>,
    /// (CPU, vector), each once.
    interrupts: BTreeSet<(u32, u8)>,
}

impl<'d, 'k> Intervention<'d, 'k> {
    fn begin(domain: &'d Domain, kernel: &'k Kernel) -> Result<Self, ControlError> {
        Ok(Self { kernel, pause: domain.pause_to_interrupt()?, interrupts: BTreeSet::new() })
    }

    /// Makes `cpu` look at its work flags.
    pub(super) fn reschedule(&mut self, cpu: u32) {
        self.interrupts.insert((cpu, RESCHEDULE_VECTOR));
    }

    /// Makes `cpu` look at its list of tasks to wake.
    pub(super) fn call_function(&mut self, cpu: u32) {
        self.interrupts.insert((cpu, CALL_FUNCTION_SINGLE_VECTOR));
    }

    /// Raises the collected interrupts and continues the VM.
    fn finish(mut self) -> Result<(), ControlError> {
        let mut messages = Vec::with_capacity(self.interrupts.len());
        for &(cpu, vector) in &self.interrupts {
            let apic_id = CpuInfo::of_cpu(self.kernel, cpu)?.apic_id()?;
            messages.push(Interrupt { apic_id, vector });
        }
        self.pause.raise(&messages)?;
        Ok(self.pause.resume()?)
    }
}

/// One pause: makes `change`.
pub(super) fn intervene<'d, 'k>(
    domain: &'d Domain,
    kernel: &'k Kernel,
    change: impl FnOnce(&mut Intervention<'d, 'k>) -> Result<(), ControlError>,
) -> Result<(), ControlError> {
    let mut intervention = Intervention::begin(domain, kernel)?;
    change(&mut intervention)?;
    intervention.finish()
}

/// Whether the signal state of a process that lives can be changed in this
/// pause: no vCPU is in the middle of changing it.
pub(super) fn is_free(target: &Target<'_>) -> Result<bool, KernelError> {
    is_unlocked(&target.leader().sighand_struct()?.siglock()?)
}

/// Whether a `spinlock_t` or `raw_spinlock_t` is free: its queued-spinlock word
/// (`include/asm-generic/qspinlock_types.h`) is zero. Only while the VM is
/// paused does the answer last.
pub(super) fn is_unlocked(lock: &Place<'_>) -> Result<bool, KernelError> {
    let mut word = [0; 4];
    lock.read(&mut word)?;
    Ok(word == [0; 4])
}
