//! Counters with a part for each CPU (`lib/percpu_counter.c`).

use crate::kernel::KernelError;
use crate::memory::GuestVirt;

use super::percpu::{cpus, per_cpu_offset};
use super::view::Struct;

kernel_struct! {
    /// A counter with a part for each CPU: `struct percpu_counter`.
    pub struct PercpuCounter: "percpu_counter" {
        /// What the CPUs have handed in.
        count: i64 = ["count"],
        /// Where each CPU has what it has not handed in, an `s32`: to be added
        /// to the CPU's offset.
        counters: GuestVirt = ["counters"],
    }
}

impl PercpuCounter<'_> {
    /// The exact value, as far as it stands still: `__percpu_counter_sum()`.
    /// The part of a CPU that is offline is zero.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn sum(&self) -> Result<i64, KernelError> {
        let (kernel, counters) = (self.kernel(), self.counters()?);
        let mut sum = self.count()?;
        for cpu in 0..cpus(kernel)? {
            let mut part = [0; 4];
            let offset = per_cpu_offset(kernel, cpu)?;
            kernel.read(counters.wrapping_add(offset), &mut part)?;
            sum = sum.wrapping_add(i64::from(i32::from_le_bytes(part)));
        }
        Ok(sum)
    }
}
