//! By what security modules confine threads: the label of AppArmor. Landlock,
//! SELinux, and what of AppArmor CRIU cannot set, are obstacles.

use crate::kernel::KernelError;
use crate::linux::{Confinement, Cred, Struct, Task, is_selinux_on};

/// Notes what of a thread's confinement restore could not set.
pub(super) fn survey(
    thread: &Task<'_>,
    note: &mut impl FnMut(bool, &str),
) -> Result<(), KernelError> {
    note(is_selinux_on(thread.kernel())?, "has a label of SELinux");
    note(thread.changes_its_profile()?, "has another AppArmor profile to change to");
    let Some(cred) = thread.cred()? else { return Ok(()) };
    note(cred.is_restricted_by_landlock()?, "is restricted by Landlock");
    match cred.apparmor()? {
        Confinement::Unconfined => {}
        Confinement::Profile(name) => {
            let is_text = std::str::from_utf8(&name).is_ok();
            note(!is_text, "has an AppArmor profile whose name is no UTF-8");
        }
        Confinement::Stack => note(true, "is confined by several AppArmor profiles"),
        Confinement::Namespace => note(true, "is in an AppArmor namespace of its own"),
        Confinement::Learning => note(true, "has an AppArmor profile that is being learnt"),
    }
    Ok(())
}

/// The AppArmor profile of a thread with these credentials.
pub(super) fn profile(cred: &Cred<'_>) -> Result<Option<String>, KernelError> {
    Ok(match cred.apparmor()? {
        Confinement::Profile(name) => String::from_utf8(name).ok(),
        _ => None,
    })
}
