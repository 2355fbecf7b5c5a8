//! Sockets of the Unix family.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{check_shutdown, options};
use crate::criu::findings::ImageFindings;
use crate::criu::proto::UnixSkEntry;
use crate::criu::set::ImageSet;
use crate::snapshot::{SocketKind, SocketState};

/// `SK_SHUTDOWN__BOTH`
const BOTH: i32 = 3;
/// `UNIX_PATH_MAX` (`include/uapi/linux/un.h`)
const MAX_NAME: usize = 108;

/// Restore makes two sockets that are connected to each other by
/// `socketpair()`, and gives one whose peer was closed another one to close.
/// Others it connects by name.
pub fn check(id: u32, unix: &UnixSkEntry, found: &mut ImageFindings<'_>) {
    found.require(unix.id == id, "usk.id", || format!("of file {id} is {}", unix.id));
    // Those of CRIU's own making have 0.
    found.require(unix.ino != 0, "usk.ino", || format!("of file {id} is 0"));
    found
        .require(unix.uflags == 0, "usk.uflags", || format!("of file {id} are {:#x}", unix.uflags));
    let kinds = [SocketKind::STREAM, SocketKind::DGRAM, SocketKind::SEQPACKET].map(u32::from);
    found.require(kinds.contains(&unix.r#type), "usk.type", || {
        format!("of file {id} is {}", unix.r#type)
    });
    let listens = unix.state == u32::from(SocketState::LISTEN);
    let states = [SocketState::ESTABLISHED, SocketState::CLOSE, SocketState::LISTEN].map(u32::from);
    // `listen()` asks for a name; a connection is not bound (`bind_unix_sk()`).
    let is_fine = match (listens, unix.name.is_empty()) {
        (true, is_empty) => !is_datagram(unix) && !is_empty,
        (false, true) => states.contains(&unix.state),
        (false, false) => is_datagram(unix) || unix.state == u32::from(SocketState::CLOSE),
    };
    found.require(is_fine, "usk.state", || format!("of file {id} is {}", unix.state));
    check_name(id, unix, found);
    check_shutdown(id, "usk.shutdown", unix.shutdown, found);
    options::check(id, &unix.opts, found);
}

fn check_name(id: u32, unix: &UnixSkEntry, found: &mut ImageFindings<'_>) {
    let length = unix.name.len();
    let is_deleted = unix.deleted == Some(true);
    // A deleted one is bound beside what is there by now (`bind_on_deleted()`).
    let is_short = length < MAX_NAME || length == MAX_NAME && !is_deleted;
    found.require(is_short, "usk.name", || format!("of file {id} has {length} bytes"));
    let path = unix.name.split_last().filter(|_| unix.name[0] != 0);
    found.require(
        path.is_none_or(|(end, path)| *end == 0 && !path.contains(&0)),
        "usk.name",
        || format!("of file {id} is no path"),
    );
    let is_relative = path.is_some() && unix.name[0] != b'/';
    let directory = unix.name_dir.as_ref();
    let is_fine = directory.map_or(!is_relative, |directory| {
        is_relative && directory.first() == Some(&b'/') && !directory.contains(&0)
    });
    found.require(is_fine, "usk.name_dir", || format!("of file {id} is not where its name begins"));
    found.require(path.is_some() == unix.file_perms.is_some(), "usk.file_perms", || {
        format!("of file {id} are there without a path, or the other way round")
    });
    found.require(path.is_some() || !is_deleted, "usk.deleted", || {
        format!("of file {id} is set, and it has no path")
    });
}

/// Restore looks the peer up by its inode.
pub fn check_peers(set: &ImageSet, found: &mut ImageFindings<'_>) {
    let mut by_ino = HashMap::new();
    let mut names = HashSet::new();
    for (id, unix) in sockets(set) {
        let is_new = by_ino.insert(unix.ino, (id, unix)).is_none();
        found.require(is_new, "usk.ino", || format!("{} of file {id} is not unique", unix.ino));
        let is_bound = !unix.name.is_empty() && unix.deleted != Some(true);
        let is_free = !is_bound || names.insert((&unix.name_dir, &unix.name));
        found.require(is_free, "usk.name", || format!("of file {id} is that of another one"));
    }
    let places: BTreeMap<u32, usize> =
        set.files_in_order.iter().enumerate().map(|(place, id)| (*id, place)).collect();
    for (id, unix) in sockets(set) {
        match by_ino.get(&unix.peer) {
            _ if unix.peer == 0 => check_alone(id, unix, found),
            None => {
                found.add("usk.peer", format!("{} of file {id} is not in files.img", unix.peer))
            }
            Some((_, peer)) => {
                found.require(peer.r#type == unix.r#type, "usk.type", || {
                    format!("of file {id} is not that of its peer")
                });
                if peer.ino == unix.ino {
                    found.require(is_datagram(unix) && !unix.name.is_empty(), "usk.peer", || {
                        format!("of file {id} is itself, which has no name to be connected by")
                    });
                } else if peer.peer != unix.ino {
                    check_one_way(id, unix, peer, &places, found);
                }
            }
        }
    }
}

/// All sockets of the family, by their IDs.
pub fn sockets(set: &ImageSet) -> impl Iterator<Item = (u32, &UnixSkEntry)> {
    set.files.iter().filter_map(|(id, file)| Some((*id, file.usk.as_ref()?)))
}

fn is_datagram(unix: &UnixSkEntry) -> bool {
    unix.r#type == u32::from(SocketKind::DGRAM)
}

fn check_alone(id: u32, unix: &UnixSkEntry, found: &mut ImageFindings<'_>) {
    let is_connection = !is_datagram(unix) && unix.state == u32::from(SocketState::ESTABLISHED);
    found.require(!is_connection || unix.shutdown == Some(BOTH), "usk.shutdown", || {
        format!("of file {id} is {:?}, and it is connected to nothing", unix.shutdown)
    });
}

/// A socket that is connected to one that is not connected to it.
fn check_one_way(
    id: u32,
    unix: &UnixSkEntry,
    peer: &UnixSkEntry,
    places: &BTreeMap<u32, usize>,
    found: &mut ImageFindings<'_>,
) {
    let listens = peer.state == u32::from(SocketState::LISTEN);
    let takes_any = peer.peer == 0 && !peer.name.is_empty() && listens != is_datagram(unix);
    found.require(takes_any, "usk.peer", || {
        format!("{} of file {id} is connected to another one, or cannot be", unix.peer)
    });
    // Else it is not found (`try_resolve_unix_peer()`, `criu/sk-unix.c`).
    let is_behind = places.get(&id) > places.get(&peer.id);
    found.require(is_behind, "usk.peer", || {
        format!("{} of file {id} comes later in files.img", unix.peer)
    });
}
