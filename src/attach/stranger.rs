//! What a VM runs in which no Linux kernel was found, as far as its CPUs and
//! its memory tell. For a message only: a guest can pretend to be anything.

use memchr::memmem::Finder;

use crate::domain::{ControlRegisters, Domain};
use crate::memory::GuestMemory;

/// Bits of `CR0` and `EFER` (Intel SDM vol. 3, 2.5 and 2.2.1).
const CR0_PROTECTED: u64 = 1;
const CR0_PAGING: u64 = 1 << 31;
const EFER_LONG_MODE: u64 = 1 << 10;

/// Memory is looked through in pieces of this size, in bytes.
const PIECE: usize = 1 << 20;

/// What a kernel holds that says which it is; Linux last, as others have its
/// name in their compatibility layers.
const SIGNS: [(&str, &str); 6] = [
    // The debug record of ntoskrnl.exe.
    ("ntkrnlmp.pdb", "Windows"),
    ("@(#)FreeBSD ", "FreeBSD"),
    ("FreeBSD is a registered trademark", "FreeBSD"),
    ("OpenBSD is a secure", "OpenBSD"),
    ("The NetBSD Foundation, Inc.", "NetBSD"),
    (LINUX, "Linux"),
];
const LINUX: &str = "Linux version ";

/// The widest mode that a CPU is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mode {
    Unknown,
    Real,
    Protected,
    Paged32,
    Long,
}

impl Mode {
    fn of(cpu: &ControlRegisters) -> Self {
        if cpu.efer & EFER_LONG_MODE != 0 {
            Self::Long
        } else if cpu.cr0 & CR0_PROTECTED == 0 {
            Self::Real
        } else if cpu.cr0 & CR0_PAGING == 0 {
            Self::Protected
        } else {
            Self::Paged32
        }
    }
}

/// One clause that says what the VM runs.
pub(super) fn describe(domain: &Domain, memory: &GuestMemory) -> String {
    let cpus = domain.control_registers().unwrap_or_default();
    let mode = cpus.iter().map(Mode::of).max().unwrap_or(Mode::Unknown);
    clause(mode, find_sign(memory))
}

fn clause(mode: Mode, system: Option<&str>) -> String {
    match (mode, system) {
        (Mode::Real, _) => {
            "it runs no operating system: its CPUs are in real mode, in firmware or a boot loader"
                .into()
        }
        (Mode::Protected, _) => "it runs no operating system yet: its CPUs are without paging, \
            in a boot loader or at the start of a kernel"
            .into(),
        (Mode::Paged32, Some(system)) => format!("it runs 32-bit {system}"),
        (Mode::Paged32, None) => "it runs a 32-bit system".into(),
        (_, Some("Linux")) => "it holds a Linux kernel that is still booting, has crashed, \
            or is not one for x86-64"
            .into(),
        (_, Some(system)) => format!("it runs {system}"),
        (Mode::Long | Mode::Unknown, None) => {
            "it runs UEFI firmware, a boot loader, a kernel that is still unpacking itself, \
             or another system"
                .into()
        }
    }
}

/// The system whose sign is in memory.
fn find_sign(memory: &GuestMemory) -> Option<&'static str> {
    let finders = SIGNS.map(|(sign, _)| Finder::new(sign));
    let mut best = None;
    for region in memory.regions() {
        let mut from = 0;
        while let Some(data) = region.backing.next_data(from) {
            // Signs that lie across two pieces are missed: each is there more
            // than once, or is missed in favour of a less exact message.
            let mut at = data.start;
            while at < data.end {
                let len = usize::try_from(data.end - at).unwrap_or(PIECE).min(PIECE);
                let mut piece = vec![0; len];
                if region.backing.read(at, &mut piece).is_ok() {
                    let found = finders.iter().position(|finder| finder.find(&piece).is_some());
                    best = [best, found].into_iter().flatten().min();
                }
                at += len as u64;
            }
            from = data.end.max(from + 1);
        }
    }
    best.map(|index| SIGNS[index].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_is_the_widest() {
        let cpu = |cr0, efer| ControlRegisters { cr0, cr3: 0, cr4: 0, efer };
        assert_eq!(Mode::of(&cpu(0x10, 0)), Mode::Real);
        assert_eq!(Mode::of(&cpu(0x11, 0)), Mode::Protected);
        assert_eq!(Mode::of(&cpu(0x8000_0011, 0)), Mode::Paged32);
        assert_eq!(Mode::of(&cpu(0x8005_0033, 0xd01)), Mode::Long);
    }

    #[test]
    fn each_kind_is_told_apart() {
        let modes = [Mode::Real, Mode::Protected, Mode::Paged32, Mode::Long];
        let said: Vec<_> = modes.into_iter().map(|mode| clause(mode, Some("Linux"))).collect();
        assert!(said[0].contains("no operating system:") && said[1].contains("yet"), "{said:?}");
        assert_eq!(said[2], "it runs 32-bit Linux");
        assert!(said[3].contains("still booting"), "{said:?}");
        assert_eq!(clause(Mode::Long, Some("Windows")), "it runs Windows");
    }
}
