//! What waits in the queue of a Unix socket.

use crate::kernel::KernelError;
use crate::linux::{File, SkBuff, Sock, Struct, UnixSkbParms, UnixSock, settled};
use crate::snapshot::{Id, Packet, Socket, SocketFamily, SocketKind};

use super::super::super::error::CaptureError;
use super::super::super::obstacle::Obstacles;
use super::super::{Files, Reading};
use super::in_flight::InFlight;

/// Descriptors in flight to a socket at most. The kernel lets a user without
/// privileges have as many as `RLIMIT_NOFILE` says.
const MAX_IN_FLIGHT: usize = 1 << 20;

/// A buffer in a queue, as far as it is told without its bytes.
struct Queued<'k> {
    buffer: SkBuff<'k>,
    /// Bytes that were received already.
    consumed: usize,
    len: u32,
    files: Vec<File<'k>>,
    /// The name of who sent it, as `recvfrom()` tells it; empty for none.
    sender: Vec<u8>,
}

impl<'k> Files<'k> {
    /// Reads what waits to be received from `sock`; of a process that runs only
    /// what is in flight. `holding` is the socket that a process has: `sock`, or
    /// the one that it is to be accepted from.
    pub(super) fn unix_queue(
        &mut self,
        sock: &Sock<'k>,
        holding: &Sock<'k>,
        id: Id<Socket>,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<(), CaptureError> {
        let queued = match settled(|| queued(sock)) {
            // It is in motion; looked at again when it stands still.
            Err(_) if self.reading == Reading::Survey => return Ok(()),
            queued => queued?,
        };
        // CRIU dumps nothing but descriptors with it (`dump_packet_cmsg()`,
        // `criu/sk-queue.c`): what is restored was sent by nobody.
        obstacles.add_if(
            !queued.is_empty() && holding.passes_credentials()?,
            format!("{holder} is a socket that tells who has sent what it holds (SO_PASSCRED)"),
        );
        obstacles.add_if(
            !queued.is_empty() && holding.passes_security()?,
            format!("{holder} is a socket that tells labels with what it holds (SO_PASSSEC)"),
        );
        let is_stream = sock.kind()? == SocketKind::STREAM;
        for Queued { buffer, consumed, len, files, sender } in queued {
            let size = size_of::<Packet>() + sender.len() + files.len() * size_of::<InFlight<'_>>();
            self.budget.take(size as u64 + u64::from(len))?;
            if let Some(known) = self.sockets.known.last_mut() {
                known.senders.insert(sender);
            }
            let mut data = match self.reading {
                Reading::Survey => Vec::new(),
                Reading::Contents => buffer.bytes(len)?,
            };
            data.drain(..consumed.min(data.len()));
            // What is left of a byte of MSG_OOB that was received.
            if is_stream && data.is_empty() && files.is_empty() {
                continue;
            }
            let Some(Socket { family: SocketFamily::Unix(unix), .. }) =
                self.tables.sockets.get_mut(id)
            else {
                continue;
            };
            let packet = unix.queue.len();
            unix.queue.push(Packet { data, files: Vec::new() });
            let in_flight = files.into_iter().map(|file| InFlight { socket: id, packet, file });
            self.sockets.in_flight.extend(in_flight);
        }
        Ok(())
    }
}

fn queued<'k>(sock: &Sock<'k>) -> Result<Vec<Queued<'k>>, KernelError> {
    let mut in_flight = 0;
    let queued = |buffer: SkBuff<'k>| {
        let parms = UnixSkbParms::of(&buffer)?;
        let sender = buffer.sk()?.map(|sender| UnixSock::of(&sender)).transpose()?;
        let files = parms.fp()?.map_or(Ok(Vec::new()), |list| list.files())?;
        in_flight += files.len();
        if in_flight > MAX_IN_FLIGHT {
            return Err(KernelError::Corrupt {
                what: "queue of a socket".into(),
                addr: buffer.addr(),
                why: "too many descriptors are in flight to it".into(),
            });
        }
        Ok(Queued {
            buffer,
            sender: sender.map_or(Ok(Vec::new()), |sender| sender.sun_path())?,
            consumed: parms.consumed()? as usize,
            len: buffer.checked_len()?,
            files,
        })
    };
    sock.receive_queue()?.buffers()?.into_iter().map(queued).collect()
}
