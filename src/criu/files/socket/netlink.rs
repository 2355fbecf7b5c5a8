//! Sockets that talk to the kernel.

use super::super::super::ids::{self, FileIds};
use super::super::super::{EncodeError, proto};
use super::super::owner;
use super::{get, options};
use crate::snapshot::{Id, NetlinkSocket, OpenFile, Snapshot, Socket};

/// A socket.
pub fn entry(
    snapshot: &Snapshot,
    ids: &FileIds,
    id: u32,
    file: &OpenFile,
    (socket_id, netlink): (Id<Socket>, &NetlinkSocket),
) -> Result<proto::NetlinkSkEntry, EncodeError> {
    let socket = get(snapshot, socket_id)?;
    Ok(proto::NetlinkSkEntry {
        id,
        ino: ids.socket(socket_id)?,
        protocol: netlink.protocol.into(),
        state: socket.state.into(),
        flags: file.flags,
        portid: netlink.portid,
        groups: Some(netlink.groups).filter(|groups| *groups != 0).into_iter().collect(),
        dst_portid: 0,
        dst_group: 0,
        fown: owner(file.owner),
        opts: options::entry(&socket.options),
        ns_id: ids::root_ids().net_ns_id,
    })
}
