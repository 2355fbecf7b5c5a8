//! Does what was found describe the kernel that runs?
//!
//! A guest that has rebooted, or has started another kernel with kexec, often
//! still holds the one before, complete with its VMCOREINFO, page tables and
//! task list. Reading that would be wrong, and writing to it would destroy
//! memory that is another's now.

use crate::memory::{AddressSpace, GuestPhys, GuestVirt};

use super::banner;
use super::declare::{FieldDecl, StructDecl};
use super::error::KernelError;
use super::image::{Located, START_KERNEL_MAP};
use super::profile::Profile;

/// Structures that every profile holds beside the declared ones, as far as this
/// kernel has them.
pub(super) const BASE_STRUCTS: &[&StructDecl] = &[
    &optional("task_struct", &[FieldDecl { name: "comm", paths: &["comm"], optional: true }]),
    &optional(
        "real_mode_header",
        &[FieldDecl { name: "trampoline_header", paths: &["trampoline_header"], optional: true }],
    ),
    &optional(
        "trampoline_header",
        &[FieldDecl { name: "start", paths: &["start"], optional: true }],
    ),
];

const fn optional(name: &'static str, fields: &'static [FieldDecl]) -> StructDecl {
    StructDecl { name, fields, optional: true }
}

/// Checks that the kernel of `profile` lies at `located` and runs.
///
/// # Errors
///
/// [`KernelError::NotRunning`] with what does not fit.
pub(super) fn check(
    space: &AddressSpace,
    located: Located,
    profile: &Profile,
) -> Result<(), KernelError> {
    let image = Image { space, located, profile };
    if !image.has_banner() {
        return Err(KernelError::NotRunning("linux_banner tells another release"));
    }
    if !image.has_idle_task() {
        return Err(KernelError::NotRunning("init_task is not the idle task"));
    }
    if !image.owns_trampoline() {
        return Err(KernelError::NotRunning("another kernel has booted since"));
    }
    Ok(())
}

struct Image<'a> {
    space: &'a AddressSpace,
    located: Located,
    profile: &'a Profile,
}

impl Image<'_> {
    /// `linux_banner` begins `Linux version RELEASE (` (`init/version.c`).
    fn has_banner(&self) -> bool {
        let expected = format!("{}{} (", banner::START, self.profile.release);
        let mut banner = vec![0; expected.len()];
        let Some(addr) = self.symbol("linux_banner") else { return false };
        self.space.read(addr, &mut banner).is_ok() && banner == expected.as_bytes()
    }

    /// The boot CPU's idle task is called `swapper` and, once there may be
    /// others, `swapper/0` (`init_idle()` in `kernel/sched/core.c`).
    fn has_idle_task(&self) -> bool {
        let (Some(task), Some(comm)) =
            (self.symbol("init_task"), self.offset("task_struct", "comm"))
        else {
            return false;
        };
        let mut name = [0; 7];
        self.space.read(task.wrapping_add(comm), &mut name).is_ok() && name == *b"swapper"
    }

    /// Every kernel that boots puts the code that starts further CPUs, with its
    /// own address in it, at the same place in low memory
    /// (`setup_real_mode()` in `arch/x86/realmode/init.c`): it is the last
    /// kernel's. A kernel that has none cannot be told apart this way.
    fn owns_trampoline(&self) -> bool {
        match (self.trampoline_start(), self.symbol("secondary_startup_64")) {
            (Some(start), Some(expected)) => start == expected,
            _ => true,
        }
    }

    fn trampoline_start(&self) -> Option<GuestVirt> {
        let memory = self.space.memory();
        let mut header = [0; 8];
        self.space.read(self.symbol("real_mode_header")?, &mut header).ok()?;
        let field = self.offset("real_mode_header", "trampoline_header")?;
        let mut low = [0; 4];
        let header = GuestVirt::new(u64::from_le_bytes(header));
        self.space.read(header.wrapping_add(field), &mut low).ok()?;
        let trampoline = GuestPhys::new(u64::from(u32::from_le_bytes(low)));
        let start = trampoline.checked_add(self.offset("trampoline_header", "start")?)?;
        memory.read_u64(start).ok().map(GuestVirt::new)
    }

    fn symbol(&self, name: &str) -> Option<GuestVirt> {
        let linked = *self.profile.symbols.get(name)?;
        let addr = GuestVirt::new(linked);
        Some(if linked < START_KERNEL_MAP {
            addr
        } else {
            addr.wrapping_add(self.located.kaslr_offset)
        })
    }

    fn offset(&self, structure: &str, member: &str) -> Option<u64> {
        Some(self.profile.structs.get(structure)?.members.get(member)?.offset)
    }
}
