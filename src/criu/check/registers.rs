//! Registers. What is wrong here mostly makes `restore` succeed and the process
//! die at its first instruction.

use crate::criu::findings::ImageFindings;
use crate::criu::proto::{
    ThreadInfoX86, UserX86FpregsEntry, UserX86RegsEntry, UserX86RegsMode, UserX86XsaveEntry,
    VmaEntry,
};
use crate::criu::registers::len;
use crate::criu::vma::{TASK_SIZE, status};
use crate::snapshot::component;

/// Selectors of 64-bit user mode (`__USER_CS`, `__USER_DS`).
const USER_CS: u64 = 0x33;
const USER_DS: u64 = 0x2b;

/// Bits of RFLAGS that user mode has or can set: bit 1 and IF always; CF, PF,
/// AF, ZF, SF, TF, DF, OF, NT, RF, AC and ID.
const USER_FLAGS: u64 = 0x202 | 0x0025_4dd5;

const PROT_EXEC: u32 = 4;

pub fn check(info: &ThreadInfoX86, areas: &[VmaEntry], found: &mut ImageFindings<'_>) {
    check_general(&info.gpregs, found);
    check_ip(info.gpregs.ip, areas, found);
    check_legacy(&info.fpregs, found);
    if let Some(xsave) = &info.fpregs.xsave {
        check_xsave(xsave, found);
    }
}

fn check_general(regs: &UserX86RegsEntry, found: &mut ImageFindings<'_>) {
    found.require(
        regs.mode.is_none_or(|mode| mode == UserX86RegsMode::Native as i32),
        "thread_info.gpregs.mode",
        || "is that of a 32-bit task".into(),
    );
    for (field, value, expected) in
        [("thread_info.gpregs.cs", regs.cs, USER_CS), ("thread_info.gpregs.ss", regs.ss, USER_DS)]
    {
        found.require(value == expected, field, || {
            format!("is {value:#x} instead of {expected:#x}")
        });
    }
    for (field, value) in [
        ("thread_info.gpregs.ip", regs.ip),
        ("thread_info.gpregs.sp", regs.sp),
        ("thread_info.gpregs.fs_base", regs.fs_base),
        ("thread_info.gpregs.gs_base", regs.gs_base),
    ] {
        found.require(value < TASK_SIZE, field, || format!("{value:#x} is no user address"));
    }
    found.require(regs.flags & !USER_FLAGS == 0, "thread_info.gpregs.flags", || {
        format!("{:#x} has bits that user mode cannot set", regs.flags)
    });
}

fn check_ip(ip: u64, areas: &[VmaEntry], found: &mut ImageFindings<'_>) {
    const FIELD: &str = "thread_info.gpregs.ip";
    let next = areas.partition_point(|vma| vma.end <= ip);
    let vma = areas.get(next).filter(|vma| vma.start <= ip && vma.prot & PROT_EXEC != 0);
    match vma {
        None => found.add(FIELD, format!("{ip:#x} is in no executable area")),
        // Restore puts the destination's vdso or jumps to it in place of the
        // code that the thread would go on with.
        Some(vma) if vma.status & status::VDSO != 0 => {
            found.add(FIELD, format!("{ip:#x} is in the vdso, where no thread can be restored"));
        }
        Some(_) => {}
    }
}

fn check_legacy(regs: &UserX86FpregsEntry, found: &mut ImageFindings<'_>) {
    // The upper half of MXCSR is reserved on all processors; a mask of 0
    // stands for 0xffbf.
    let mask = if regs.mxcsr_mask == 0 { 0xffbf } else { regs.mxcsr_mask & 0xffff };
    found.require(regs.mxcsr & !mask == 0, "thread_info.fpregs.mxcsr", || {
        format!("{:#x} has reserved bits, those not in {mask:#x}", regs.mxcsr)
    });
    for (field, value) in [
        ("thread_info.fpregs.cwd", regs.cwd),
        ("thread_info.fpregs.swd", regs.swd),
        ("thread_info.fpregs.twd", regs.twd),
        ("thread_info.fpregs.fop", regs.fop),
    ] {
        found.require(value <= 0xffff, field, || format!("{value:#x} has more than 16 bits"));
    }
    require_len(regs.st_space.len(), len::ST, "thread_info.fpregs.st_space", found);
    require_len(regs.xmm_space.len(), len::XMM, "thread_info.fpregs.xmm_space", found);
}

/// Restore refuses an array of another length, where the processor has the
/// component. It may be absent while its bit in `xstate_bv` is clear.
fn check_xsave(xsave: &UserX86XsaveEntry, found: &mut ImageFindings<'_>) {
    for (field, component, len, expected) in [
        ("ymmh_space", component::AVX, xsave.ymmh_space.len(), len::YMMH),
        ("bndreg_state", component::BNDREGS, xsave.bndreg_state.len(), len::BNDREGS),
        ("bndcsr_state", component::BNDCSR, xsave.bndcsr_state.len(), len::BNDCSR),
        ("opmask_reg", component::OPMASK, xsave.opmask_reg.len(), len::OPMASK),
        ("zmm_upper", component::ZMM_HI256, xsave.zmm_upper.len(), len::ZMM_UPPER),
        ("hi16_zmm", component::HI16_ZMM, xsave.hi16_zmm.len(), len::HI16_ZMM),
        ("pkru", component::PKRU, xsave.pkru.len(), len::PKRU),
    ] {
        let in_use = xsave.xstate_bv >> component & 1 == 1;
        if in_use || len != 0 {
            require_len(len, expected, &format!("thread_info.fpregs.xsave.{field}"), found);
        }
    }
}

fn require_len(len: usize, expected: usize, field: &str, found: &mut ImageFindings<'_>) {
    found.require(len == expected, field, || format!("has {len} words instead of {expected}"));
}
