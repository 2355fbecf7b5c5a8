//! Locks on files.

use crate::kernel::KernelError;
use crate::linux::{File, FileLock, ListHead, Struct};
use crate::memory::GuestVirt;

/// Whether locks were made through this open file, or by this descriptor table
/// on its inode.
pub(super) fn holds_locks(file: &File<'_>, table: GuestVirt) -> Result<bool, KernelError> {
    let Some(context) = file.inode()?.map_or(Ok(None), |inode| inode.flctx())? else {
        return Ok(false);
    };
    let holds = |list: ListHead<'_>| -> Result<bool, KernelError> {
        for lock in list.entries::<FileLock<'_>>("list") {
            let lock = lock?;
            let owner = lock.owner()?;
            if lock.file()? == file.addr() || owner == table || owner == file.addr() {
                return Ok(true);
            }
        }
        Ok(false)
    };
    Ok(holds(context.flock()?)? || holds(context.posix()?)? || holds(context.lease()?)?)
}
