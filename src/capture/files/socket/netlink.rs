//! Sockets that talk to the kernel.

use crate::kernel::KernelError;
use crate::linux::{NetlinkSock, Sock};
use crate::snapshot::{NetlinkSocket, SocketKind};

use super::super::super::obstacle::Obstacles;

/// Protocols (`include/uapi/linux/netlink.h`) of which the kernel keeps nothing by
/// the socket but what it is asked while the answer is read.
const KNOWN: [(u16, &str); 5] = [
    (0, "NETLINK_ROUTE"),
    (2, "NETLINK_USERSOCK"),
    (4, "NETLINK_SOCK_DIAG"),
    (7, "NETLINK_SELINUX"),
    (15, "NETLINK_KOBJECT_UEVENT"),
];
/// `NETLINK_CONNECTED` (`net/netlink/af_netlink.c`); what was never connected has
/// the state of any new socket.
const CONNECTED: u8 = 1;
/// Options, by the bits of `NETLINK_F_*` (`net/netlink/af_netlink.h`).
const OPTIONS: [(u64, &str); 7] = [
    (1 << 1, "NETLINK_PKTINFO"),
    (1 << 2, "NETLINK_BROADCAST_ERROR"),
    (1 << 3, "NETLINK_NO_ENOBUFS"),
    (1 << 4, "NETLINK_LISTEN_ALL_NSID"),
    (1 << 5, "NETLINK_CAP_ACK"),
    (1 << 6, "NETLINK_EXT_ACK"),
    (1 << 7, "NETLINK_GET_STRICT_CHK"),
];

/// Reads what the family keeps of a socket, and notes what CRIU would lose
/// (`open_netlink_sk()`, `criu/sk-netlink.c`).
pub(super) fn read(
    sock: &Sock<'_>,
    holder: &str,
    obstacles: &mut Obstacles,
) -> Result<NetlinkSocket, KernelError> {
    let netlink = NetlinkSock::of(sock)?;
    let (protocol, portid, flags) = (sock.protocol()?, netlink.portid()?, netlink.flags()?);
    let memberships = netlink.memberships()?;
    let has_groups = memberships.iter().any(|word| *word != 0);
    let has_high_groups = memberships.iter().skip(1).any(|word| *word != 0);
    let mut problems: Vec<String> = [
        (sock.kind()? != SocketKind::RAW, "of another type than SOCK_RAW"),
        (!sock.receive_queue()?.is_empty()?, "with messages that were not received yet"),
        (netlink.cb_running()?, "with an answer that was not read to its end"),
        // It would be connected to a group, too.
        (sock.state()? == CONNECTED, "that is connected"),
        (has_high_groups, "in groups above 32"),
        (has_groups && portid == 0, "in groups that is not bound"),
    ]
    .into_iter()
    .filter(|(is_so, _)| *is_so)
    .map(|(_, what)| what.to_owned())
    .collect();
    if !KNOWN.iter().any(|(number, _)| *number == protocol) {
        problems.push(format!("of the protocol {protocol}, of which the kernel may keep more"));
    }
    let options = OPTIONS.iter().filter(|(bit, _)| flags & bit != 0);
    problems.extend(options.map(|(_, name)| format!("with {name}")));
    for problem in problems {
        obstacles.add(format!("{holder} is a socket of netlink {problem}"));
    }
    Ok(NetlinkSocket { protocol, portid, groups: memberships.first().copied().unwrap_or(0) })
}
