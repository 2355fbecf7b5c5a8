//! The CPUs of the VM.

use crate::kernel::{Kernel, KernelError};
use crate::linux::{CpuInfo, user_xsave_size};
use crate::snapshot::Cpu;

/// What the VM's CPUs have.
pub(super) fn read(kernel: &Kernel) -> Result<Cpu, KernelError> {
    let info = CpuInfo::of_all(kernel)?;
    Ok(Cpu {
        vendor: info.vendor()?,
        family: info.family()?,
        model: info.model()?,
        stepping: info.stepping()?,
        model_name: info.model_name()?,
        capabilities: info.capabilities()?,
        xsave_size: user_xsave_size(kernel)?,
    })
}
