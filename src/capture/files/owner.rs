//! Who is told of I/O on an open file by a signal.

use crate::control::Tree;
use crate::kernel::KernelError;
use crate::linux::File;
use crate::snapshot::FileOwner;

/// Reads what `F_SETOWN` and `F_SETSIG` have set.
pub(super) fn read(file: &File<'_>) -> Result<FileOwner, KernelError> {
    let Some(owner) = file.fown()? else { return Ok(FileOwner::default()) };
    let signum = owner.signum()?;
    let Some(pid) = owner.pid()? else {
        return Ok(FileOwner { signum, ..FileOwner::default() });
    };
    Ok(FileOwner {
        uid: owner.uid()?,
        euid: owner.euid()?,
        signum,
        pid_type: owner.pid_type()?,
        pid: pid.global()?.cast_unsigned(),
    })
}

/// Whether an owner is there when files are opened again: restore makes the
/// processes before, and their threads after. A process group has the number of
/// the process that leads it.
pub(super) fn is_one_of(owner: &FileOwner, tree: &Tree<'_>) -> bool {
    owner.pid == 0 || tree.member(owner.pid.cast_signed()).is_some()
}
