//! The QEMU Machine Protocol, spoken over a socket of QEMU's or through
//! libvirt, which holds the monitor of its domains.

mod socket;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::command::{Command, human, text};
use super::continuation::Continuation;
use super::error::{DomainError, Result};
use super::libvirt::LibvirtMonitor;
use socket::QmpSocket;

/// A QMP monitor.
#[derive(Debug)]
pub struct Qmp {
    link: Link,
}

/// The way to the monitor.
#[derive(Debug)]
enum Link {
    Socket(QmpSocket),
    Libvirt(LibvirtMonitor),
}

impl Qmp {
    /// Connects to the monitor socket at `path` and negotiates capabilities.
    ///
    /// # Errors
    ///
    /// [`DomainError::TimedOut`] where no greeting came within `limit`: the
    /// monitor serves another client, or QEMU hangs. [`DomainError::Permission`]
    /// or [`DomainError::Io`] where the socket cannot be opened.
    pub fn connect(path: &Path, limit: Duration) -> Result<Self> {
        Ok(Self { link: Link::Socket(QmpSocket::connect(path, limit)?) })
    }

    /// A monitor that a test plays.
    #[cfg(test)]
    pub(super) fn of_stream(stream: UnixStream) -> Self {
        let socket = QmpSocket::negotiate(stream, "test", Duration::from_secs(5));
        Self { link: Link::Socket(socket.expect("the test greets")) }
    }

    /// The monitor of a libvirt domain.
    pub(super) fn through(monitor: LibvirtMonitor) -> Self {
        Self { link: Link::Libvirt(monitor) }
    }

    /// PID of who listens on the monitor's socket.
    pub(super) fn peer(&self) -> io::Result<i32> {
        match &self.link {
            Link::Socket(socket) => super::socket::peer(socket.as_fd()),
            Link::Libvirt(_) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Runs a command and returns what it returns.
    ///
    /// # Errors
    ///
    /// [`DomainError::Refused`] with QEMU's reason; [`DomainError::TimedOut`];
    /// [`DomainError::Io`] where QEMU has gone; [`DomainError::Libvirt`].
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let mut answers = self.execute_all(&[(command, arguments)])?;
        let none = || Err(DomainError::protocol("QMP", "no answer"));
        answers.pop().unwrap_or_else(none)
    }

    /// Runs commands, in one trip where the way to the monitor allows it, and
    /// returns what each of them returns.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute). Commands that QEMU refuses are errors in
    /// the list; the others have been run.
    pub fn execute_all(&mut self, commands: &[Command<'_>]) -> Result<Vec<Result<Value>>> {
        match &mut self.link {
            Link::Socket(socket) => socket.execute_all(commands, None),
            Link::Libvirt(monitor) => monitor.execute_all(commands),
        }
    }

    /// Runs a command of the human monitor and returns what it prints.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute). An error of the command itself is text
    /// for the caller to look at.
    pub fn human(&mut self, command: &str) -> Result<String> {
        let (name, arguments) = human(command);
        text(command, &self.execute(name, arguments)?)
    }

    /// Runs a command without waiting for it, where the way to the monitor
    /// allows it. It has been run when the next one is.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute), as far as they are known by then.
    pub(super) fn post(&mut self, (command, arguments): Command<'_>) -> Result<()> {
        match &mut self.link {
            Link::Socket(socket) => socket.post((command, arguments)),
            Link::Libvirt(_) => self.execute(command, arguments).map(drop),
        }
    }

    /// Whether the vCPUs run, as far as that is known without asking.
    pub(super) fn is_known_to_run(&mut self) -> bool {
        match &mut self.link {
            Link::Socket(socket) => socket.is_known_to_run(),
            // It tells nothing unasked.
            Link::Libvirt(_) => false,
        }
    }

    /// QEMU's `RunState`, for example `running` or `paused`.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute).
    pub fn run_state(&mut self) -> Result<String> {
        let answer = self.execute("query-status", json!({}))?;
        let state = answer["status"].as_str().map(str::to_owned);
        state.ok_or_else(|| DomainError::protocol("query-status", "no status"))
    }

    /// Gives QEMU a copy of `fd`, in a set of its own that QEMU opens as
    /// `/dev/fdset/` and the number returned. It is removed by QMP `remove-fd`.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute); [`DomainError::Libvirt`] where libvirt
    /// passes no descriptors on (before 8.2).
    pub fn add_fd(&mut self, fd: BorrowedFd<'_>) -> Result<u64> {
        let command = ("add-fd", json!({}));
        let answer = match &mut self.link {
            Link::Socket(socket) => socket.execute_all(&[command], Some(fd))?.pop(),
            Link::Libvirt(monitor) => Some(monitor.execute_with(&command, fd)),
        };
        let none = || DomainError::protocol("add-fd", "no number");
        answer.ok_or_else(none)??["fdset-id"].as_u64().ok_or_else(none)
    }

    /// Gives QEMU a character device whose other end is returned. It is
    /// removed by QMP `chardev-remove`.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute), for example where there is an `id` already.
    pub fn add_socket(&mut self, id: &str) -> Result<UnixStream> {
        self.add_socket_after(&[], id)?.1
    }

    /// The same after other commands, in one trip with them. There is an answer
    /// for each of them.
    #[allow(clippy::type_complexity, reason = "of each command, what came of it")]
    pub(super) fn add_socket_after(
        &mut self,
        first: &[Command<'_>],
        id: &str,
    ) -> Result<(Vec<Result<Value>>, Result<UnixStream>)> {
        let socket = match &mut self.link {
            Link::Socket(socket) => socket,
            Link::Libvirt(monitor) => {
                return Ok((monitor.execute_all(first)?, monitor.add_socket(id)));
            }
        };
        let (ours, theirs) =
            UnixStream::pair().map_err(|e| DomainError::io("no socket pair", e))?;
        let address = json!({ "type": "fd", "data": { "str": id } });
        let backend = json!({ "type": "socket", "data": { "addr": address, "server": false } });
        let mut commands = first.to_vec();
        commands.push(("getfd", json!({ "fdname": id })));
        commands.push(("chardev-add", json!({ "id": id, "backend": backend })));
        let mut answers = socket.execute_all(&commands, Some(theirs.as_fd()))?;
        let mut added = answers.split_off(first.len()).into_iter();
        let added = added.try_for_each(|answer| answer.map(drop)).map(|()| ours);
        Ok((answers, added))
    }

    /// Whether the vCPUs are stopped and continued by the monitor alone, and
    /// nobody else need know of it.
    pub(super) fn is_ours(&self) -> bool {
        matches!(self.link, Link::Socket(_))
    }

    /// Continues the vCPUs.
    pub(super) fn cont(&mut self) -> Result<()> {
        match &mut self.link {
            Link::Socket(_) => self.execute("cont", json!({})).map(drop),
            Link::Libvirt(monitor) => monitor.cont(),
        }
    }

    /// How another process continues the vCPUs after our death.
    pub(super) fn continuation(&self) -> Continuation<'_> {
        match &self.link {
            Link::Socket(socket) => Continuation::Qmp(socket.as_fd()),
            Link::Libvirt(monitor) => Continuation::Libvirt(monitor.address()),
        }
    }
}
