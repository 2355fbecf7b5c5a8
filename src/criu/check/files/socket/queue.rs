//! What sockets have received.

use std::collections::{BTreeMap, BTreeSet};

use super::unix::sockets;
use crate::criu::container::ImageKind;
use crate::criu::files::SCM_RIGHTS;
use crate::criu::findings::Findings;
use crate::criu::proto::{SkPacketEntry, UnixSkEntry};
use crate::criu::set::ImageSet;
use crate::snapshot::{Flight, FlightFiles, FlightProblem, SocketKind, SocketState};

/// `SCM_MAX_FD` (`include/net/scm.h`)
const MAX_RIGHTS: usize = 253;

pub fn check(set: &ImageSet, findings: &mut Findings) {
    let mut found = findings.of(ImageKind::SkQueues, 0, None);
    let senders = Senders::of(set);
    for SkPacketEntry { id_for, scm, .. } in &set.sk_queues {
        let socket = set.files.get(id_for).and_then(|file| file.usk.as_ref());
        // Others have nobody who would send to them.
        found.require(socket.is_some_and(|socket| senders.has(socket)), "id_for", || {
            format!("{id_for} is no socket that anyone could send to")
        });
        found.require(scm.len() <= 1, "scm", || format!("to file {id_for} are {}", scm.len()));
        for message in scm {
            found.require(message.r#type == SCM_RIGHTS, "scm.type", || {
                format!("to file {id_for} is {}", message.r#type)
            });
            let rights = &message.rights;
            found.require((1..=MAX_RIGHTS).contains(&rights.len()), "scm.rights", || {
                format!("to file {id_for} are {}", rights.len())
            });
            for id in rights.iter().filter(|id| !set.files.contains_key(id)) {
                found.add("scm.rights", format!("to file {id_for}: {id} is not in files.img"));
            }
        }
    }
    for FlightProblem { to, why } in in_flight(set) {
        found.add("scm.rights", format!("to file {to}: it has {why}"));
    }
}

/// Who sends what is in queues.
struct Senders<'a> {
    by_ino: BTreeMap<u32, &'a UnixSkEntry>,
    /// By inode, the first in `files.img` of those that are connected to a socket
    /// that is connected to none of them.
    first: BTreeMap<u32, u32>,
}

impl<'a> Senders<'a> {
    fn of(set: &'a ImageSet) -> Self {
        let by_ino: BTreeMap<u32, &UnixSkEntry> =
            sockets(set).map(|(_, unix)| (unix.ino, unix)).collect();
        let mut first = BTreeMap::new();
        let in_order = set.files_in_order.iter();
        for unix in in_order.filter_map(|id| set.files.get(id)?.usk.as_ref()) {
            let peer = by_ino.get(&unix.peer);
            if peer.is_some_and(|peer| peer.peer != unix.ino) {
                first.entry(unix.peer).or_insert(unix.id);
            }
        }
        Self { by_ino, first }
    }

    /// The socket that it is connected to, and that to it.
    fn mutual(&self, unix: &UnixSkEntry) -> Option<u32> {
        let peer = self.by_ino.get(&unix.peer)?;
        (peer.peer == unix.ino).then_some(peer.id)
    }

    fn sender(&self, unix: &UnixSkEntry) -> Option<u32> {
        self.mutual(unix).or_else(|| self.first.get(&unix.ino).copied())
    }

    fn has(&self, unix: &UnixSkEntry) -> bool {
        let is_alone = unix.peer == 0;
        let listens = unix.state == u32::from(SocketState::LISTEN);
        let is_connection = unix.state == u32::from(SocketState::ESTABLISHED);
        let is_datagram = unix.r#type == u32::from(SocketKind::DGRAM);
        self.sender(unix).is_some() || is_alone && !listens && (is_datagram || is_connection)
    }
}

fn in_flight(set: &ImageSet) -> Vec<FlightProblem> {
    let senders = Senders::of(set);
    let sender = |id: &u32| senders.sender(set.files.get(id)?.usk.as_ref()?);
    let flights: Vec<Flight> = set
        .sk_queues
        .iter()
        .filter(|packet| !packet.scm.is_empty())
        .map(|SkPacketEntry { id_for: to, scm, .. }| {
            let files = scm.iter().flat_map(|message| message.rights.clone()).collect();
            Flight { to: *to, from: sender(to), files }
        })
        .collect();
    let pairs = sockets(set)
        .filter_map(|(id, unix)| Some([id, senders.mutual(unix)?]).filter(|[a, b]| a < b));
    let mut pipes: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (id, pipe) in set.files.iter().filter_map(|(id, file)| Some((id, file.pipe.as_ref()?))) {
        pipes.entry(pipe.pipe_id).or_default().push(*id);
    }
    let alone = sockets(set).filter(|(_, unix)| senders.sender(unix).is_none());
    let files = FlightFiles {
        holders: holders(set),
        pipes: pipes.into_values().collect(),
        pairs: pairs.collect(),
        alone: alone.map(|(id, _)| id).collect(),
    };
    files.problems(&flights)
}

/// In each descriptor table the process with the lowest number.
fn holders(set: &ImageSet) -> BTreeMap<u32, BTreeSet<u32>> {
    let mut tables = BTreeMap::new();
    for process in &set.processes {
        let pid = process.pstree.pid;
        let (first, _) =
            tables.entry(process.ids.files_id).or_insert_with(|| (pid, &process.fdinfo));
        *first = pid.min(*first);
    }
    let mut holders: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for (pid, fdinfo) in tables.into_values() {
        for entry in fdinfo {
            holders.entry(entry.id).or_default().insert(pid);
        }
    }
    holders
}
