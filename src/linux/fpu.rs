//! Extended CPU state of a thread that does not run: `struct fpu`.

use crate::kernel::KernelError;
use crate::memory::GuestVirt;

use super::task::Task;
use super::view::{Ptr, Raw, Struct};

kernel_struct! {
    /// A thread's FPU: `struct fpu`.
    pub struct Fpu: "fpu" {
        /// The state in use, since 6.1.
        fpstate: Ptr<Fpstate<'k>> = ?["fpstate"],
        /// The XSAVE area itself, before.
        state: Raw = ?["state"],
        /// Components that its process may use, one bit each, in its first thread;
        /// since 5.16.
        permitted: u64 = ?["perm.__state_perm"],
    }
}

kernel_struct! {
    /// A state and its size: `struct fpstate`.
    (optional) pub struct Fpstate: "fpstate" {
        /// Bytes of the area.
        size: u32 = ["size"],
        /// Components that it has a place for.
        xfeatures: u64 = ["xfeatures"],
        /// The XSAVE area.
        regs: Raw = ["regs"],
    }
}

/// Largest XSAVE area that is read: AMX tiles end below 11 KiB
/// (Intel SDM vol. 1, 13.4).
const MAX_AREA: usize = 16 << 10;
/// The legacy area alone: a CPU without XSAVE (Intel SDM vol. 1, 10.5.1).
const MIN_AREA: usize = 512;

impl<'k> Task<'k> {
    /// The FPU of this thread: a part of `task_struct`, or behind it since 7.2
    /// (`x86_task_fpu()` in `arch/x86/include/asm/processor.h`).
    ///
    /// # Errors
    ///
    /// Where the kernel knows no FPU.
    pub fn fpu_state(&self) -> Result<Fpu<'k>, KernelError> {
        let addr = match self.fpu()? {
            Some(place) => place.addr(),
            None => self.addr().wrapping_add(self.size()),
        };
        Fpu::at(self.kernel(), addr)
    }

    /// The thread's XSAVE area as the kernel saved it, when the thread last
    /// left a CPU.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for an area of impossible size.
    pub fn xsave_area(&self) -> Result<Vec<u8>, KernelError> {
        let fpu = self.fpu_state()?;
        let (addr, size) = match fpu.fpstate()?.flatten() {
            Some(fpstate) => (fpstate.regs()?.addr(), u64::from(fpstate.size()?)),
            None => {
                let state = fpu.place("state")?;
                (state.addr(), u64::from(self.kernel_xstate_size()?))
            }
        };
        let len = usize::try_from(size).unwrap_or(usize::MAX);
        if !(MIN_AREA..=MAX_AREA).contains(&len) {
            let why = format!("an XSAVE area of {size} bytes");
            return Err(KernelError::Corrupt { what: "fpu".into(), addr, why });
        }
        let mut area = vec![0; len];
        self.kernel().read(addr, &mut area)?;
        Ok(area)
    }

    /// Components that the area has a place for, one bit each.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn xfeatures(&self) -> Result<u64, KernelError> {
        if let Some(fpstate) = self.fpu_state()?.fpstate()?.flatten() {
            return fpstate.xfeatures();
        }
        let mut word = [0; 8];
        self.kernel().read(super::symbol(self.kernel(), "xfeatures_mask_all")?, &mut word)?;
        Ok(u64::from_le_bytes(word))
    }

    /// `fpu_kernel_xstate_size`, which 5.10 has in place of `fpstate.size`.
    fn kernel_xstate_size(&self) -> Result<u32, KernelError> {
        let addr: GuestVirt = super::symbol(self.kernel(), "fpu_kernel_xstate_size")?;
        let mut word = [0; 4];
        self.kernel().read(addr, &mut word)?;
        Ok(u32::from_le_bytes(word))
    }
}
