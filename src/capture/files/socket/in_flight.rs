//! Descriptors that were sent and not received yet (`SCM_RIGHTS`).

use std::collections::BTreeMap;

use crate::linux::{File, Struct};
use crate::snapshot::{
    Flight, FlightFiles, FlightProblem, Id, OpenFileKind, Pipe, Socket, SocketFamily,
};

use super::super::super::error::CaptureError;
use super::super::super::obstacle::{Obstacle, Obstacles};
use super::super::{Files, Holder, Reading};
use super::unix::Peer;

/// A descriptor in the queue of a socket.
pub(super) struct InFlight<'k> {
    pub socket: Id<Socket>,
    /// In which packet of its queue.
    pub packet: usize,
    pub file: File<'k>,
}

impl<'k> Files<'k> {
    /// Reads what is in flight, and what is in flight to that. To be called
    /// once the descriptors of all members of the tree were read.
    pub(in super::super::super) fn descriptors_in_flight(
        &mut self,
    ) -> Result<Vec<Obstacle>, CaptureError> {
        let mut found = Vec::new();
        while let Some(in_flight) = self.sockets.in_flight.pop_front() {
            let Some(known) = self.sockets.known.get(in_flight.socket.index() as usize) else {
                continue;
            };
            let mut obstacles = Obstacles::about(known.subject.clone());
            let holder = format!("a descriptor in flight to {}", known.holder);
            match self.descriptor_in_flight(&in_flight, &holder, &mut obstacles) {
                Ok(()) => found.extend(obstacles.into_vec()),
                // It was received by now, and closed.
                Err(CaptureError::Kernel(_)) if self.reading == Reading::Survey => {}
                Err(error) => return Err(error),
            }
        }
        found.extend(self.connect_sockets()?);
        found.extend(self.lost_descriptors());
        Ok(found)
    }

    /// What restore does not send again as it was.
    fn lost_descriptors(&self) -> Vec<Obstacle> {
        let mut files = FlightFiles::default();
        for Holder { pid, file, .. } in &self.holders {
            files.holders.entry(file.index()).or_default().insert(*pid);
        }
        let mut pipes: BTreeMap<Id<Pipe>, Vec<u32>> = BTreeMap::new();
        let mut sockets: BTreeMap<Id<Socket>, u32> = BTreeMap::new();
        for (id, file) in self.tables.files.iter() {
            match file.kind {
                OpenFileKind::Pipe { pipe } => pipes.entry(pipe).or_default().push(id.index()),
                OpenFileKind::Socket { socket } => _ = sockets.insert(socket, id.index()),
                _ => {}
            }
        }
        files.pipes = pipes.into_values().collect();
        let mut flights = Vec::new();
        let mut subjects = BTreeMap::new();
        // In the order in which they are sent again: that of open files.
        for (to, file) in self.tables.files.iter() {
            let OpenFileKind::Socket { socket: id } = file.kind else { continue };
            let known = self.sockets.known.get(id.index() as usize);
            let (Some(known), Some(socket)) = (known, self.tables.sockets.get(id)) else {
                continue;
            };
            let SocketFamily::Unix(unix) = &socket.family else { continue };
            let is_mutual = matches!(known.peer, Peer::Mutual(_));
            let from = if is_mutual { unix.peer } else { unix.sender };
            let (to, from) = (to.index(), from.and_then(|from| sockets.get(&from)).copied());
            let pair = from.filter(|from| is_mutual && *from < to);
            files.pairs.extend(pair.map(|from| [from, to]));
            files.alone.extend(from.is_none().then_some(to));
            for packet in unix.queue.iter().filter(|packet| !packet.files.is_empty()) {
                let files = packet.files.iter().map(|file| file.index()).collect();
                flights.push(Flight { to, from, files });
                subjects.insert(to, known);
            }
        }
        let problem = |FlightProblem { to, why }| {
            let known = subjects.get(&to)?;
            Some(known.subject.obstacle(format!("{} is a socket with {why}", known.holder)))
        };
        files.problems(&flights).into_iter().filter_map(problem).collect()
    }

    fn descriptor_in_flight(
        &mut self,
        InFlight { socket, packet, file }: &InFlight<'k>,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<(), CaptureError> {
        // A lock is restored by a process, through a descriptor of its own.
        let is_of_no_process = !self.opened.contains_key(&file.addr());
        if is_of_no_process && self.is_locked(file)? {
            obstacles.add(format!("{holder} holds a lock"));
        }
        let Some(open) = self.open_file(file, holder, obstacles)? else { return Ok(()) };
        let kind = self.tables.files.get(open).map(|file| &file.kind);
        let is_terminal = matches!(kind, Some(OpenFileKind::Terminal { .. }));
        obstacles.add_if(is_terminal, format!("{holder} is a terminal"));
        let socket = self.tables.sockets.get_mut(*socket);
        if let Some(Socket { family: SocketFamily::Unix(unix), .. }) = socket
            && let Some(packet) = unix.queue.get_mut(*packet)
        {
            packet.files.push(open);
        }
        Ok(())
    }
}
