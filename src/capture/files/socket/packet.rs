//! Sockets that take what network devices send and receive.

use crate::kernel::KernelError;
use crate::linux::{PacketSock, Sock, Struct};
use crate::snapshot::{PacketMembership, PacketSocket, SocketKind};

use super::super::super::obstacle::Obstacles;

/// What sends with `PACKET_QDISC_BYPASS`, in kernels where that is no flag.
const DIRECT_XMIT: &str = "packet_direct_xmit";
/// The number of the device `lo`, in each network namespace (`LOOPBACK_IFINDEX`,
/// `include/net/flow.h`); those of others go by the order in which they came.
const LOOPBACK: i32 = 1;
/// Longest address of a device (`MAX_ADDR_LEN`).
const MAX_ADDRESS: usize = 32;
/// `struct virtio_net_hdr`, which goes in front of packets by `PACKET_VNET_HDR`.
const VNET_HEADER: u8 = 10;
/// `PACKET_MR_MULTICAST` and `PACKET_MR_UNICAST` (`include/uapi/linux/if_packet.h`):
/// what has an address.
const WITH_ADDRESS: [u16; 2] = [0, 3];
const MAX_MEMBERSHIP: u16 = 3;

/// Reads what the family keeps of a socket, and notes what CRIU would lose
/// (`open_packet_sk()`, `criu/sk-packet.c`).
pub(super) fn read(
    sock: &Sock<'_>,
    holder: &str,
    obstacles: &mut Obstacles,
) -> Result<PacketSocket, KernelError> {
    let packet = PacketSock::of(sock)?;
    let kind = sock.kind()?;
    let bypasses = packet.has_flag(|flags| flags.qdisc_bypass())?
        || packet.xmit()?.is_some_and(|xmit| sock.kernel().symbol(DIRECT_XMIT) == Some(xmit));
    let has_offset = packet.has_flag(|flags| flags.tx_has_off())?;
    let vnet_size = packet.vnet_hdr_sz()?.unwrap_or(0);
    let memberships = packet.memberships()?;
    let ifindex = packet.ifindex()?;
    let mut is_elsewhere = ![0, LOOPBACK].contains(&ifindex);
    let mut is_unknown = false;
    for membership in &memberships {
        is_elsewhere |= membership.ifindex()? != LOOPBACK;
        is_unknown |= membership.count()? != 1
            || membership.kind()? > MAX_MEMBERSHIP
            || usize::from(membership.alen()?) > MAX_ADDRESS;
    }
    let problems = [
        (![SocketKind::RAW, SocketKind::DGRAM].contains(&kind), "of an obsolete type"),
        (is_elsewhere, "of a device whose number may be another's elsewhere"),
        (!sock.receive_queue()?.is_empty()?, "that were not received yet, which CRIU drops"),
        (!packet.rx_ring()?.is_null(), "in a ring, whose place CRIU loses (PACKET_RX_RING)"),
        (!packet.tx_ring()?.is_null(), "in a ring, whose place CRIU loses (PACKET_TX_RING)"),
        (!packet.fanout()?.is_null(), "that are shared with others (PACKET_FANOUT)"),
        (bypasses, "with PACKET_QDISC_BYPASS"),
        (has_offset || packet.tp_tx_has_off()?.unwrap_or(false), "with PACKET_TX_HAS_OFF"),
        (packet.ignore_outgoing()?, "with PACKET_IGNORE_OUTGOING"),
        (![0, VNET_HEADER].contains(&vnet_size), "with PACKET_VNET_HDR_SZ"),
        (is_unknown, "with a membership that was asked for more than once"),
    ];
    for (_, what) in problems.iter().filter(|(is_so, _)| *is_so) {
        obstacles.add(format!("{holder} is a socket of packets {what}"));
    }
    let membership = |membership: &crate::linux::PacketMclist<'_>| {
        let length = usize::from(membership.alen()?).min(MAX_ADDRESS);
        let kind = membership.kind()?;
        let address = match WITH_ADDRESS.contains(&kind) {
            true => membership.addr()?[..length].to_vec(),
            false => Vec::new(),
        };
        Ok(PacketMembership { ifindex: membership.ifindex()?.cast_unsigned(), kind, address })
    };
    Ok(PacketSocket {
        protocol: packet.num()?,
        ifindex: ifindex.cast_unsigned(),
        version: packet.tp_version()?,
        reserve: packet.tp_reserve()?,
        timestamp: packet.tp_tstamp()?,
        copy_thresh: packet.copy_thresh()?.cast_unsigned(),
        auxdata: packet.has_flag(|flags| flags.auxdata())?,
        origdev: packet.has_flag(|flags| flags.origdev())?,
        vnet_hdr: vnet_size != 0
            || packet.has_vnet_hdr()?.unwrap_or(false)
            || packet.has_flag(|flags| flags.vnet_hdr())?,
        loss: packet.tp_loss()?.unwrap_or(false) || packet.has_flag(|flags| flags.tp_loss())?,
        memberships: memberships.iter().map(membership).collect::<Result<_, KernelError>>()?,
    })
}
