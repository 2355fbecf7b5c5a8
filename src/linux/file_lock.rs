//! Locks on files: `struct file_lock`.

use crate::memory::GuestVirt;

use super::list::ListHead;
use super::view::Embedded;

bitflags::bitflags! {
    /// `FL_*` in `include/linux/filelock.h`, as far as they are looked at.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct LockFlags: u32 {
        /// `fcntl(F_SETLK)`, and with [`OFDLCK`](Self::OFDLCK)
        /// `fcntl(F_OFD_SETLK)`.
        const POSIX = 1 << 0;
        /// `flock()`.
        const FLOCK = 1 << 1;
        /// `fcntl(F_SETLEASE)`.
        const LEASE = 1 << 5;
        /// A lease that is to become a shared one.
        const DOWNGRADE_PENDING = 1 << 8;
        /// A lease that is to be given up.
        const UNLOCK_PENDING = 1 << 9;
        /// The open file owns it.
        const OFDLCK = 1 << 10;
        const _ = !0;
    }
}

kernel_struct! {
    /// Locks on a file: `struct file_lock_context`.
    pub struct FileLockContext: "file_lock_context" {
        /// `flock()` locks.
        flock: Embedded<ListHead<'k>> = ["flc_flock"],
        /// POSIX and OFD locks.
        posix: Embedded<ListHead<'k>> = ["flc_posix"],
        /// Leases.
        lease: Embedded<ListHead<'k>> = ["flc_lease"],
    }
}

kernel_struct! {
    /// A lock on a file: `struct file_lock`. A lease is a `struct file_lease`
    /// since 6.9, which begins with the same `struct file_lock_core`.
    pub struct FileLock: "file_lock" {
        /// Its place in the file's list.
        list: Embedded<ListHead<'k>> = ["c.flc_list", "fl_list"],
        /// The open file it was made through.
        file: GuestVirt = ["c.flc_file", "fl_file"],
        /// The descriptor table that owns it (POSIX), or the open file.
        owner: GuestVirt = ["c.flc_owner", "fl_owner"],
        /// [`LockFlags`] bits.
        flags: u32 = ["c.flc_flags", "fl_flags"],
        /// `F_RDLCK`, `F_WRLCK`.
        kind: u32 = ["c.flc_type", "fl_type"],
        /// First byte; a lease has none since 6.9.
        start: u64 = ["fl_start"],
        /// Last byte.
        end: u64 = ["fl_end"],
    }
}
