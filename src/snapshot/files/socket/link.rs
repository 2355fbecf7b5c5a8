//! Sockets that talk to the kernel or to network devices.

use serde::{Deserialize, Serialize};
use serde_with::{hex::Hex, serde_as};

/// A socket that takes what network devices send and receive: `struct packet_sock`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PacketSocket {
    /// `ETH_P_*` in network order, as `socket()` takes it.
    pub protocol: u16,
    /// The device that it is bound to, by number; 0 for all.
    pub ifindex: u32,
    /// `PACKET_VERSION`
    pub version: u32,
    /// `PACKET_RESERVE` in bytes.
    pub reserve: u32,
    /// `PACKET_TIMESTAMP`
    pub timestamp: u32,
    /// `PACKET_COPY_THRESH` in bytes.
    pub copy_thresh: u32,
    /// `PACKET_AUXDATA`
    pub auxdata: bool,
    /// `PACKET_ORIGDEV`
    pub origdev: bool,
    /// `PACKET_VNET_HDR`
    pub vnet_hdr: bool,
    /// `PACKET_LOSS`
    pub loss: bool,
    /// `PACKET_ADD_MEMBERSHIP`, as the kernel lists them: newest first.
    pub memberships: Vec<PacketMembership>,
}

/// What a device is asked to take besides: `struct packet_mclist`.
#[serde_as]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PacketMembership {
    /// The device's number.
    pub ifindex: u32,
    /// `PACKET_MR_*`
    pub kind: u16,
    /// The address, where its kind has any.
    #[serde_as(as = "Hex")]
    pub address: Vec<u8>,
}

/// A socket that talks to the kernel: `struct netlink_sock`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NetlinkSocket {
    /// `NETLINK_*`
    pub protocol: u16,
    /// Its address; 0 where it is not bound.
    pub portid: u32,
    /// The groups that it is a member of, from 1 up, a bit each.
    pub groups: u32,
}
