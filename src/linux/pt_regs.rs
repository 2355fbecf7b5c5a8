//! The user registers of a thread that is in the kernel: `struct pt_regs`.

use crate::kernel::KernelError;

use super::task::Task;
use super::view::Struct;

/// Bytes of a kernel stack: `THREAD_SIZE` without KASAN
/// (`arch/x86/include/asm/page_64_types.h`).
pub(super) const THREAD_SIZE: u64 = 16 << 10;
/// What may lie between the registers and the stack's top
/// (`TOP_OF_KERNEL_STACK_PADDING`): nothing, or 16 bytes where FRED is built in.
const PADDINGS: [u64; 2] = [0, 16];
/// `__USER_CS`, `__USER32_CS` and `__USER_DS`
/// (`arch/x86/include/asm/segment.h`).
const USER_CS: [u16; 2] = [0x33, 0x23];
const USER_DS: u16 = 0x2b;

kernel_struct! {
    /// Registers at the last entry into the kernel: `struct pt_regs`.
    pub struct PtRegs: "pt_regs" {
        /// R15.
        r15: u64 = ["r15"],
        /// R14.
        r14: u64 = ["r14"],
        /// R13.
        r13: u64 = ["r13"],
        /// R12.
        r12: u64 = ["r12"],
        /// RBP.
        bp: u64 = ["bp"],
        /// RBX.
        bx: u64 = ["bx"],
        /// R11.
        r11: u64 = ["r11"],
        /// R10.
        r10: u64 = ["r10"],
        /// R9.
        r9: u64 = ["r9"],
        /// R8.
        r8: u64 = ["r8"],
        /// RAX: the result of a system call that has ended.
        ax: u64 = ["ax"],
        /// RCX.
        cx: u64 = ["cx"],
        /// RDX.
        dx: u64 = ["dx"],
        /// RSI.
        si: u64 = ["si"],
        /// RDI.
        di: u64 = ["di"],
        /// Number of the system call, or negative outside one.
        orig_ax: u64 = ["orig_ax"],
        /// RIP.
        ip: u64 = ["ip"],
        /// CS: 16 bits, the rest is FRED's.
        raw_cs: [u8; 2] = ["cs"],
        /// RFLAGS.
        flags: u64 = ["flags"],
        /// RSP.
        sp: u64 = ["sp"],
        /// SS: 16 bits, the rest is FRED's.
        raw_ss: [u8; 2] = ["ss"],
    }
}

impl PtRegs<'_> {
    /// The code selector.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn cs(&self) -> Result<u16, KernelError> {
        self.raw_cs().map(u16::from_le_bytes)
    }

    /// The stack selector.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn ss(&self) -> Result<u16, KernelError> {
        self.raw_ss().map(u16::from_le_bytes)
    }
}

impl<'k> Task<'k> {
    /// The user registers at the top of the kernel stack. They are right while
    /// the thread does not run in user mode.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] where no frame with user selectors is there.
    pub fn user_regs(&self) -> Result<PtRegs<'k>, KernelError> {
        let stack = self.stack()?;
        for padding in PADDINGS {
            let size = PtRegs::at(self.kernel(), stack)?.size();
            let offset = THREAD_SIZE.saturating_sub(padding).saturating_sub(size);
            let regs = PtRegs::at(self.kernel(), stack.wrapping_add(offset))?;
            if USER_CS.contains(&regs.cs()?) && regs.ss()? == USER_DS {
                return Ok(regs);
            }
        }
        Err(KernelError::Corrupt {
            what: "pt_regs".into(),
            addr: stack,
            why: "no user registers at the top of the kernel stack".into(),
        })
    }
}
