//! Sockets that take what network devices send and receive.

use super::super::super::{EncodeError, ids, proto};
use super::super::owner;
use super::{get, options};
use crate::snapshot::{Id, OpenFile, PacketSocket, Snapshot, Socket};

/// A socket.
pub fn entry(
    snapshot: &Snapshot,
    id: u32,
    file: &OpenFile,
    (socket_id, packet): (Id<Socket>, &PacketSocket),
) -> Result<proto::PacketSockEntry, EncodeError> {
    let socket = get(snapshot, socket_id)?;
    let memberships = packet.memberships.iter().map(|membership| proto::PacketMclist {
        index: membership.ifindex,
        r#type: membership.kind.into(),
        addr: membership.address.clone(),
    });
    Ok(proto::PacketSockEntry {
        id,
        r#type: socket.kind.into(),
        protocol: packet.protocol.into(),
        flags: file.flags,
        ifindex: packet.ifindex,
        fown: owner(file.owner),
        opts: options::entry(&socket.options),
        version: packet.version,
        reserve: packet.reserve,
        aux_data: packet.auxdata,
        orig_dev: packet.origdev,
        vnet_hdr: packet.vnet_hdr,
        loss: packet.loss,
        timestamp: packet.timestamp,
        copy_thresh: packet.copy_thresh,
        mclist: memberships.collect(),
        fanout: None,
        rx_ring: None,
        tx_ring: None,
        ns_id: ids::root_ids().net_ns_id,
    })
}
