//! Sockets: one file for each structure or family.

mod filter;
mod inet;
mod netlink;
mod packet;
mod raw;
mod sk_buff;
mod sock;
mod unix;

pub use filter::SkFilter;
pub use inet::{
    InetConnectionSock, InetFlags, InetSock, Ipv6Pinfo, SockReuseport, TcpSock, UdpSock,
};
pub use netlink::NetlinkSock;
pub use packet::{PacketMclist, PacketSock, PacketSockFlags};
pub use raw::{Raw6Sock, RawSock};
pub use sk_buff::{BioVec, SkBuff, SkBuffHead, SkbFrag, SkbSharedInfo};
pub use sock::{Sock, SockFlags, Socket};
pub use unix::{ScmFpList, UnixAddress, UnixSkbParms, UnixSock};
