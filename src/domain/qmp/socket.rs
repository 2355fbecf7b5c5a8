//! A QMP monitor on a Unix socket: one JSON object a line
//! (`docs/interop/qmp-spec` in QEMU's source).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Command, outcome};
use crate::domain::error::{DomainError, Result};
use crate::domain::socket::{self, LineStream};

/// How long a command may take. `stop` flushes the VM's disks first, so a slow
/// disk under load is the longest of them.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// The longest answer accepted: `info mtree -f` of a machine with hundreds of
/// devices has a few MiB.
const LINE_LIMIT: usize = 32 << 20;

/// A connection to the socket of a QMP monitor.
#[derive(Debug)]
pub(in crate::domain) struct QmpSocket {
    lines: LineStream,
    /// Numbers the commands, so that the answer to one that timed out is not
    /// taken for the answer to the next.
    next_id: u64,
}

impl QmpSocket {
    /// As [`Qmp::connect`](super::Qmp::connect).
    pub fn connect(path: &Path, limit: Duration) -> Result<Self> {
        let name = path.display().to_string();
        let deadline = Instant::now() + limit;
        let stream = socket::connect(path, deadline).map_err(|e| match e.kind() {
            io::ErrorKind::TimedOut => DomainError::TimedOut { from: name.clone(), limit },
            _ => DomainError::io(format!("cannot connect to {name}"), e),
        })?;
        Self::negotiate(stream, &name, limit)
    }

    /// The command that leaves negotiation mode, which need not wait for the
    /// greeting: QEMU reads nothing before it has greeted.
    pub fn negotiate(stream: UnixStream, name: &str, limit: Duration) -> Result<Self> {
        const LEAVE: &str = "qmp_capabilities";
        let mut qmp = Self { lines: LineStream::new(stream, LINE_LIMIT), next_id: 0 };
        let deadline = Instant::now() + limit;
        let id = qmp.send(&[(LEAVE, json!({}))], None, deadline)?;
        let greeting = qmp.receive(name, deadline, limit)?;
        if greeting.get("QMP").is_none() {
            return Err(DomainError::protocol(name, "the greeting is not that of a QMP monitor"));
        }
        qmp.answer(LEAVE, id, Instant::now() + COMMAND_LIMIT)??;
        Ok(qmp)
    }

    /// Sends commands together: one trip to QEMU's main loop instead of many.
    /// Events that arrive in between are dropped. `fd` goes with them, for
    /// `getfd`. There is an answer for each command.
    pub fn execute_all(
        &mut self,
        commands: &[Command<'_>],
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<Vec<Result<Value>>> {
        let deadline = Instant::now() + COMMAND_LIMIT;
        let first_id = self.send(commands, fd, deadline)?;
        let answers = (first_id..).zip(commands);
        answers.map(|(id, (command, _))| self.answer(command, id, deadline)).collect()
    }

    /// Returns the number of the first command.
    fn send(
        &mut self,
        commands: &[Command<'_>],
        fd: Option<BorrowedFd<'_>>,
        deadline: Instant,
    ) -> Result<u64> {
        let first_id = self.next_id;
        let mut lines = String::new();
        for (command, arguments) in commands {
            let line = json!({ "execute": command, "arguments": arguments, "id": self.next_id });
            lines.push_str(&line.to_string());
            lines.push('\n');
            self.next_id += 1;
        }
        let name = commands.first().map_or("", |(command, _)| command);
        let sent = self.lines.send(lines.as_bytes(), fd, deadline);
        sent.map_err(|e| failed(name, COMMAND_LIMIT, e))?;
        Ok(first_id)
    }

    /// The answer to the command numbered `id`; the outer error is one of the
    /// connection.
    fn answer(&mut self, command: &str, id: u64, deadline: Instant) -> Result<Result<Value>> {
        loop {
            let answer = self.receive(command, deadline, COMMAND_LIMIT)?;
            if answer["id"] == id {
                return Ok(outcome(command, answer));
            }
        }
    }

    fn receive(&mut self, asked: &str, deadline: Instant, limit: Duration) -> Result<Value> {
        let line = self.lines.receive(deadline).map_err(|e| failed(asked, limit, e))?;
        serde_json::from_slice(&line).map_err(|e| DomainError::protocol("QMP", e.to_string()))
    }
}

impl AsFd for QmpSocket {
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

    /// A monitor that answers each command with the next of `answers`, in
    /// which `ID` stands for the command's.
    fn monitor(greeting: &'static str, answers: &'static [&'static str]) -> UnixStream {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        thread::spawn(move || {
            let mut commands = BufReader::new(theirs.try_clone().unwrap()).lines();
            writeln!(theirs, "{greeting}").unwrap();
            for answer in answers {
                let Some(Ok(command)) = commands.next() else { return };
                let command: Value = serde_json::from_str(&command).unwrap();
                writeln!(theirs, "{}", answer.replace("ID", &command["id"].to_string())).unwrap();
            }
        });
        ours
    }

    fn execute(qmp: &mut QmpSocket, command: &str) -> Result<Value> {
        qmp.execute_all(&[(command, json!({}))], None)?.remove(0)
    }

    #[test]
    fn events_are_skipped_and_refusals_carry_the_reason() {
        let stream = monitor(
            GREETING,
            &[
                r#"{"return":{},"id":ID}"#,
                "{\"event\":\"STOP\"}\n{\"return\":6,\"id\":0}\n{\"return\":7,\"id\":ID}",
                r#"{"error":{"class":"GenericError","desc":"no such device"},"id":ID}"#,
                r#"{"return":1,"id":ID}"#,
                r#"{"error":{"class":"GenericError","desc":"busy"},"id":ID}"#,
                r#"{"return":3,"id":ID}"#,
            ],
        );
        let mut qmp = QmpSocket::negotiate(stream, "test", LIMIT).unwrap();
        assert_eq!(execute(&mut qmp, "a").unwrap(), 7, "not the late answer to command 0");
        let error = execute(&mut qmp, "device_del").unwrap_err();
        assert_eq!(error.to_string(), "QEMU refused device_del: no such device");
        let all = ["a", "b", "c"].map(|command| (command, json!({})));
        let answers = qmp.execute_all(&all, None).unwrap();
        assert!(matches!(&answers[..], [Ok(one), Err(_), Ok(three)] if *one == 1 && *three == 3));
        let error = execute(&mut qmp, "d").unwrap_err();
        assert!(error.to_string().contains("closed its QMP connection at d"), "{error}");
    }

    #[test]
    fn a_socket_that_is_no_monitor_is_named() {
        for greeting in ["{}", "hello", "[1]"] {
            let error =
                QmpSocket::negotiate(monitor(greeting, &["{}"]), "/run/x", LIMIT).unwrap_err();
            assert!(matches!(error, DomainError::Protocol { .. }), "{error}");
        }
    }

    #[test]
    fn a_monitor_that_serves_another_client_times_out() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let error = QmpSocket::negotiate(ours, "/run/x", Duration::from_millis(20)).unwrap_err();
        assert!(matches!(error, DomainError::TimedOut { .. }), "{error}");
    }
}
