//! Sockets over IPv4 and IPv6.

use std::net::IpAddr;

use super::super::super::ids::{self, FileIds};
use super::super::super::{EncodeError, proto};
use super::super::owner;
use super::{get, options};
use crate::snapshot::{Id, InetSocket, OpenFile, RawOptions, Snapshot, Socket, SocketKind};

/// `AF_*` (`include/linux/socket.h`).
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;

/// A socket.
pub fn entry(
    snapshot: &Snapshot,
    ids: &FileIds,
    id: u32,
    file: &OpenFile,
    (socket_id, inet): (Id<Socket>, &InetSocket),
) -> Result<proto::InetSkEntry, EncodeError> {
    let socket = get(snapshot, socket_id)?;
    let is_ipv6 = inet.source.is_ipv6();
    let is_tcp = socket.kind == SocketKind::STREAM;
    let tcp = inet.tcp;
    let mut opts = options::entry(&socket.options);
    // Where all versions look for them.
    (opts.tcp_keepcnt, opts.tcp_keepidle, opts.tcp_keepintvl) =
        (tcp.keepcnt, tcp.keepidle, tcp.keepintvl);
    Ok(proto::InetSkEntry {
        id,
        ino: ids.socket(socket_id)?,
        family: if is_ipv6 { AF_INET6 } else { AF_INET },
        r#type: socket.kind.into(),
        proto: inet.protocol.into(),
        state: socket.state.into(),
        src_port: inet.source.port().into(),
        dst_port: inet.destination.port().into(),
        flags: file.flags,
        backlog: inet.backlog,
        src_addr: words(inet.source.ip()),
        dst_addr: words(inet.destination.ip()),
        fown: owner(file.owner),
        opts,
        v6only: is_ipv6.then_some(inet.v6only),
        ip_opts: Some(proto::IpOptsEntry {
            freebind: inet.freebind.then_some(true),
            raw: inet.raw.as_ref().map(raw),
            pktinfo: inet.pktinfo.then_some(true),
            tos: Some(inet.tos.into()).filter(|tos| *tos != 0),
            ttl: inet.ttl.map(u32::from),
        }),
        ifname: None,
        ns_id: ids::root_ids().net_ns_id,
        shutdown: (socket.shutdown != 0).then(|| socket.shutdown.into()),
        tcp_opts: is_tcp.then(|| proto::TcpOptsEntry {
            cork: tcp.cork.then_some(true),
            nodelay: tcp.nodelay.then_some(true),
            keepcnt: None,
            keepidle: None,
            keepintvl: None,
        }),
    })
}

fn raw(options: &RawOptions) -> proto::IpOptsRawEntry {
    proto::IpOptsRawEntry {
        hdrincl: options.hdrincl.then_some(true),
        nodefrag: options.nodefrag.then_some(true),
        checksum: None,
        icmpv_filter: options.icmp_filter.clone(),
    }
}

/// An address in words of network order, as they lie in memory.
fn words(ip: IpAddr) -> Vec<u32> {
    let of = |bytes: &[u8]| {
        bytes
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
            .collect()
    };
    match ip {
        IpAddr::V4(ip) => of(&ip.octets()),
        IpAddr::V6(ip) => of(&ip.octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_words_of_network_order() {
        assert_eq!(words("127.0.0.1".parse().unwrap()), [0x0100_007f]);
        assert_eq!(words("::1".parse().unwrap()), [0, 0, 0, 0x0100_0000]);
    }
}
