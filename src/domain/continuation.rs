//! How a VM that was paused is continued.

use std::os::fd::BorrowedFd;

use super::libvirt::LibvirtAddress;

/// How the VM is continued from another process.
#[derive(Debug, Clone, Copy)]
pub(super) enum Continuation<'a> {
    /// By `cont` on this connection.
    Qmp(BorrowedFd<'a>),
    /// By libvirt.
    Libvirt(&'a LibvirtAddress),
}
