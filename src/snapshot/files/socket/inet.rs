//! Sockets over IPv4 and IPv6.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// A socket over IPv4 or IPv6: `struct inet_sock`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InetSocket {
    /// `IPPROTO_TCP` or `IPPROTO_UDP`; of a raw socket any.
    pub protocol: u16,
    /// What it is bound to: of the socket's family.
    pub source: SocketAddr,
    /// What it is connected to, of the same family; port 0 for nothing.
    pub destination: SocketAddr,
    /// Of a listener, how many connections may wait.
    pub backlog: u32,
    /// `IPV6_V6ONLY`
    pub v6only: bool,
    /// `IP_FREEBIND`
    pub freebind: bool,
    /// `IP_PKTINFO` or `IPV6_RECVPKTINFO`
    pub pktinfo: bool,
    /// `IP_TOS`
    pub tos: u8,
    /// `IP_TTL`, where it was set.
    pub ttl: Option<u8>,
    /// Options of TCP.
    pub tcp: TcpOptions,
    /// Options of a raw socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<RawOptions>,
}

/// Options of raw sockets.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RawOptions {
    /// `IP_HDRINCL`, `IPV6_HDRINCL`
    pub hdrincl: bool,
    /// `IP_NODEFRAG`
    pub nodefrag: bool,
    /// `ICMP_FILTER`, a word, or `ICMPV6_FILTER`, eight; none of other protocols.
    pub icmp_filter: Vec<u32>,
}

/// Options of the level `SOL_TCP`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TcpOptions {
    /// `TCP_NODELAY`
    pub nodelay: bool,
    /// `TCP_CORK`
    pub cork: bool,
    /// `TCP_KEEPCNT`, where it was set.
    pub keepcnt: Option<u32>,
    /// `TCP_KEEPIDLE` in seconds, where it was set.
    pub keepidle: Option<u32>,
    /// `TCP_KEEPINTVL` in seconds, where it was set.
    pub keepintvl: Option<u32>,
}
