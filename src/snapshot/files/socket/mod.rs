//! Sockets: what all have, and one file for each family.

mod inet;
mod link;
mod options;
mod unix;

use serde::{Deserialize, Serialize};

pub use inet::{InetSocket, RawOptions, TcpOptions};
pub use link::{NetlinkSocket, PacketMembership, PacketSocket};
pub use options::{FilterInstruction, SocketOptions, SocketTime};
pub use unix::{Packet, UnixName, UnixSocket};

/// A socket: `struct sock`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Socket {
    /// Inode number.
    pub ino: u64,
    /// `SOCK_STREAM` and the like.
    pub kind: u16,
    /// `TCP_*`, whatever the family: see [`SocketState`].
    pub state: u8,
    /// Which directions were shut down: 1 receiving, 2 sending.
    pub shutdown: u8,
    /// What `setsockopt()` has set on the level of sockets.
    pub options: SocketOptions,
    /// What its family keeps.
    pub family: SocketFamily,
}

impl Socket {
    /// Whether it is a Unix socket with a connection, not one that takes them or
    /// that sends datagrams.
    pub fn is_unix_connection(&self) -> bool {
        matches!(self.family, SocketFamily::Unix(_))
            && self.kind != SocketKind::DGRAM
            && self.state == SocketState::ESTABLISHED
    }
}

/// Values of [`Socket::state`] (`include/net/tcp_states.h`).
pub struct SocketState;

#[allow(missing_docs)] // the kernel's own names
impl SocketState {
    pub const ESTABLISHED: u8 = 1;
    pub const CLOSE: u8 = 7;
    pub const LISTEN: u8 = 10;
}

/// Values of [`Socket::kind`] (`include/linux/net.h`).
pub struct SocketKind;

#[allow(missing_docs)] // the kernel's own names
impl SocketKind {
    pub const STREAM: u16 = 1;
    pub const DGRAM: u16 = 2;
    pub const RAW: u16 = 3;
    pub const SEQPACKET: u16 = 5;
}

/// What a socket has by its family.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SocketFamily {
    /// `AF_UNIX`
    Unix(UnixSocket),
    /// `AF_INET` or `AF_INET6`
    Inet(InetSocket),
    /// `AF_NETLINK`
    Netlink(NetlinkSocket),
    /// `AF_PACKET`
    Packet(PacketSocket),
}
