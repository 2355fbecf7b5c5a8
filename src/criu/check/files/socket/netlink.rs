//! Sockets that talk to the kernel.

use super::options;
use crate::criu::findings::ImageFindings;
use crate::criu::proto::NetlinkSkEntry;

/// `MAX_LINKS` (`include/uapi/linux/netlink.h`)
const PROTOCOLS: u32 = 32;

/// `NETLINK_CONNECTED`
const CONNECTED: u32 = 1;

/// Restore makes it, and binds it where it has an address.
pub fn check(id: u32, netlink: &NetlinkSkEntry, found: &mut ImageFindings<'_>) {
    found.require(netlink.id == id, "nlsk.id", || format!("of file {id} is {}", netlink.id));
    found.require(netlink.protocol < PROTOCOLS, "nlsk.protocol", || {
        format!("of file {id} is {}", netlink.protocol)
    });
    // A connection without a group gets one (`open_netlink_sk()`).
    found.require(netlink.state != CONNECTED, "nlsk.state", || {
        format!("of file {id} is {}", netlink.state)
    });
    let groups = netlink.groups.len();
    found.require(groups <= 1, "nlsk.groups", || format!("of file {id} are {groups} words"));
    found.require(groups == 0 || netlink.portid != 0, "nlsk.groups", || {
        format!("of file {id} are there, and it is not bound")
    });
    options::check(id, &netlink.opts, found);
}
