//! What Unix sockets are connected to.
//!
//! CRIU makes two that are connected to each other by `socketpair()`. Others it
//! connects by name: a datagram socket to one that is connected to nothing, and
//! what was not accepted yet to the listener (`criu/sk-unix.c`).

use std::collections::HashMap;

use crate::kernel::KernelError;
use crate::linux::Struct;
use crate::memory::GuestVirt;
use crate::snapshot::{Id, OpenFileKind, Socket, SocketFamily, UnixName, UnixSocket};

use super::super::super::obstacle::Obstacle;
use super::super::{Files, Holder};
use super::Known;
use super::unix::Peer;

impl<'k> Files<'k> {
    /// Has each socket of the tree know its peer, once all were read, and notes
    /// what restore would not connect again as it was.
    pub(super) fn connect_sockets(&mut self) -> Result<Vec<Obstacle>, KernelError> {
        let mut obstacles = self.set_peers()?;
        self.set_senders();
        let (makers, names) = (self.makers(), self.abstract_names());
        for (index, known) in (0..).zip(&self.sockets.known) {
            let id = Id::new(index);
            let (Some(socket), Some(unix)) = (self.tables.sockets.get(id), self.unix(id)) else {
                continue;
            };
            let mut problems = self.problems_of_connection(known, unix);
            problems.extend(problem_of_name(socket, unix, &names));
            problems.extend(self.problem_of_queue(known, unix));
            problems.extend(self.problem_of_listener(id, known, &makers));
            obstacles.extend(problems.into_iter().map(|problem| known.obstacle(problem)));
        }
        obstacles.extend(self.own_names()?);
        Ok(obstacles)
    }

    fn set_peers(&mut self) -> Result<Vec<Obstacle>, KernelError> {
        let mut obstacles = Vec::new();
        let listeners: HashMap<GuestVirt, Id<Socket>> = (0..)
            .zip(&self.sockets.known)
            .flat_map(|(index, known)| {
                known.waiting.iter().map(move |waiting| (waiting.embryo.addr(), Id::new(index)))
            })
            .collect();
        for (index, known) in (0..).zip(&self.sockets.known) {
            let peer = match known.peer {
                Peer::None | Peer::Named => None,
                Peer::Itself => Some(Id::new(index)),
                Peer::Mutual(peer) | Peer::OneWay(peer) => {
                    self.sockets.ids.get(&peer.addr()).copied()
                }
                Peer::NotAccepted(embryo) => {
                    let listener = listeners.get(&embryo.addr()).copied();
                    // By now it may have been.
                    if listener.is_none() && embryo.socket()?.is_none() {
                        obstacles.push(known.obstacle(
                            "a socket whose connection to a process outside was not accepted yet",
                        ));
                    }
                    listener
                }
            };
            if let Some(Socket { family: SocketFamily::Unix(unix), .. }) =
                self.tables.sockets.get_mut(Id::new(index))
            {
                unix.peer = peer;
            }
        }
        Ok(obstacles)
    }

    /// Finds who sends again what waits in a socket that is connected to nothing:
    /// of those that are connected to it the one that has sent it.
    fn set_senders(&mut self) {
        let mut senders: HashMap<u32, Id<Socket>> = HashMap::new();
        for (index, known) in (0..).zip(&self.sockets.known) {
            let of = |id: &GuestVirt| self.sockets.ids.get(id).copied();
            let clients = known.waiting.iter();
            let first = clients.clone().find(|waiting| waiting.has_data).or(clients.clone().next());
            if let Some(client) = first.and_then(|waiting| of(&waiting.client?.addr())) {
                senders.insert(index, client);
            }
        }
        for (index, known) in (0..).zip(&self.sockets.known) {
            let (Peer::OneWay(_), id) = (known.peer, Id::new(index)) else { continue };
            let Some(to) = self.unix(id).and_then(|unix| unix.peer) else { continue };
            let has_sent = |name: Vec<u8>| {
                let target = self.sockets.known.get(to.index() as usize);
                target.is_some_and(|target| target.senders.contains(&name))
            };
            let known = senders.get(&to.index()).copied();
            if known.is_none_or(|known| !has_sent(self.name(known)) && has_sent(self.name(id))) {
                senders.insert(to.index(), id);
            }
        }
        for (to, sender) in senders {
            if let Some(Socket { family: SocketFamily::Unix(unix), .. }) =
                self.tables.sockets.get_mut(Id::new(to))
            {
                unix.sender = Some(sender);
            }
        }
    }

    fn problems_of_connection(&self, known: &Known<'k>, unix: &UnixSocket) -> Vec<String> {
        let peer = unix.peer.and_then(|peer| self.unix(peer));
        let has_name = peer.is_some_and(|peer| peer.name.is_some());
        let found: &[(bool, &str)] = match known.peer {
            Peer::None | Peer::Mutual(_) | Peer::NotAccepted(_) => &[],
            Peer::Named => &[(true, "a socket whose peer had a name and was closed")],
            Peer::Itself => {
                &[(unix.name.is_none(), "a socket without a name that is connected to itself")]
            }
            Peer::OneWay(_) if peer.is_none() => &[],
            Peer::OneWay(_) => &[
                (!has_name, "a socket connected to one without a name that is not connected to it"),
                (
                    peer.is_some_and(|peer| peer.peer.is_some()),
                    "a socket connected to one that is connected to another",
                ),
                // Nobody may send to it once it is connected again.
                (
                    !known.senders.is_empty(),
                    "a socket that is connected one way and holds datagrams",
                ),
            ],
        };
        found.iter().filter(|(is_so, _)| *is_so).map(|(_, what)| (*what).to_owned()).collect()
    }

    /// What is sent again has the name of its sender.
    fn problem_of_queue(&self, known: &Known<'k>, unix: &UnixSocket) -> Option<String> {
        let sender = match known.peer {
            Peer::Mutual(_) | Peer::Itself => unix.peer,
            _ => unix.sender,
        };
        // That of a process outside is an obstacle of its own.
        if matches!(known.peer, Peer::Mutual(_)) && sender.is_none() {
            return None;
        }
        let name = sender.map_or_else(Vec::new, |sender| self.name(sender));
        let is_same = known.senders.iter().all(|sender| *sender == name);
        let is_closed = known.waiting.iter().any(|waiting| waiting.client.is_none());
        (!is_same && !is_closed)
            .then(|| "a socket that holds data of senders whose names CRIU loses".into())
    }

    /// Connections that wait are made again in the order of descriptors, if it is
    /// one process that makes them and the listener.
    fn problem_of_listener(
        &self,
        id: Id<Socket>,
        known: &Known<'k>,
        makers: &HashMap<Id<Socket>, (u32, u32)>,
    ) -> Option<String> {
        let waiting = &known.waiting;
        if waiting.iter().any(|waiting| waiting.client.is_none()) {
            return Some(
                "a socket with a connection that was closed before it was accepted".into(),
            );
        }
        if waiting.iter().filter(|waiting| waiting.has_data).count() > 1 {
            return Some(
                "a socket with data of several connections that were not accepted yet".into(),
            );
        }
        let clients = waiting.iter().filter_map(|waiting| {
            let client = self.sockets.ids.get(&waiting.client?.addr())?;
            Some(makers.get(client))
        });
        let all: Vec<_> = clients.collect();
        let listener = makers.get(&id).map(|(pid, _)| pid);
        // Who sends descriptors waits for them first.
        let sends_files = self
            .unix(id)
            .is_some_and(|unix| unix.queue.iter().any(|packet| !packet.files.is_empty()));
        let in_order = !sends_files
            && all.is_sorted_by(|before, after| before < after)
            && all.iter().all(|maker| maker.map(|(pid, _)| pid) == listener);
        (all.len() > 1 && !in_order)
            .then(|| "a socket with connections that CRIU would not have accepted in order".into())
    }

    /// The process that makes each socket, and the descriptor that it makes it for
    /// (`file_master()`, `criu/files.c`).
    fn makers(&self) -> HashMap<Id<Socket>, (u32, u32)> {
        let mut makers = HashMap::new();
        for Holder { pid, fd, file } in &self.holders {
            let kind = self.tables.files.get(*file).map(|file| &file.kind);
            if let Some(OpenFileKind::Socket { socket }) = kind {
                let maker = makers.entry(*socket).or_insert((*pid, *fd));
                *maker = (*pid, *fd).min(*maker);
            }
        }
        makers
    }

    /// How many sockets have each abstract name.
    fn abstract_names(&self) -> HashMap<Vec<u8>, usize> {
        let mut names = HashMap::new();
        for (_, socket) in self.tables.sockets.iter() {
            if let SocketFamily::Unix(unix) = &socket.family
                && let Some(UnixName::Abstract { name }) = &unix.name
            {
                *names.entry(name.clone()).or_insert(0) += 1;
            }
        }
        names
    }

    pub(super) fn unix(&self, id: Id<Socket>) -> Option<&UnixSocket> {
        match &self.tables.sockets.get(id)?.family {
            SocketFamily::Unix(unix) => Some(unix),
            _ => None,
        }
    }

    /// A socket's name as `getsockname()` gives it.
    fn name(&self, id: Id<Socket>) -> Vec<u8> {
        let name = self.unix(id).and_then(|unix| unix.name.as_ref());
        name.map_or_else(Vec::new, |name| name.sun_path())
    }
}

/// A connection gets its name once a file of that name can be moved aside.
fn problem_of_name(
    socket: &Socket,
    unix: &UnixSocket,
    names: &HashMap<Vec<u8>, usize>,
) -> Option<String> {
    let name = unix.name.as_ref().filter(|_| socket.is_unix_connection())?;
    if unix.peer.is_none() {
        return Some(format!("a socket with the name {name} whose peer was closed"));
    }
    let UnixName::Abstract { name: bytes } = name else { return None };
    let is_taken = names.get(bytes).is_some_and(|count| *count > 1);
    is_taken
        .then(|| format!("a socket with the abstract name {name} of another one, which CRIU loses"))
}
