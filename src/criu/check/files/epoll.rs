//! Instances of epoll.

use std::collections::HashSet;

use super::descriptors::Descriptors;
use crate::criu::findings::ImageFindings;
use crate::criu::proto::{EventpollFileEntry, FdTypes};

/// `EPOLLEXCLUSIVE`, and what may stand beside it (`EPOLLEXCLUSIVE_OK_BITS`,
/// `fs/eventpoll.c`): `EPOLLET`, `EPOLLWAKEUP`, `EPOLLIN`, `EPOLLOUT`, `EPOLLERR`
/// and `EPOLLHUP`.
const EXCLUSIVE: u32 = 1 << 28;
const BESIDE_EXCLUSIVE: u32 = EXCLUSIVE | 1 << 31 | 1 << 29 | 1 | 4 | 8 | 16;

/// Restore adds what an instance watches by the descriptors of the process that
/// it makes it in, the one with the lowest PID. It waits for them to be open, and
/// takes one that never will for one that is.
pub fn check(
    descriptors: &Descriptors<'_>,
    id: u32,
    instance: &EventpollFileEntry,
    found: &mut ImageFindings<'_>,
) {
    found.require(instance.id == id, "epfd.id", || format!("of file {id} is {}", instance.id));
    let opener = descriptors.opener(id);
    let mut watched = HashSet::new();
    for target in &instance.tfd {
        let fd = target.tfd;
        let Some(open) = opener.and_then(|pid| descriptors.get(pid, fd)) else {
            found.add("epfd.tfd", format!("{fd} of file {id} is not open where it is made"));
            continue;
        };
        found
            .require(open.id != id, "epfd.tfd", || format!("{fd} of file {id} is the file itself"));
        found.require(watched.insert(fd), "epfd.tfd", || {
            format!("{fd} of file {id} is there twice")
        });
        let is_exclusive = target.events & EXCLUSIVE != 0;
        let fits =
            target.events & !BESIDE_EXCLUSIVE == 0 && open.r#type != FdTypes::Eventpoll as i32;
        found.require(!is_exclusive || fits, "epfd.events", || {
            format!("of fd {fd} of file {id} are {:#x}, which do not go together", target.events)
        });
    }
}
