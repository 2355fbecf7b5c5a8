//! Locks on files: each is made by a process through a descriptor of its own.

use super::descriptors::Descriptors;
use crate::criu::container::ImageKind;
use crate::criu::files::lock_flag as flag;
use crate::criu::findings::Findings;
use crate::criu::set::ImageSet;

pub fn check(set: &ImageSet, descriptors: &Descriptors<'_>, findings: &mut Findings) {
    let mut found = findings.of(ImageKind::FileLocks, 0, None);
    for lock in &set.locks {
        let (pid, fd) = (lock.pid.cast_unsigned(), lock.fd.cast_unsigned());
        let is_there = descriptors.has_process(pid);
        found.require(is_there, "pid", || format!("{pid} is no process of the set"));
        let is_open = !is_there || descriptors.get(pid, fd).is_some();
        found.require(is_open, "fd", || format!("{fd} is not open in process {pid}"));
        let is_kind = [flag::POSIX, flag::FLOCK, flag::OFD, flag::LEASE].contains(&lock.flag);
        found.require(is_kind, "flag", || format!("{} is no kind of lock", lock.flag));
        // LEASE_BREAKING is added to that of a lease.
        let is_type = lock.r#type <= 2 || lock.flag == flag::LEASE && lock.r#type <= 6;
        found.require(is_type, "type", || format!("{} is no type of lock", lock.r#type));
        let fits = lock.start >= 0 && lock.len >= 0 && lock.start.checked_add(lock.len).is_some();
        found.require(fits, "len", || format!("{} from {} is no range", lock.len, lock.start));
    }
}
