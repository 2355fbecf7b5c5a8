//! A QMP monitor on a Unix socket: one JSON object a line
//! (`docs/interop/qmp-spec` in QEMU's source).
//!
//! QEMU takes one byte of a command in each round of its loop
//! (`monitor_can_read()`, `monitor/monitor.c`): a command takes as long as it
//! is, some microseconds a byte. So nothing is sent that can be left out.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::domain::command::{Command, outcome};
use crate::domain::error::{DomainError, Result};
use crate::domain::socket::{self, LineStream};

/// How long a command may take. `stop` flushes the VM's disks first, so a slow
/// disk under load is the longest of them.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// The longest answer accepted: `info mtree -f` of a machine with hundreds of
/// devices has a few MiB.
const LINE_LIMIT: usize = 32 << 20;

/// How long what was posted may take when the connection ends.
const ENDING_LIMIT: Duration = Duration::from_secs(5);

/// A connection to the socket of a QMP monitor.
#[derive(Debug)]
pub(in crate::domain) struct QmpSocket {
    lines: LineStream,
    /// Commands that have yet to be answered, in the order of the answers.
    asked: VecDeque<String>,
    /// Whether the vCPUs run, by what QEMU has said last: it tells each change
    /// to all its clients, in order with its answers.
    running: bool,
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
        let lines = LineStream::new(stream, LINE_LIMIT);
        let mut qmp = Self { lines, asked: VecDeque::new(), running: false };
        let deadline = Instant::now() + limit;
        qmp.send(&[("qmp_capabilities", json!({}))], None, deadline)?;
        let greeting = qmp.receive(name, deadline, limit)?;
        if greeting.get("QMP").is_none() {
            return Err(DomainError::protocol(name, "the greeting is not that of a QMP monitor"));
        }
        qmp.answer(Instant::now() + COMMAND_LIMIT)??;
        Ok(qmp)
    }

    /// Sends commands together: one trip to QEMU's main loop instead of many.
    /// `fd` goes with them, for `getfd`. There is an answer for each command.
    pub fn execute_all(
        &mut self,
        commands: &[Command<'_>],
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<Vec<Result<Value>>> {
        let deadline = Instant::now() + COMMAND_LIMIT;
        self.send(commands, fd, deadline)?;
        self.settle(commands.len(), deadline)?;
        commands.iter().map(|_| self.answer(deadline)).collect()
    }

    /// Sends a command whose answer nobody waits for. It has been run when the
    /// next one is, and when the connection ends.
    pub fn post(&mut self, command: Command<'_>) -> Result<()> {
        self.send(&[command], None, Instant::now() + COMMAND_LIMIT)
    }

    /// Whether the vCPUs run, as far as that is known without asking.
    pub fn is_known_to_run(&mut self) -> bool {
        while let Ok(Some(line)) = self.lines.receive_arrived() {
            match serde_json::from_slice(&line) {
                Ok(Value::Object(event)) if event.contains_key("event") => {
                    self.note(&event["event"])
                }
                // The answer to what was posted is of no interest here.
                Ok(answer) if !self.asked.is_empty() => drop(self.take(answer)),
                _ => self.running = false,
            }
        }
        self.running && self.lines.is_empty()
    }

    /// Takes the answers that are left from before the last commands.
    fn settle(&mut self, commands: usize, deadline: Instant) -> Result<()> {
        while self.asked.len() > commands {
            if let Err(error) = self.answer(deadline)? {
                tracing::debug!("{error}");
            }
        }
        Ok(())
    }

    fn send(
        &mut self,
        commands: &[Command<'_>],
        fd: Option<BorrowedFd<'_>>,
        deadline: Instant,
    ) -> Result<()> {
        let mut lines = String::new();
        for (command, arguments) in commands {
            lines.push_str("{\"execute\":\"");
            lines.push_str(command);
            lines.push('"');
            if arguments.as_object().is_some_and(|arguments| !arguments.is_empty()) {
                lines.push_str(",\"arguments\":");
                lines.push_str(&arguments.to_string());
            }
            lines.push_str("}\n");
        }
        let name = commands.first().map_or("", |(command, _)| command);
        let sent = self.lines.send(lines.as_bytes(), fd, deadline);
        sent.map_err(|e| failed(name, COMMAND_LIMIT, e))?;
        self.asked.extend(commands.iter().map(|(command, _)| (*command).to_owned()));
        Ok(())
    }

    /// The answer to the first command that has none yet; the outer error is
    /// one of the connection.
    fn answer(&mut self, deadline: Instant) -> Result<Result<Value>> {
        loop {
            let asked = self.asked.front().cloned().unwrap_or_default();
            let answer = self.receive(&asked, deadline, COMMAND_LIMIT)?;
            match answer.get("event") {
                Some(event) => self.note(event),
                None => return Ok(self.take(answer)),
            }
        }
    }

    fn take(&mut self, answer: Value) -> Result<Value> {
        let command = self.asked.pop_front().unwrap_or_default();
        let outcome = outcome(&command, answer);
        if command == "query-status" {
            self.running = outcome.as_ref().is_ok_and(|status| status["running"] == true);
        }
        outcome
    }

    /// Any other event may mean that they run no more.
    fn note(&mut self, event: &Value) {
        self.running = event == "RESUME";
    }

    fn receive(&mut self, asked: &str, deadline: Instant, limit: Duration) -> Result<Value> {
        let line = self.lines.receive(deadline).map_err(|e| failed(asked, limit, e))?;
        serde_json::from_slice(&line).map_err(|e| DomainError::protocol("QMP", e.to_string()))
    }
}

impl Drop for QmpSocket {
    fn drop(&mut self) {
        // QEMU drops what it has not read when its client hangs up.
        if let Err(error) = self.settle(0, Instant::now() + ENDING_LIMIT) {
            tracing::debug!("{error}");
        }
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

    fn execute(qmp: &mut QmpSocket, command: &str) -> Result<Value> {
        qmp.execute_all(&[(command, json!({}))], None)?.remove(0)
    }

    #[test]
    fn events_are_skipped_and_refusals_carry_the_reason() {
        let stream = monitor(
            GREETING,
            &[
                r#"{"return":{}}"#,
                "{\"event\":\"STOP\"}\n{\"return\":7}",
                r#"{"error":{"class":"GenericError","desc":"no such device"}}"#,
                r#"{"return":1}"#,
                r#"{"error":{"class":"GenericError","desc":"busy"}}"#,
                r#"{"return":3}"#,
            ],
        );
        let mut qmp = QmpSocket::negotiate(stream, "test", LIMIT).unwrap();
        assert_eq!(execute(&mut qmp, "a").unwrap(), 7);
        let error = execute(&mut qmp, "device_del").unwrap_err();
        assert_eq!(error.to_string(), "QEMU refused device_del: no such device");
        let all = ["a", "b", "c"].map(|command| (command, json!({})));
        let answers = qmp.execute_all(&all, None).unwrap();
        assert!(matches!(&answers[..], [Ok(one), Err(_), Ok(three)] if *one == 1 && *three == 3));
        let error = execute(&mut qmp, "d").unwrap_err();
        assert!(error.to_string().contains("closed its QMP connection at d"), "{error}");
    }

    #[test]
    fn a_late_answer_is_not_that_to_the_next_command() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let say = |line: &str| writeln!(&theirs, "{line}").unwrap();
        say(GREETING);
        say(r#"{"return":{}}"#);
        let mut qmp = QmpSocket::negotiate(ours, "test", LIMIT).unwrap();
        qmp.send(&[("slow", json!({}))], None, Instant::now() + LIMIT).unwrap();
        let error = qmp.answer(Instant::now() + Duration::from_millis(20)).unwrap_err();
        assert!(error.to_string().contains("slow"), "{error}");
        qmp.post(("posted", json!({}))).unwrap();
        for answer in ["1", "2", "3"] {
            say(&format!(r#"{{"return":{answer}}}"#));
        }
        assert_eq!(execute(&mut qmp, "next").unwrap(), 3);
    }

    #[test]
    fn what_runs_is_known_by_the_events() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let say = |line: &str| writeln!(&theirs, "{line}").unwrap();
        say(GREETING);
        say(r#"{"return":{}}"#);
        let mut qmp = QmpSocket::negotiate(ours, "test", LIMIT).unwrap();
        assert!(!qmp.is_known_to_run(), "nobody has said so");
        say(r#"{"return":{"status":"running","running":true}}"#);
        execute(&mut qmp, "query-status").unwrap();
        assert!(qmp.is_known_to_run());
        for other in ["STOP", "SHUTDOWN", "SUSPEND", "GUEST_PANICKED", "NEW_ONE"] {
            say(&format!(r#"{{"event":"{other}"}}"#));
            assert!(!qmp.is_known_to_run(), "{other}");
            say(r#"{"event":"RESUME"}"#);
            assert!(qmp.is_known_to_run(), "after {other}");
        }
        qmp.post(("gdbserver", json!({}))).unwrap();
        say(r#"{"return":""}"#);
        assert!(qmp.is_known_to_run() && qmp.asked.is_empty());
        say(r#"{"return":{"status":"paused","running":false}}"#);
        execute(&mut qmp, "query-status").unwrap();
        assert!(!qmp.is_known_to_run());
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
