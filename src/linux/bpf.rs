//! Programs of classic BPF: what decides about packets (`SO_ATTACH_FILTER`) and
//! system calls (seccomp).

use crate::kernel::KernelError;
use crate::memory::GuestVirt;

use super::view::{Ptr, Struct};

/// Instructions of a program at most (`BPF_MAXINSNS`,
/// `include/uapi/linux/bpf_common.h`).
const MAX_INSTRUCTIONS: u16 = 4096;
/// `sizeof(struct sock_filter)`: a 16-bit code, two 8-bit jumps and a 32-bit
/// operand.
const INSTRUCTION: usize = 8;

kernel_struct! {
    /// A program as the kernel runs it: `struct bpf_prog`.
    pub struct BpfProg: "bpf_prog" {
        /// As it was installed, if it was classic BPF. Kept of filters of system
        /// calls where processes may be checkpointed (`CONFIG_CHECKPOINT_RESTORE`).
        orig_prog: Ptr<SockFprogKern<'k>> = ["orig_prog"],
    }
}

kernel_struct! {
    /// A program as it was installed: `struct sock_fprog_kern`.
    pub struct SockFprogKern: "sock_fprog_kern" {
        /// Number of instructions.
        len: u16 = ["len"],
        /// The instructions, each `struct sock_filter`.
        filter: GuestVirt = ["filter"],
    }
}

impl SockFprogKern<'_> {
    /// The instructions as the kernel holds them.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for more than any program has.
    pub fn instructions(&self) -> Result<Vec<[u8; INSTRUCTION]>, KernelError> {
        let len = self.len()?;
        if len == 0 || len > MAX_INSTRUCTIONS {
            let why = format!("it has {len} instructions");
            return Err(KernelError::Corrupt {
                what: "sock_fprog_kern".into(),
                addr: self.addr(),
                why,
            });
        }
        let mut instructions = vec![[0; INSTRUCTION]; usize::from(len)];
        self.kernel().read(self.filter()?, instructions.as_flattened_mut())?;
        Ok(instructions)
    }
}
