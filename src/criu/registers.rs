//! Registers of a thread, within its core image.

use super::proto;
use crate::snapshot::{LegacyState, Registers, Thread, XsaveState};

/// Lengths of the arrays in `user_x86_fpregs_entry` and `user_x86_xsave_entry`.
pub mod len {
    /// Words of ST0–7.
    pub const ST: usize = 32;
    /// Words of XMM0–15.
    pub const XMM: usize = 64;
    /// Words of the high halves of YMM0–15.
    pub const YMMH: usize = 64;
    /// Quadwords of BND0–3.
    pub const BNDREGS: usize = 8;
    /// Quadwords of the BNDCSR component, of which two are used.
    pub const BNDCSR: usize = 8;
    /// Quadwords of k0–7.
    pub const OPMASK: usize = 8;
    /// Quadwords of the high halves of ZMM0–15.
    pub const ZMM_UPPER: usize = 64;
    /// Quadwords of ZMM16–31.
    pub const HI16_ZMM: usize = 128;
    /// Words of the PKRU component, of which one is used.
    pub const PKRU: usize = 2;
}

/// All registers of a thread.
pub fn thread_info(thread: &Thread) -> proto::ThreadInfoX86 {
    let state = &thread.extended_state;
    proto::ThreadInfoX86 {
        clear_tid_addr: thread.clear_child_tid,
        gpregs: general(&thread.registers),
        fpregs: proto::UserX86FpregsEntry {
            xsave: state.xsave.as_ref().map(xsave),
            ..legacy(&state.legacy)
        },
    }
}

fn general(regs: &Registers) -> proto::UserX86RegsEntry {
    proto::UserX86RegsEntry {
        r15: regs.r15,
        r14: regs.r14,
        r13: regs.r13,
        r12: regs.r12,
        bp: regs.bp,
        bx: regs.bx,
        r11: regs.r11,
        r10: regs.r10,
        r9: regs.r9,
        r8: regs.r8,
        ax: regs.ax,
        cx: regs.cx,
        dx: regs.dx,
        si: regs.si,
        di: regs.di,
        orig_ax: regs.orig_ax,
        ip: regs.ip,
        cs: regs.cs,
        flags: regs.flags,
        sp: regs.sp,
        ss: regs.ss,
        fs_base: regs.fs_base,
        gs_base: regs.gs_base,
        ds: regs.ds,
        es: regs.es,
        fs: regs.fs,
        gs: regs.gs,
        mode: Some(proto::UserX86RegsMode::Native as i32),
    }
}

fn legacy(state: &LegacyState) -> proto::UserX86FpregsEntry {
    proto::UserX86FpregsEntry {
        cwd: state.cwd.into(),
        swd: state.swd.into(),
        twd: state.twd.into(),
        fop: state.fop.into(),
        rip: state.rip,
        rdp: state.rdp,
        mxcsr: state.mxcsr,
        mxcsr_mask: state.mxcsr_mask,
        st_space: words(&state.st),
        xmm_space: words(&state.xmm),
        padding: Vec::new(),
        xsave: None,
    }
}

fn xsave(state: &XsaveState) -> proto::UserX86XsaveEntry {
    proto::UserX86XsaveEntry {
        xstate_bv: state.xstate_bv,
        ymmh_space: state.avx.as_ref().map(|regs| words(regs)).unwrap_or_default(),
        bndreg_state: quadwords(state.bndregs.as_ref(), len::BNDREGS),
        bndcsr_state: quadwords(state.bndcsr.as_ref().map(std::slice::from_ref), len::BNDCSR),
        opmask_reg: quadwords(state.opmask.as_ref().map(std::slice::from_ref), len::OPMASK),
        zmm_upper: quadwords(state.zmm_hi256.as_ref(), len::ZMM_UPPER),
        hi16_zmm: quadwords(state.hi16_zmm.as_ref(), len::HI16_ZMM),
        pkru: state.pkru.map(|pkru| vec![pkru, 0]).unwrap_or_default(),
        cet: state.cet.map(|cet| proto::UserX86CetEntry { cet: cet.u_cet, ssp: cet.ssp }),
    }
}

/// Registers as 32-bit words, low word first.
fn words<const N: usize>(registers: &[[u64; N]]) -> Vec<u32> {
    registers.iter().flatten().flat_map(|word| [*word as u32, (*word >> 32) as u32]).collect()
}

/// Registers of a component, padded to its length; none without the component.
fn quadwords<'a, const N: usize>(
    registers: Option<impl IntoIterator<Item = &'a [u64; N]>>,
    len: usize,
) -> Vec<u64> {
    let Some(registers) = registers else { return Vec::new() };
    let mut words: Vec<u64> = registers.into_iter().flatten().copied().collect();
    words.resize(len, 0);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_their_order() {
        assert_eq!(words(&[[0x2_0000_0001, 3], [4, 5 << 32]]), [1, 2, 3, 0, 4, 0, 0, 5]);
    }

    #[test]
    fn components_have_the_lengths_that_restore_demands() {
        let full = xsave(&XsaveState {
            xstate_bv: 0xff,
            avx: Some([[1; 2]; 16]),
            bndregs: Some([[1; 2]; 4]),
            bndcsr: Some([7, 8]),
            opmask: Some([1; 8]),
            zmm_hi256: Some([[1; 4]; 16]),
            hi16_zmm: Some([[1; 8]; 16]),
            pkru: Some(0x5555_5554),
            cet: None,
        });
        assert_eq!(full.ymmh_space.len(), len::YMMH);
        assert_eq!(full.bndreg_state.len(), len::BNDREGS);
        assert_eq!(full.bndcsr_state, [7, 8, 0, 0, 0, 0, 0, 0]);
        assert_eq!(full.opmask_reg.len(), len::OPMASK);
        assert_eq!(full.zmm_upper.len(), len::ZMM_UPPER);
        assert_eq!(full.hi16_zmm.len(), len::HI16_ZMM);
        assert_eq!(full.pkru, [0x5555_5554, 0]);
        let none = xsave(&XsaveState::default());
        assert!(none.ymmh_space.is_empty() && none.bndcsr_state.is_empty());
    }
}
