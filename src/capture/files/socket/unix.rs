//! Sockets of the Unix family.

use std::thread::sleep;

use crate::kernel::KernelError;
use crate::linux::{Sock, Struct, UnixSock, settled};
use crate::memory::GuestVirt;
use crate::snapshot::{Id, Socket, SocketFamily, SocketKind, SocketState};

use super::super::super::error::CaptureError;
use super::super::super::obstacle::Obstacles;
use super::super::super::{ATTEMPTS, PATIENCE};
use super::super::{Files, Reading};
use super::SHUT_RDWR;

/// What a socket is connected to.
#[derive(Clone, Copy, Default)]
pub(super) enum Peer<'k> {
    /// Nothing, or nothing any more.
    #[default]
    None,
    /// A socket that was closed and had a name.
    Named,
    /// Itself, as a datagram socket can be.
    Itself,
    /// A socket that is connected to this one.
    Mutual(Sock<'k>),
    /// A socket that is not.
    OneWay(Sock<'k>),
    /// A connection that was not accepted yet: the socket that it will be.
    NotAccepted(Sock<'k>),
}

/// A connection that waits to be accepted.
#[derive(Clone, Copy)]
pub(super) struct Waiting<'k> {
    /// The socket that it will be.
    pub embryo: Sock<'k>,
    /// The other end, unless it was closed.
    pub client: Option<Sock<'k>>,
    /// Whether something came over it already.
    pub has_data: bool,
}

impl<'k> Files<'k> {
    /// Reads what the family keeps of a socket.
    pub(super) fn unix_socket(
        &mut self,
        sock: &Sock<'k>,
        id: Id<Socket>,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<(), CaptureError> {
        let (unix, kind, state) = (UnixSock::of(sock)?, sock.kind()?, sock.state()?);
        let is_known =
            [SocketKind::STREAM, SocketKind::DGRAM, SocketKind::SEQPACKET].contains(&kind);
        obstacles.add_if(!is_known, format!("{holder} is a Unix socket of the type {kind}"));
        let states = [SocketState::ESTABLISHED, SocketState::CLOSE, SocketState::LISTEN];
        obstacles.add_if(
            !states.contains(&state),
            format!("{holder} is a Unix socket in the state {state}"),
        );
        let has_urgent_data = unix.oob_skb()?.is_some_and(|buffer| !buffer.is_null());
        obstacles
            .add_if(has_urgent_data, format!("{holder} is a socket that holds a byte of MSG_OOB"));
        let name = self.unix_name(&unix, holder, obstacles)?;
        let peer = settled(|| peer(sock, &unix))?;
        if let Some(known) = self.sockets.known.last_mut() {
            (known.peer, known.bound_to) = (peer, unix.bound_to()?);
        }
        let is_listening = state == SocketState::LISTEN;
        let backlog = match is_listening {
            true => sock.max_ack_backlog()?,
            false => sock.wmem_alloc()?.saturating_sub(1),
        };
        let socket = self.tables.sockets.get_mut(id);
        if let Some(Socket { family: SocketFamily::Unix(unix), .. }) = socket {
            (unix.backlog, unix.name) = (backlog, name);
        }
        match is_listening {
            true => self.listener(sock, id, holder, obstacles),
            false => self.unix_queue(sock, sock, id, holder, obstacles),
        }
    }

    /// Reads the connections that wait to be accepted.
    fn listener(
        &mut self,
        sock: &Sock<'k>,
        id: Id<Socket>,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<(), CaptureError> {
        let waiting = self.waiting(sock)?;
        for waiting in &waiting {
            self.unix_queue(&waiting.embryo, sock, id, holder, obstacles)?;
        }
        // Restore would wait for room.
        let backlog = sock.max_ack_backlog()? as usize;
        obstacles.add_if(
            waiting.len() > backlog.saturating_add(1),
            format!("{holder} is a socket with more connections than may wait by now"),
        );
        // They get these options when they are made, since 6.16, and restore sets
        // those of the listener later.
        let tells = sock.passes_credentials()? || sock.passes_security()?;
        obstacles.add_if(
            tells && !waiting.is_empty(),
            format!("{holder} is a socket of SO_PASSCRED or SO_PASSSEC with connections that were not accepted yet"),
        );
        if let Some(known) = self.sockets.known.last_mut() {
            known.waiting = waiting;
        }
        Ok(())
    }

    /// The connections, in the order in which they are accepted. A process that
    /// runs may be about to do so.
    fn waiting(&self, sock: &Sock<'k>) -> Result<Vec<Waiting<'k>>, KernelError> {
        let mut attempt = 1;
        loop {
            match settled(|| waiting(sock)) {
                Ok(found) if self.reading == Reading::Contents || found.is_empty() => {
                    return Ok(found);
                }
                result if attempt == ATTEMPTS => return result,
                Err(error) if self.reading == Reading::Contents => return Err(error),
                _ => {}
            }
            attempt += 1;
            sleep(PATIENCE);
        }
    }
}

fn waiting<'k>(sock: &Sock<'k>) -> Result<Vec<Waiting<'k>>, KernelError> {
    let mut found = Vec::new();
    for buffer in sock.receive_queue()?.buffers()? {
        // `unix_accept()` (`net/unix/af_unix.c`) takes it from there.
        let Some(embryo) = buffer.sk()? else { continue };
        let client = UnixSock::of(&embryo)?.live_peer()?;
        let has_data = !embryo.receive_queue()?.is_empty()?;
        found.push(Waiting { embryo, client, has_data });
    }
    Ok(found)
}

fn peer<'k>(sock: &Sock<'k>, unix: &UnixSock<'k>) -> Result<Peer<'k>, KernelError> {
    let Some(peer) = unix.live_peer()? else {
        let is_connected =
            sock.kind()? != SocketKind::DGRAM && sock.state()? == SocketState::ESTABLISHED;
        // One end of a connection is closed before the other one is shut down.
        if is_connected && sock.shutdown()? != SHUT_RDWR {
            return Err(KernelError::Corrupt {
                what: "unix_sock".into(),
                addr: unix.addr(),
                why: "it is connected to nothing".into(),
            });
        }
        let closed = unix.peer()?.map(|closed| UnixSock::of(&closed)).transpose()?;
        let has_name = closed.map_or(Ok(None), |closed| closed.address())?.is_some();
        return Ok(if has_name { Peer::Named } else { Peer::None });
    };
    let back = UnixSock::of(&peer)?.peer()?.map_or(GuestVirt::NULL, |back| back.addr());
    Ok(match peer.socket()? {
        _ if peer.addr() == sock.addr() => Peer::Itself,
        _ if back != sock.addr() => Peer::OneWay(peer),
        Some(_) => Peer::Mutual(peer),
        None => Peer::NotAccepted(peer),
    })
}
