//! Unix sockets of QEMU, with a deadline on every step. QEMU's socket
//! character devices serve one client at a time; the next ones wait in the
//! listen queue, connected but without an answer.

use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    self, AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr,
};

/// How often a full listen queue is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// Connects to the socket at `path`. Where its listen queue is full, tries
/// again until `deadline`; then the error is [`io::ErrorKind::TimedOut`].
///
/// `UnixStream::connect` would wait without limit.
pub(super) fn connect(path: &Path, deadline: Instant) -> io::Result<UnixStream> {
    let address = UnixAddr::new(path)?;
    loop {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd: OwnedFd = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        match socket::connect(fd.as_raw_fd(), &address) {
            Ok(()) => {
                let stream = UnixStream::from(fd);
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(Errno::EAGAIN) if Instant::now() + RETRY < deadline => thread::sleep(RETRY),
            Err(Errno::EAGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// A byte stream in which each message ends with a newline.
#[derive(Debug)]
pub(super) struct LineStream {
    stream: UnixStream,
    /// Received and not yet returned.
    buffer: Vec<u8>,
    /// Longest line accepted, in bytes.
    limit: usize,
}

impl LineStream {
    pub fn new(stream: UnixStream, limit: usize) -> Self {
        Self { stream, buffer: Vec::new(), limit }
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Sends all of `bytes`, and with the first of them a copy of `fd`.
    pub fn send(
        &mut self,
        bytes: &[u8],
        fd: Option<BorrowedFd<'_>>,
        deadline: Instant,
    ) -> io::Result<()> {
        self.stream.set_write_timeout(Some(time_left(deadline)?))?;
        let fds: Vec<_> = fd.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&fds)];
        let rights = if fds.is_empty() { &[][..] } else { &rights };
        let parts = [IoSlice::new(bytes)];
        let socket = self.stream.as_raw_fd();
        let sent = socket::sendmsg::<()>(socket, &parts, rights, MsgFlags::MSG_NOSIGNAL, None)
            .map_err(|errno| timed_out(errno.into()))?;
        self.stream.write_all(&bytes[sent..]).map_err(timed_out)
    }

    /// The next line without its newline. The other side's end of the stream
    /// is [`io::ErrorKind::UnexpectedEof`].
    pub fn receive(&mut self, deadline: Instant) -> io::Result<Vec<u8>> {
        let mut searched = 0;
        loop {
            if let Some(line) = self.take_line(searched) {
                return Ok(line);
            }
            searched = self.buffer.len();
            if searched > self.limit {
                return Err(io::Error::other(format!("a line has more than {} bytes", self.limit)));
            }
            self.stream.set_read_timeout(Some(time_left(deadline)?))?;
            let mut chunk = [0; 16384];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(len) => self.buffer.extend_from_slice(&chunk[..len]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(timed_out(e)),
            }
        }
    }

    /// The next line, where it has arrived as a whole.
    pub fn receive_arrived(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(line) = self.take_line(0) {
                return Ok(Some(line));
            }
            let mut chunk = [0; 4096];
            let socket = self.stream.as_raw_fd();
            match socket::recv(socket, &mut chunk, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(len) => self.buffer.extend_from_slice(&chunk[..len]),
                Err(Errno::EAGAIN) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Whether nothing, and no part of a line, is left to be returned.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Takes a line out of the buffer, whose first `searched` bytes hold no end
    /// of one.
    fn take_line(&mut self, searched: usize) -> Option<Vec<u8>> {
        let end = self.buffer[searched..].iter().position(|&byte| byte == b'\n')?;
        let rest = self.buffer.split_off(searched + end + 1);
        let mut line = std::mem::replace(&mut self.buffer, rest);
        line.pop();
        Some(line)
    }
}

/// PID of who listens at the other end: the kernel keeps who called `listen()`.
pub(super) fn peer(stream: impl AsFd) -> io::Result<i32> {
    Ok(socket::getsockopt(&stream, socket::sockopt::PeerCredentials)?.pid())
}

/// What is left until `deadline`, or an error where nothing is.
pub(super) fn time_left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// A socket's timeout is reported as `EAGAIN`.
pub(super) fn timed_out(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(100)
    }

    #[test]
    fn lines_are_split_wherever_reads_end() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut lines = LineStream::new(ours, 100);
        theirs.write_all(b"one\ntw").unwrap();
        assert_eq!(lines.receive(soon()).unwrap(), b"one");
        theirs.write_all(b"o\n\n").unwrap();
        assert_eq!(lines.receive(soon()).unwrap(), b"two");
        assert_eq!(lines.receive(soon()).unwrap(), b"");
        assert_eq!(lines.receive(soon()).unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(theirs);
        assert_eq!(lines.receive(soon()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&[b'x'; 200]).unwrap();
        let error = LineStream::new(ours, 100).receive(soon()).unwrap_err();
        assert!(error.to_string().contains("more than 100 bytes"), "{error}");
    }

    #[test]
    fn a_full_listen_queue_ends_at_the_deadline() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let _listener = UnixListener::bind(&path).unwrap();
        let mut waiting = Vec::new();
        let error = loop {
            match connect(&path, soon()) {
                Ok(stream) => waiting.push(stream),
                Err(e) => break e,
            }
            assert!(waiting.len() <= 100_000, "the queue has no end");
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
