//! x87, SSE and XSAVE-managed registers of a thread.

use serde::{Deserialize, Serialize};

/// Numbers of the XSAVE state components, which are also their bits in
/// `XSTATE_BV` and XCR0 (Intel SDM volume 1, section 13.1).
pub mod component {
    /// x87 registers.
    pub const X87: u32 = 0;
    /// XMM registers and MXCSR.
    pub const SSE: u32 = 1;
    /// High halves of YMM0–15.
    pub const AVX: u32 = 2;
    /// MPX bound registers.
    pub const BNDREGS: u32 = 3;
    /// MPX configuration and status.
    pub const BNDCSR: u32 = 4;
    /// AVX-512 mask registers.
    pub const OPMASK: u32 = 5;
    /// High halves of ZMM0–15.
    pub const ZMM_HI256: u32 = 6;
    /// ZMM16–31.
    pub const HI16_ZMM: u32 = 7;
    /// Protection-key rights.
    pub const PKRU: u32 = 9;
    /// Control-flow enforcement, user part (a supervisor component).
    pub const CET_USER: u32 = 11;
}

/// Extended state of a thread in standard form: nothing is left out because
/// the processor kept it in its initial configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ExtendedState {
    /// x87 and SSE: the legacy region, which every x86-64 processor has.
    pub legacy: LegacyState,
    /// The rest; `None` on a processor without XSAVE.
    pub xsave: Option<XsaveState>,
}

/// The legacy region of an XSAVE area, laid out by `FXSAVE64`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LegacyState {
    /// x87 control word.
    pub cwd: u16,
    /// x87 status word.
    pub swd: u16,
    /// x87 tag word in its abridged form: one bit a register, 0 = empty.
    pub twd: u16,
    /// Last x87 opcode.
    pub fop: u16,
    /// Last x87 instruction pointer.
    pub rip: u64,
    /// Last x87 data pointer.
    pub rdp: u64,
    /// SSE control and status.
    pub mxcsr: u32,
    /// Bits of MXCSR that this processor lets be set.
    pub mxcsr_mask: u32,
    /// ST0–ST7: 80 bits each, padded to 128, low quadword first.
    pub st: [[u64; 2]; 8],
    /// XMM0–XMM15, low quadword first.
    pub xmm: [[u64; 2]; 16],
}

impl Default for LegacyState {
    /// What `FNINIT` and reset leave: x87 control word 0x37f, MXCSR 0x1f80.
    fn default() -> Self {
        Self {
            cwd: 0x37f,
            swd: 0,
            twd: 0,
            fop: 0,
            rip: 0,
            rdp: 0,
            mxcsr: 0x1f80,
            mxcsr_mask: 0xffff,
            st: [[0; 2]; 8],
            xmm: [[0; 2]; 16],
        }
    }
}

/// State components beyond the legacy region.
///
/// A component is `Some` when the guest's kernel has it enabled, whatever its
/// value; its bit in `xstate_bv` says whether it differs from the initial one.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct XsaveState {
    /// `XSTATE_BV` of the area's header: components not in their initial
    /// configuration.
    pub xstate_bv: u64,
    /// High halves of YMM0–YMM15, low quadword first.
    pub avx: Option<[[u64; 2]; 16]>,
    /// MPX bounds BND0–BND3, each lower then upper bound.
    pub bndregs: Option<[[u64; 2]; 4]>,
    /// MPX BNDCFGU and BNDSTATUS.
    pub bndcsr: Option<[u64; 2]>,
    /// AVX-512 mask registers k0–k7.
    pub opmask: Option<[u64; 8]>,
    /// High halves of ZMM0–ZMM15, low quadword first.
    pub zmm_hi256: Option<[[u64; 4]; 16]>,
    /// ZMM16–ZMM31, low quadword first.
    pub hi16_zmm: Option<[[u64; 8]; 16]>,
    /// Protection-key rights.
    pub pkru: Option<u32>,
    /// User shadow stack.
    pub cet: Option<CetState>,
}

impl XsaveState {
    /// Sets the protection-key rights. Since Linux 5.14 the kernel keeps them
    /// in `thread.pkru`, and those in a thread's XSAVE area are stale.
    pub fn set_pkru(&mut self, pkru: u32) {
        self.pkru = Some(pkru);
        self.xstate_bv |= 1 << component::PKRU;
    }
}

/// Control-flow enforcement state of user mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CetState {
    /// `IA32_U_CET`.
    pub u_cet: u64,
    /// `IA32_PL3_SSP`: the shadow stack pointer.
    pub ssp: u64,
}
