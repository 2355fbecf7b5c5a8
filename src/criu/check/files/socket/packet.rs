//! Sockets that take what network devices send and receive.

use super::options;
use crate::criu::findings::ImageFindings;
use crate::criu::proto::PacketSockEntry;
use crate::snapshot::SocketKind;

/// `TPACKET_V3` (`include/uapi/linux/if_packet.h`)
const MAX_VERSION: u32 = 2;
/// `PACKET_MR_UNICAST`
const MAX_MEMBERSHIP: u32 = 3;
/// `MAX_ADDR_LEN`
const MAX_ADDRESS: usize = 32;

/// Restore makes it, binds it, and sets its options.
pub fn check(id: u32, packet: &PacketSockEntry, found: &mut ImageFindings<'_>) {
    found.require(packet.id == id, "psk.id", || format!("of file {id} is {}", packet.id));
    let kinds = [SocketKind::RAW, SocketKind::DGRAM].map(u32::from);
    found.require(kinds.contains(&packet.r#type), "psk.type", || {
        format!("of file {id} is {}", packet.r#type)
    });
    found.require(packet.protocol <= 0xffff, "psk.protocol", || {
        format!("of file {id} is {:#x}", packet.protocol)
    });
    found.require(packet.version <= MAX_VERSION, "psk.version", || {
        format!("of file {id} is {}", packet.version)
    });
    for membership in &packet.mclist {
        let is_known = membership.r#type <= MAX_MEMBERSHIP && membership.addr.len() <= MAX_ADDRESS;
        found.require(is_known, "psk.mclist", || {
            format!("of file {id} has the type {}", membership.r#type)
        });
    }
    // A process goes on at another place of its ring than a new one begins.
    let has_ring = packet.rx_ring.is_some() || packet.tx_ring.is_some();
    found.require(!has_ring, "psk.rx_ring", || format!("of file {id} is there"));
    options::check(id, &packet.opts, found);
}
