//! Unix sockets with names.

use crate::snapshot::{
    Descriptor, FileOwner, Id, OpenFile, OpenFileKind, Packet, Snapshot, Socket, SocketFamily,
    SocketKind, SocketOptions, SocketState, UnixName, UnixSocket,
};

use SocketKind as Kind;
use SocketState as State;

fn at(path: &str, directory: Option<&str>, deleted: bool) -> Option<UnixName> {
    let directory = directory.map(Into::into);
    let mode = 0o140_640;
    Some(UnixName::Path { path: path.into(), directory, uid: 1, gid: 2, mode, deleted })
}

/// The process of the sample with sockets from descriptor 21 on, whose inodes
/// begin with 601: a listener, a connection that it has accepted with its other
/// end, one that waits, whose bytes are queued; a datagram socket, one that is
/// connected to it, and one that is connected to itself.
pub fn with_names() -> Snapshot {
    let mut snapshot = super::snapshot();
    let table = snapshot.processes[0].files;
    let log = Some(UnixName::Abstract { name: b"log".into() });
    let sockets = [
        (Kind::STREAM, State::LISTEN, at("/run/s", None, false), None),
        (Kind::STREAM, State::ESTABLISHED, at("/run/s", None, true), Some(2)),
        (Kind::STREAM, State::ESTABLISHED, None, Some(1)),
        (Kind::STREAM, State::ESTABLISHED, None, Some(0)),
        (Kind::DGRAM, State::CLOSE, log, None),
        (Kind::DGRAM, State::ESTABLISHED, None, Some(4)),
        (Kind::DGRAM, State::ESTABLISHED, at("echo", Some("/run"), false), Some(6)),
    ];
    for (number, (kind, state, name, peer)) in (0..).zip(sockets) {
        let mut unix = UnixSocket { name, peer: peer.map(Id::new), ..UnixSocket::default() };
        if number == 0 {
            unix.sender = Some(Id::new(3));
            unix.queue = vec![Packet { data: b"bytes".into(), files: Vec::new() }];
        }
        let socket = snapshot.sockets.push(Socket {
            ino: 601 + number,
            kind,
            state,
            shutdown: 0,
            options: SocketOptions::default(),
            family: SocketFamily::Unix(unix),
        });
        let kind = OpenFileKind::Socket { socket };
        let file = snapshot.files.push(OpenFile { flags: 2, owner: FileOwner::default(), kind });
        let table = snapshot.fd_tables.get_mut(table).expect("a table");
        table.descriptors.push(Descriptor { fd: 21 + number as u32, cloexec: false, file });
    }
    snapshot
}
