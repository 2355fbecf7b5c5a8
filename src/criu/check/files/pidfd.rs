//! Descriptors of processes.

use super::descriptors::Descriptors;
use crate::criu::findings::ImageFindings;
use crate::criu::proto::PidfdEntry;

/// `PIDFD_NONBLOCK`, all that restore may ask `pidfd_open()` for.
const FLAGS: u32 = 0o4_000;
/// The process of a descriptor that outlived it.
const GONE: i32 = -1;

/// Restore opens it by the process's number, once all processes are there.
pub fn check(
    descriptors: &Descriptors<'_>,
    id: u32,
    pidfd: &PidfdEntry,
    found: &mut ImageFindings<'_>,
) {
    found.require(pidfd.id == id, "pidfd.id", || format!("of file {id} is {}", pidfd.id));
    found.require(pidfd.flags & !FLAGS == 0, "pidfd.flags", || {
        format!("of file {id} are {:#o}, which pidfd_open() refuses", pidfd.flags)
    });
    let is_there = descriptors.has_process(pidfd.nspid.cast_unsigned());
    found.require(pidfd.nspid == GONE || is_there, "pidfd.nspid", || {
        format!("{} of file {id} is no process of the set", pidfd.nspid)
    });
}
