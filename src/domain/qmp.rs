//! The QEMU Machine Protocol: one JSON object a line (`docs/interop/qmp-spec`
//! in QEMU's source).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::socket::{self, ControlMessage, MsgFlags};
use serde_json::{Value, json};

use super::error::{DomainError, Result};
use super::socket::{self as unix, LineStream};

/// How long a command may take. `stop` flushes the VM's disks first, so a slow
/// disk under load is the longest of them.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// The longest answer accepted: `info mtree -f` of a machine with hundreds of
/// devices has a few MiB.
const LINE_LIMIT: usize = 32 << 20;

/// A connection to a QMP monitor.
#[derive(Debug)]
pub struct Qmp {
    lines: LineStream,
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
        let name = path.display().to_string();
        let deadline = Instant::now() + limit;
        let stream = unix::connect(path, deadline).map_err(|e| match e.kind() {
            io::ErrorKind::TimedOut => DomainError::TimedOut { from: name.clone(), limit },
            _ => DomainError::io(format!("cannot connect to {name}"), e),
        })?;
        Self::negotiate(stream, &name, limit)
    }

    /// Greeting, then the command that leaves negotiation mode.
    fn negotiate(stream: UnixStream, name: &str, limit: Duration) -> Result<Self> {
        let mut qmp = Self { lines: LineStream::new(stream, LINE_LIMIT) };
        let greeting = qmp.receive(name, Instant::now() + limit, limit)?;
        if greeting.get("QMP").is_none() {
            return Err(DomainError::protocol(name, "the greeting is not that of a QMP monitor"));
        }
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs a command and returns what it returns. Events that arrive in
    /// between are dropped.
    ///
    /// # Errors
    ///
    /// [`DomainError::Refused`] with QEMU's reason; [`DomainError::TimedOut`];
    /// [`DomainError::Io`] where QEMU has gone.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let deadline = Instant::now() + COMMAND_LIMIT;
        let mut line = json!({ "execute": command, "arguments": arguments }).to_string();
        line.push('\n');
        self.lines
            .send(line.as_bytes(), deadline)
            .map_err(|e| failed(command, COMMAND_LIMIT, e))?;
        self.answer(command, deadline)
    }

    /// Gives QEMU a descriptor of this process, known to it as `name` until a
    /// command takes it (QMP `getfd`).
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute).
    pub fn send_fd(&mut self, name: &str, fd: BorrowedFd<'_>) -> Result<()> {
        let deadline = Instant::now() + COMMAND_LIMIT;
        let line = json!({ "execute": "getfd", "arguments": { "fdname": name } });
        let line = format!("{line}\n");
        let bytes = [io::IoSlice::new(line.as_bytes())];
        let fds = [fd.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&fds)];
        let socket = self.lines.fd().as_raw_fd();
        let sent = socket::sendmsg::<()>(socket, &bytes, &rights, MsgFlags::MSG_NOSIGNAL, None)
            .map_err(|e| failed("getfd", COMMAND_LIMIT, e.into()))?;
        if sent != line.len() {
            return Err(DomainError::protocol("QMP", "the monitor socket is full"));
        }
        self.answer("getfd", deadline).map(drop)
    }

    /// Runs a command of the human monitor and returns what it prints.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute). An error of the command itself is text
    /// for the caller to look at.
    pub fn human(&mut self, command: &str) -> Result<String> {
        let answer = self.execute("human-monitor-command", json!({ "command-line": command }))?;
        let text = answer.as_str().map(str::to_owned);
        text.ok_or_else(|| DomainError::protocol("QMP", format!("{command} returned no text")))
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

    fn answer(&mut self, command: &str, deadline: Instant) -> Result<Value> {
        loop {
            let mut answer = self.receive(command, deadline, COMMAND_LIMIT)?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get("error") {
                let reason = error["desc"].as_str().unwrap_or("no reason given").to_owned();
                return Err(DomainError::Refused { command: command.to_owned(), reason });
            }
        }
    }

    fn receive(&mut self, asked: &str, deadline: Instant, limit: Duration) -> Result<Value> {
        let line = self.lines.receive(deadline).map_err(|e| failed(asked, limit, e))?;
        serde_json::from_slice(&line).map_err(|e| DomainError::protocol("QMP", e.to_string()))
    }
}

impl AsFd for Qmp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.lines.fd()
    }
}

fn failed(asked: &str, limit: Duration, error: io::Error) -> DomainError {
    match error.kind() {
        io::ErrorKind::TimedOut => DomainError::TimedOut { from: format!("QMP ({asked})"), limit },
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionReset => {
            DomainError::io(format!("QEMU closed its QMP connection at {asked}"), error)
        }
        _ => DomainError::io(format!("QMP ({asked})"), error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::thread;

    use super::*;

    const GREETING: &str = r#"{"QMP":{"version":{"qemu":{"major":7}},"capabilities":[]}}"#;
    const LIMIT: Duration = Duration::from_secs(5);

    /// A monitor that answers each command with the next of `answers`.
    fn monitor(greeting: &'static str, answers: &'static [&'static str]) -> UnixStream {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        thread::spawn(move || {
            let mut commands = BufReader::new(theirs.try_clone().unwrap()).lines();
            writeln!(theirs, "{greeting}").unwrap();
            for answer in answers {
                let Some(Ok(_)) = commands.next() else { return };
                writeln!(theirs, "{answer}").unwrap();
            }
        });
        ours
    }

    #[test]
    fn events_are_skipped_and_refusals_carry_the_reason() {
        let stream = monitor(
            GREETING,
            &[
                r#"{"return":{}}"#,
                "{\"event\":\"STOP\"}\n{\"event\":\"RESUME\"}\n{\"return\":7}",
                r#"{"error":{"class":"GenericError","desc":"no such device"}}"#,
            ],
        );
        let mut qmp = Qmp::negotiate(stream, "test", LIMIT).unwrap();
        assert_eq!(qmp.execute("a", json!({})).unwrap(), 7);
        let error = qmp.execute("device_del", json!({})).unwrap_err();
        assert_eq!(error.to_string(), "QEMU refused device_del: no such device");
        let error = qmp.execute("b", json!({})).unwrap_err();
        assert!(error.to_string().contains("closed its QMP connection at b"), "{error}");
    }

    #[test]
    fn a_socket_that_is_no_monitor_is_named() {
        for greeting in ["{}", "hello", "[1]"] {
            let error = Qmp::negotiate(monitor(greeting, &[]), "/run/x", LIMIT).unwrap_err();
            assert!(matches!(error, DomainError::Protocol { .. }), "{error}");
        }
    }

    #[test]
    fn a_monitor_that_serves_another_client_times_out() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let error = Qmp::negotiate(ours, "/run/x", Duration::from_millis(20)).unwrap_err();
        assert!(matches!(error, DomainError::TimedOut { .. }), "{error}");
    }
}
