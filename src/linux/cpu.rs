//! What the kernel found out about the CPUs at boot: `struct cpuinfo_x86`
//! (`arch/x86/include/asm/processor.h`).

use crate::kernel::{Kernel, KernelError};

use super::sched::CpuInfo;
use super::view::{Place, Struct};

/// Words of capabilities that are looked at: what is behind them are bugs in 5.10.
const CAPABILITY_WORDS: usize = 19;

kernel_struct! {
    /// What the extended states take that the kernel keeps of processes:
    /// `struct fpu_state_config`, since 6.1.
    (optional) pub struct FpuStateConfig: "fpu_state_config" {
        /// Bytes of all of them, each in its own place.
        max_size: u32 = ["max_size"],
    }
}

impl<'k> CpuInfo<'k> {
    /// What all CPUs have: `boot_cpu_data`.
    ///
    /// # Errors
    ///
    /// [`KernelError::MissingSymbol`].
    pub fn of_all(kernel: &'k Kernel) -> Result<Self, KernelError> {
        Self::at(kernel, super::symbol(kernel, "boot_cpu_data")?)
    }

    /// Its capabilities, `X86_FEATURE_*`, 32 in a word.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn capabilities(&self) -> Result<Vec<u32>, KernelError> {
        let mut bytes = [[0; 4]; CAPABILITY_WORDS];
        self.raw_capability()?.read(bytes.as_flattened_mut())?;
        Ok(bytes.map(u32::from_le_bytes).to_vec())
    }

    /// Who made it, as CPUID has it.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn vendor(&self) -> Result<String, KernelError> {
        self.raw_vendor()?.load_text()
    }

    /// What it calls itself.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn model_name(&self) -> Result<String, KernelError> {
        self.raw_model_name()?.load_text()
    }
}

impl Place<'_> {
    /// A short text, without what ends it.
    fn load_text(&self) -> Result<String, KernelError> {
        let mut bytes = [0; 64];
        let len = usize::try_from(self.size()).unwrap_or(bytes.len()).min(bytes.len());
        self.read(&mut bytes[..len])?;
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(len);
        Ok(String::from_utf8_lossy(&bytes[..end]).trim().to_owned())
    }
}

impl<'k> FpuStateConfig<'k> {
    /// That of processes: `fpu_user_cfg`; `None` where the kernel has none.
    ///
    /// # Errors
    ///
    /// Where the kernel has no such structure.
    pub fn of_processes(kernel: &'k Kernel) -> Result<Option<Self>, KernelError> {
        kernel.symbol("fpu_user_cfg").map(|addr| Self::at(kernel, addr)).transpose()
    }
}

/// Bytes of the extended states that the kernel keeps of processes, each in its own
/// place.
///
/// # Errors
///
/// [`KernelError::MissingSymbol`], or where guest memory cannot be read.
pub fn user_xsave_size(kernel: &Kernel) -> Result<u32, KernelError> {
    if let Some(config) = FpuStateConfig::of_processes(kernel)? {
        return config.max_size();
    }
    let mut size = [0; 4];
    kernel.read(super::symbol(kernel, "fpu_user_xstate_size")?, &mut size)?;
    Ok(u32::from_le_bytes(size))
}
