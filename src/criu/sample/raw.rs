//! Sockets below TCP and UDP, and those that talk to the kernel.

use crate::snapshot::{
    Descriptor, FileOwner, InetSocket, NetlinkSocket, OpenFile, OpenFileKind, PacketMembership,
    PacketSocket, RawOptions, Snapshot, Socket, SocketFamily, SocketKind, SocketOptions,
    SocketState, TcpOptions,
};

fn raw(protocol: u16, address: &str, icmp_filter: Vec<u32>) -> SocketFamily {
    let address = address.parse().expect("an address");
    SocketFamily::Inet(InetSocket {
        protocol,
        source: address,
        destination: address,
        backlog: 0,
        v6only: false,
        freebind: false,
        pktinfo: false,
        tos: 0,
        ttl: None,
        tcp: TcpOptions::default(),
        raw: Some(RawOptions { hdrincl: true, nodefrag: false, icmp_filter }),
    })
}

/// The process of the sample with raw sockets of ICMP over IPv4 and IPv6 as 21 and
/// 22, a socket of netlink in a group as 23, and one of packets as 24.
pub fn with_raw_sockets() -> Snapshot {
    let mut snapshot = super::snapshot();
    let table = snapshot.processes[0].files;
    let membership = PacketMembership { ifindex: 1, kind: 0, address: vec![1, 2, 3, 4, 5, 6] };
    let families = [
        raw(1, "0.0.0.0:0", vec![7]),
        raw(58, "[::]:0", vec![8; 8]),
        SocketFamily::Netlink(NetlinkSocket { protocol: 15, portid: 100, groups: 2 }),
        SocketFamily::Packet(PacketSocket {
            protocol: 0xb588,
            ifindex: 1,
            version: 1,
            reserve: 24,
            timestamp: 0,
            copy_thresh: 0,
            auxdata: true,
            origdev: false,
            vnet_hdr: false,
            loss: false,
            memberships: vec![membership],
        }),
    ];
    for (number, family) in (0..).zip(families) {
        let socket = snapshot.sockets.push(Socket {
            ino: 701 + number,
            kind: SocketKind::RAW,
            state: SocketState::CLOSE,
            shutdown: 0,
            options: SocketOptions::default(),
            family,
        });
        let kind = OpenFileKind::Socket { socket };
        let file = snapshot.files.push(OpenFile { flags: 2, owner: FileOwner::default(), kind });
        let table = snapshot.fd_tables.get_mut(table).expect("a table");
        table.descriptors.push(Descriptor { fd: 21 + number as u32, cloexec: false, file });
    }
    snapshot
}
