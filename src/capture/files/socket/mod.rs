//! Sockets: one file for each family.

mod bound;
mod connect;
mod in_flight;
mod inet;
mod name;
mod netlink;
mod options;
mod packet;
mod queue;
mod raw;
mod unix;

use std::collections::{BTreeSet, HashMap, VecDeque};

use crate::kernel::KernelError;
use crate::linux::{Dentry, File, Sock, Struct, Timekeeper, settled};
use crate::memory::GuestVirt;
use crate::snapshot::{Id, OpenFileKind, Socket, SocketFamily, SocketState, UnixSocket};

use super::super::Context;
use super::super::error::CaptureError;
use super::super::obstacle::{Obstacle, Obstacles, Subject};
use super::Files;
use super::outside::{Shared, Thing};

use in_flight::InFlight;
use unix::{Peer, Waiting};

/// `AF_*` (`include/linux/socket.h`).
const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const AF_NETLINK: u16 = 16;
const AF_PACKET: u16 = 17;
/// `SHUTDOWN_MASK` (`include/net/sock.h`): both directions.
const SHUT_RDWR: u8 = 3;
/// Families that are told by a name.
const FAMILIES: [(u16, &str); 5] = [
    (29, "CAN"),
    (31, "Bluetooth"),
    (38, "the kernel's cryptography"),
    (40, "VM sockets"),
    (44, "XDP"),
];

/// The sockets of all processes of a save.
pub(super) struct Sockets<'k> {
    /// The network namespace of the guest's init.
    net: GuestVirt,
    /// Jiffies in a second.
    hz: u64,
    /// Whether TCP connections come back closed.
    tcp_close: bool,
    /// By the address of their `struct sock`.
    ids: HashMap<GuestVirt, Id<Socket>>,
    /// What is known of them, in the order of `tables.sockets`.
    known: Vec<Known<'k>>,
    /// Descriptors in their queues that were not looked at yet.
    in_flight: VecDeque<InFlight<'k>>,
}

/// What is known of a socket in the guest.
struct Known<'k> {
    subject: Subject,
    holder: String,
    /// Of the Unix family, what it is connected to.
    peer: Peer<'k>,
    /// The file that it is bound to.
    bound_to: Option<Dentry<'k>>,
    /// The names of those who have sent what is queued; empty for none.
    senders: BTreeSet<Vec<u8>>,
    /// Of a listener, the connections that wait to be accepted.
    waiting: Vec<Waiting<'k>>,
}

impl Known<'_> {
    /// That it is `what`.
    fn obstacle(&self, what: impl std::fmt::Display) -> Obstacle {
        self.subject.obstacle(format!("{} is {what}", self.holder))
    }

    fn shared(&self, thing: Thing, is_certain: bool) -> Shared<'_> {
        let (subject, holder) = (&self.subject, self.holder.as_str());
        Shared { thing, subject, holder, what: "is a socket", is_certain }
    }
}

impl<'k> Sockets<'k> {
    pub(super) fn new(context: &Context<'k>, tcp_close: bool) -> Result<Self, KernelError> {
        let namespaces = context.init.nsproxy()?;
        Ok(Self {
            net: namespaces.map_or(Ok(GuestVirt::NULL), |namespaces| namespaces.net())?,
            hz: Timekeeper::core(context.init.kernel())?.hz()?,
            tcp_close,
            ids: HashMap::new(),
            known: Vec::new(),
            in_flight: VecDeque::new(),
        })
    }

    /// Notes sockets that others have, which sockets of the tree are connected to.
    pub(super) fn shared(&self, is_certain: bool) -> Result<Vec<Shared<'_>>, KernelError> {
        let mut shared = Vec::new();
        for known in &self.known {
            let peer = match known.peer {
                Peer::Mutual(peer) | Peer::OneWay(peer) => Some(peer),
                _ => None,
            };
            let clients = known.waiting.iter().filter_map(|waiting| waiting.client);
            for other in peer.into_iter().chain(clients) {
                if self.ids.contains_key(&other.addr()) {
                    continue;
                }
                let file = settled(|| other.socket()?.map_or(Ok(None), |socket| socket.file()))?;
                let addr = file.map_or(GuestVirt::NULL, |file| file.addr());
                shared.push(known.shared(Thing::File(addr), is_certain));
            }
        }
        Ok(shared)
    }
}

impl<'k> Files<'k> {
    /// An open file that is a socket.
    pub(super) fn socket(
        &mut self,
        file: &File<'k>,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<Option<OpenFileKind>, CaptureError> {
        let Some(sock) = Sock::of_file(file)? else {
            obstacles.add(format!("{holder} is a socket without its structure"));
            return Ok(None);
        };
        let family = sock.family()?;
        if ![AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET].contains(&family) {
            let name = FAMILIES.iter().find(|(number, _)| *number == family);
            obstacles.add(match name {
                Some((_, name)) => format!("{holder} is a socket of {name}"),
                None => format!("{holder} is a socket of the family {family}"),
            });
            return Ok(None);
        }
        obstacles.add_if(
            sock.net()? != self.sockets.net,
            format!("{holder} is a socket of another network namespace"),
        );
        let options = options::read(&sock, self.sockets.hz, holder, obstacles)?;
        let is_unix = family == AF_UNIX;
        let (mut state, mut shutdown) = (sock.state()?, sock.shutdown()?);
        let family = if is_unix {
            SocketFamily::Unix(UnixSocket::default())
        } else if family == AF_NETLINK {
            SocketFamily::Netlink(netlink::read(&sock, holder, obstacles)?)
        } else if family == AF_PACKET {
            SocketFamily::Packet(packet::read(&sock, holder, obstacles)?)
        } else {
            let reader =
                inet::Reader { sock, hz: self.sockets.hz, tcp_close: self.sockets.tcp_close };
            if reader.is_to_be_closed()? {
                (state, shutdown) = (SocketState::CLOSE, SHUT_RDWR);
            }
            match reader.read(holder, obstacles)? {
                Some(inet) => SocketFamily::Inet(inet),
                None => return Ok(None),
            }
        };
        self.budget.take_for::<(Socket, Known<'_>)>(1)?;
        // It has its number before what is in its queue gets any.
        let id = self.tables.sockets.push(Socket {
            ino: file.inode()?.map_or(Ok(0), |inode| inode.ino())?,
            kind: sock.kind()?,
            state,
            shutdown,
            options,
            family,
        });
        self.sockets.ids.insert(sock.addr(), id);
        let (subject, own) = (obstacles.subject(), holder.to_owned());
        self.sockets.known.push(Known {
            subject,
            holder: own,
            peer: Peer::None,
            bound_to: None,
            senders: BTreeSet::new(),
            waiting: Vec::new(),
        });
        if is_unix {
            self.unix_socket(&sock, id, holder, obstacles)?;
        }
        Ok(Some(OpenFileKind::Socket { socket: id }))
    }
}
