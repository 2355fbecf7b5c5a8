//! Sockets: one file for each family, and `sk-queues.img`.

mod inet;
mod netlink;
mod options;
mod packet;
mod queue;
mod unix;

use super::super::ids::FileIds;
use super::super::{EncodeError, proto};
use super::open_file;
use crate::snapshot::{Id, OpenFile, OpenFileKind, Packet, Snapshot, Socket, SocketFamily};

pub use queue::{SCM_RIGHTS, add_queues};

/// The type of a socket's record.
pub fn fd_type(snapshot: &Snapshot, socket: Id<Socket>) -> Result<proto::FdTypes, EncodeError> {
    Ok(match get(snapshot, socket)?.family {
        SocketFamily::Unix(_) => proto::FdTypes::Unixsk,
        SocketFamily::Inet(_) => proto::FdTypes::Inetsk,
        SocketFamily::Netlink(_) => proto::FdTypes::Netlinksk,
        SocketFamily::Packet(_) => proto::FdTypes::Packetsk,
    })
}

/// The record of a socket.
pub fn record(
    snapshot: &Snapshot,
    ids: &FileIds,
    id: u32,
    file: Id<OpenFile>,
    socket: Id<Socket>,
) -> Result<proto::FileEntry, EncodeError> {
    let open = open_file(snapshot, file)?;
    let of = proto::FileEntry {
        r#type: fd_type(snapshot, socket)? as i32,
        id,
        ..proto::FileEntry::default()
    };
    match &get(snapshot, socket)?.family {
        SocketFamily::Unix(unix) => {
            let usk = unix::entry(snapshot, ids, id, open, (socket, unix))?;
            Ok(proto::FileEntry { usk: Some(usk), ..of })
        }
        SocketFamily::Inet(inet) => {
            let isk = inet::entry(snapshot, ids, id, open, (socket, inet))?;
            Ok(proto::FileEntry { isk: Some(isk), ..of })
        }
        SocketFamily::Netlink(netlink) => {
            let nlsk = netlink::entry(snapshot, ids, id, open, (socket, netlink))?;
            Ok(proto::FileEntry { nlsk: Some(nlsk), ..of })
        }
        SocketFamily::Packet(packet) => {
            let psk = packet::entry(snapshot, id, open, (socket, packet))?;
            Ok(proto::FileEntry { psk: Some(psk), ..of })
        }
    }
}

/// Where in `files.img` a file is to be, by an ascending number. CRIU connects a
/// socket by name only to one that is there before it, and has the first one that
/// is connected send what is in the queue (`try_resolve_unix_peer()`,
/// `set_peer()`, `criu/sk-unix.c`). Of two that are connected to each other the
/// last one makes both, and sends what is in flight to the other one.
pub fn place(snapshot: &Snapshot, file: &OpenFile) -> u8 {
    let OpenFileKind::Socket { socket: id } = file.kind else { return 0 };
    let unix = |id| match &snapshot.sockets.get(id)?.family {
        SocketFamily::Unix(unix) => Some(unix),
        _ => None,
    };
    let Some(peer) = unix(id).and_then(|unix| unix.peer).filter(|peer| *peer != id) else {
        return 0;
    };
    match unix(peer) {
        Some(peer) if peer.peer != Some(id) => {
            if peer.sender == Some(id) {
                1
            } else {
                2
            }
        }
        Some(peer) if peer.queue.iter().any(|packet| !packet.files.is_empty()) => 3,
        _ => 0,
    }
}

fn queue_of(socket: &Socket) -> &[Packet] {
    match &socket.family {
        SocketFamily::Unix(unix) => &unix.queue,
        _ => &[],
    }
}

fn get(snapshot: &Snapshot, socket: Id<Socket>) -> Result<&Socket, EncodeError> {
    snapshot.sockets.get(socket).ok_or(EncodeError::Dangling("socket"))
}
