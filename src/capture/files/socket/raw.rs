//! Raw sockets over IPv4 and IPv6.

use crate::kernel::KernelError;
use crate::linux::{InetFlags, InetSock, Raw6Sock, RawSock, Sock, Struct};
use crate::snapshot::RawOptions;

use super::AF_INET6;

/// `IPPROTO_*` (`include/uapi/linux/in.h`).
const IPPROTO_ICMP: u16 = 1;
const IPPROTO_IGMP: u16 = 2;
const IPPROTO_TCP: u16 = 6;
const IPPROTO_RSVP: u16 = 46;
const IPPROTO_ICMPV6: u16 = 58;

/// What is set that no image of CRIU holds.
pub(super) fn in_no_image(sock: &Sock<'_>) -> Result<Vec<&'static str>, KernelError> {
    let (protocol, is_ipv6) = (sock.protocol()?, sock.family()? == AF_INET6);
    let (is_bound, is_connected) = match is_ipv6 {
        true => (sock.v6_rcv_saddr()? != [0; 16], sock.v6_daddr()? != [0; 16]),
        false => (sock.rcv_saddr()? != 0, sock.daddr()? != 0),
    };
    let is_icmp = [IPPROTO_ICMP, IPPROTO_ICMPV6].contains(&protocol);
    // The kernel puts checksums into ICMPv6 by itself.
    let has_checksum = is_ipv6
        && protocol != IPPROTO_ICMPV6
        && Raw6Sock::at(sock.kernel(), sock.addr())?.checksum()? & 1 != 0;
    let set = [
        (
            !sock.receive_queue()?.is_empty()?,
            "packets that were not received yet, which CRIU drops",
        ),
        // `open_inet_sk()`, `criu/sk-inet.c`
        (is_icmp && is_bound, "an address for ICMP, which CRIU 4.2 does not bind"),
        // It is connected by the port.
        (is_connected && sock.dport()? == 0, "a connection without a port, which CRIU loses"),
        (
            protocol == IPPROTO_TCP && sock.dport()? != 0,
            "a connection, which CRIU takes for one of TCP",
        ),
        (has_checksum, "IPV6_CHECKSUM"),
        // The kernel keeps elsewhere that it is one for these.
        (
            !is_ipv6 && [IPPROTO_IGMP, IPPROTO_RSVP].contains(&protocol),
            "a protocol of routers (MRT_INIT, IP_ROUTER_ALERT)",
        ),
    ];
    Ok(set.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name).collect())
}

/// The options of a raw socket.
pub(super) fn options(sock: &Sock<'_>, inet: &InetSock<'_>) -> Result<RawOptions, KernelError> {
    let (flags, kernel, at) = (inet.options_set()?, sock.kernel(), sock.addr());
    let icmp_filter = match (sock.family()?, sock.protocol()?) {
        (AF_INET6, IPPROTO_ICMPV6) => {
            let filter = Raw6Sock::at(kernel, at)?.filter()?;
            let word = |word: &[u8]| u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
            filter.chunks_exact(4).map(word).collect()
        }
        (AF_INET6, _) => Vec::new(),
        (_, IPPROTO_ICMP) => vec![RawSock::at(kernel, at)?.filter()?],
        _ => Vec::new(),
    };
    Ok(RawOptions {
        hdrincl: flags.contains(InetFlags::HDRINCL),
        nodefrag: flags.contains(InetFlags::NODEFRAG),
        icmp_filter,
    })
}
