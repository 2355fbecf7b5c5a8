//! The control registers of the vCPUs, as the human monitor prints them.

use serde_json::json;

use super::command;
use super::error::Result;
use super::qmp::Qmp;

/// vCPUs that are asked at most: any that runs the guest's kernel will do.
const VCPUS_MAX: u32 = 8;
const COMMAND: &str = "info registers";

/// What decides how a vCPU translates addresses (Intel SDM vol. 3, 2.5). The
/// vCPU may run on: the values belong together, but may be old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlRegisters {
    /// `CR0`.
    pub cr0: u64,
    /// `CR3`, with its flags or PCID.
    pub cr3: u64,
    /// `CR4`.
    pub cr4: u64,
    /// `IA32_EFER`.
    pub efer: u64,
}

/// Reads the registers of the first vCPUs. One that QEMU does not know, or that
/// it shows in another way, is left out.
pub(super) fn control_registers(qmp: &mut Qmp) -> Result<Vec<ControlRegisters>> {
    let ask = |index| json!({ "command-line": COMMAND, "cpu-index": index });
    let commands: Vec<_> =
        (0..VCPUS_MAX).map(|index| ("human-monitor-command", ask(index))).collect();
    let answers = qmp.execute_all(&commands)?;
    let printed = answers.into_iter().flatten();
    Ok(printed.filter_map(|answer| parse(&command::text(COMMAND, &answer).ok()?)).collect())
}

/// Parses `CR0=80050033 CR2=… CR3=… CR4=…` and, on a line of its own,
/// `EFER=…` (`x86_cpu_dump_state()` in QEMU's `target/i386/cpu-dump.c`).
fn parse(text: &str) -> Option<ControlRegisters> {
    let register = |name: &str| {
        let values = text.split_ascii_whitespace();
        let value = values.filter_map(|word| word.strip_prefix(name)?.strip_prefix('=')).next()?;
        u64::from_str_radix(value, 16).ok()
    };
    Some(ControlRegisters {
        cr0: register("CR0")?,
        cr3: register("CR3")?,
        cr4: register("CR4")?,
        efer: register("EFER")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_read_from_what_qemu_prints() {
        let text = "\nCPU#1\r\nRAX=000000000001ad40 RBX=0000000000000000\r\n\
            IDT=     fffffe0000000000 00000fff\r\n\
            CR0=80050033 CR2=00007f123d4a188a CR3=00000000025ce000 CR4=00751ea0\r\n\
            DR6=00000000ffff0ff0 DR7=0000000000000400\r\nEFER=0000000000000d01\r\n";
        let registers =
            ControlRegisters { cr0: 0x8005_0033, cr3: 0x25c_e000, cr4: 0x75_1ea0, efer: 0xd01 };
        assert_eq!(parse(text), Some(registers));
        assert_eq!(parse("CPU#0\nPC=0000000000000000 SP=0000000000000000\n"), None);
    }
}
