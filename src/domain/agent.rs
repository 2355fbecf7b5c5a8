//! The QEMU guest agent: programs and files in the guest, without a network.
//!
//! The agent talks the language of QMP over a virtio-serial port
//! (<https://www.qemu.org/docs/master/interop/qemu-ga-ref.html>). The port has
//! one socket on the host, which serves one client at a time and does not say
//! so: another client's connection waits in the listen queue. So a [`Session`]
//! is short, and one that cannot begin waits for its turn. Of a libvirt domain
//! libvirt has the socket, and passes on what its clients call.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::Domain;
use super::error::{DomainError, Result};
use super::libvirt::LibvirtDomain;
use super::socket::{self, LineStream};

/// How long to wait for the socket and for the agent to answer at all. A guest that
/// is overloaded may let it wait for its turn for long.
const SESSION_LIMIT: Duration = Duration::from_secs(60);

/// How long one call may take; `guest-exec` only starts the program.
const CALL_LIMIT: Duration = Duration::from_secs(60);

/// Longest answer accepted, in bytes: the agent keeps 16 MiB of each output of
/// a program (`GUEST_EXEC_MAX_OUTPUT`), which base64 makes a third longer.
const ANSWER_LIMIT: usize = 48 << 20;

/// The byte that comes before the answer to `guest-sync-delimited`, and before
/// the request to drop what another client left unfinished. No JSON text has it.
const DELIMITER: u8 = 0xff;

/// How soon a program is first asked for, and how seldom in the end: the agent
/// logs each call, which costs the guest more than many a program. The socket
/// is kept so long before others get their turn in between.
const FIRST_POLL: Duration = Duration::from_millis(10);
const LAST_POLL: Duration = Duration::from_millis(250);
const KEEP_SESSION: Duration = Duration::from_secs(1);

/// Bytes of a file in one call. The agent refuses more than 48 MiB at a time.
const FILE_CHUNK: usize = 1 << 20;

/// The guest agent of one VM.
#[derive(Debug, Clone)]
pub struct Agent {
    domain: String,
    way: Way,
}

/// The way to an agent.
#[derive(Debug, Clone)]
enum Way {
    Socket(PathBuf),
    Libvirt(LibvirtDomain),
}

/// What a program left when it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub status: Status,
    /// What it wrote to its standard output, up to 16 MiB.
    pub stdout: Vec<u8>,
    /// What it wrote to its standard error, up to 16 MiB.
    pub stderr: Vec<u8>,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It exited with this code.
    Exited(i32),
    /// This signal killed it.
    Signalled(i32),
}

impl Output {
    /// Whether the program exited with code 0.
    pub fn success(&self) -> bool {
        self.status == Status::Exited(0)
    }

    /// Standard output as text, without the white space around it.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    /// The last line of standard error, or how the program ended.
    pub fn complaint(&self) -> String {
        let text = String::from_utf8_lossy(&self.stderr);
        match text.lines().rev().find(|line| !line.trim().is_empty()) {
            Some(line) => line.trim().chars().filter(|c| !c.is_control()).take(500).collect(),
            None => match self.status {
                Status::Exited(code) => format!("exit status {code}"),
                Status::Signalled(signal) => format!("killed by signal {signal}"),
            },
        }
    }
}

/// A program in the guest that the agent has started.
#[derive(Debug)]
#[must_use = "ask for its end"]
pub struct Program<'a> {
    agent: &'a Agent,
    pid: i64,
    name: String,
}

impl Domain {
    /// The VM's guest agent. Whether it answers is seen at the first use.
    ///
    /// # Errors
    ///
    /// [`DomainError::Agent`] where the VM has no port for one.
    pub fn agent(&self) -> Result<Agent> {
        let way = match &self.libvirt {
            Some(domain) => Some(Way::Libvirt(domain.clone())),
            None => self.process.agent_socket().map(Way::Socket),
        };
        let way = way.ok_or_else(|| DomainError::Agent {
            domain: self.name.clone(),
            reason: "QEMU was started without a virtserialport org.qemu.guest_agent.0 on a socket"
                .into(),
        })?;
        Ok(Agent { domain: self.name.clone(), way })
    }
}

impl Agent {
    /// Runs a program with `input` and waits for its end.
    ///
    /// `argv[0]` is looked up in the agent's `PATH`.
    ///
    /// # Errors
    ///
    /// [`DomainError::Agent`] where it cannot be started or does not end
    /// within `limit`; it then runs on.
    pub fn run(&self, argv: &[&str], input: &[u8], limit: Duration) -> Result<Output> {
        let deadline = Instant::now() + limit;
        let mut session = Session::open(self)?;
        let program = session.start(argv, input)?;
        let keep_until = Instant::now() + KEEP_SESSION;
        let mut pause = FIRST_POLL;
        while Instant::now() < keep_until.min(deadline) {
            thread::sleep(pause);
            if let Some(output) = session.status(program.pid)? {
                return Ok(output);
            }
            pause = longer(pause);
        }
        drop(session);
        program.wait(deadline.saturating_duration_since(Instant::now()))
    }

    /// Starts a program and returns at once.
    ///
    /// # Errors
    ///
    /// [`DomainError::Agent`] where it cannot be started.
    pub fn start(&self, argv: &[&str]) -> Result<Program<'_>> {
        Session::open(self)?.start(argv, &[])
    }

    /// Reads a file of at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// [`DomainError::Agent`] where there is none, it cannot be read or is longer.
    pub fn read_file(&self, path: &str, limit: usize) -> Result<Vec<u8>> {
        let mut session = Session::open(self)?;
        let handle = session.open_file(path, "r")?;
        let content = session.read_all(handle, limit);
        session.close_file(handle)?;
        content?.ok_or_else(|| self.error(format!("{path} has more than {limit} bytes")))
    }

    /// Writes a file, new or in place of what was there.
    ///
    /// # Errors
    ///
    /// [`DomainError::Agent`] where it cannot be written.
    pub fn write_file(&self, path: &str, content: &[u8]) -> Result<()> {
        let mut session = Session::open(self)?;
        let handle = session.open_file(path, "w")?;
        let written = content.chunks(FILE_CHUNK).try_for_each(|chunk| {
            let arguments = json!({ "handle": handle, "buf-b64": BASE64.encode(chunk) });
            let answer = session.call("guest-file-write", arguments)?;
            let complete = answer["count"].as_u64() == Some(chunk.len() as u64);
            let short = || self.error(format!("{path} was written in part"));
            if complete { Ok(()) } else { Err(short()) }
        });
        session.close_file(handle)?;
        written
    }

    fn call_by_libvirt(
        &self,
        domain: &LibvirtDomain,
        command: &str,
        request: &Value,
    ) -> Result<Value> {
        // What it says of the class CommandNotFound (`qemuAgentStringifyErrorClass`).
        let unknown = |reason: &str| reason.contains("command has not been found");
        let answer = domain.agent(request, CALL_LIMIT);
        let mut answer =
            answer.map_err(|reason| self.error(refusal(command, &reason, unknown(&reason))))?;
        let none = || self.error(format!("the answer to {command} is not understood"));
        answer.get_mut("return").map(Value::take).ok_or_else(none)
    }

    fn error(&self, reason: impl Into<String>) -> DomainError {
        DomainError::Agent { domain: self.domain.clone(), reason: reason.into() }
    }
}

impl Program<'_> {
    /// What it left, if it has ended.
    ///
    /// # Errors
    ///
    /// [`DomainError::Agent`] where the agent does not answer.
    pub fn poll(&self) -> Result<Option<Output>> {
        Session::open(self.agent)?.status(self.pid)
    }

    /// Waits for its end. The agent's socket is free for others in between.
    ///
    /// # Errors
    ///
    /// [`DomainError::Agent`] where it does not end within `limit`.
    pub fn wait(&self, limit: Duration) -> Result<Output> {
        let deadline = Instant::now() + limit;
        let mut pause = FIRST_POLL;
        loop {
            if let Some(output) = self.poll()? {
                return Ok(output);
            }
            if Instant::now() >= deadline {
                return Err(self.agent.error(format!("{} did not end in time", self.name)));
            }
            thread::sleep(pause);
            pause = longer(pause);
        }
    }
}

/// One client's turn at the agent.
#[derive(Debug)]
struct Session<'a> {
    agent: &'a Agent,
    line: Line<'a>,
}

/// An open way to an agent.
#[derive(Debug)]
enum Line<'a> {
    Socket(LineStream),
    Libvirt(&'a LibvirtDomain),
}

impl<'a> Session<'a> {
    /// Waits for the socket and until the agent answers to us.
    fn open(agent: &'a Agent) -> Result<Self> {
        let path = match &agent.way {
            Way::Socket(path) => path,
            Way::Libvirt(domain) => return Ok(Self { agent, line: Line::Libvirt(domain) }),
        };
        let deadline = Instant::now() + SESSION_LIMIT;
        let stream = socket::connect(path, deadline).map_err(|e| match e.kind() {
            io::ErrorKind::TimedOut => agent.error("another client holds its socket"),
            _ => DomainError::io(format!("cannot connect to {}", path.display()), e),
        })?;
        let mut lines = LineStream::new(stream, ANSWER_LIMIT);
        Self::synchronise(&mut lines, deadline).map_err(|e| match e.kind() {
            io::ErrorKind::TimedOut => agent.error(
                "it does not answer: it is not running in the guest, the VM is paused, \
                 or another client holds its socket",
            ),
            _ => agent.error(e.to_string()),
        })?;
        Ok(Self { agent, line: Line::Socket(lines) })
    }

    /// Drops what others have left in both directions.
    fn synchronise(lines: &mut LineStream, deadline: Instant) -> io::Result<()> {
        // Different from that of an answer to another client or to us before.
        static TURN: AtomicU32 = AtomicU32::new(0);
        let turn = TURN.fetch_add(1, Ordering::Relaxed) & 0xff;
        let token = (std::process::id() << 8 | turn) & i32::MAX as u32;
        let request = json!({ "execute": "guest-sync-delimited", "arguments": { "id": token } });
        let mut line = vec![DELIMITER];
        line.extend_from_slice(request.to_string().as_bytes());
        line.push(b'\n');
        lines.send(&line, None, deadline)?;
        loop {
            let line = lines.receive(deadline)?;
            let Some(at) = line.iter().rposition(|&byte| byte == DELIMITER) else { continue };
            let answer: Option<Value> = serde_json::from_slice(&line[at + 1..]).ok();
            if answer.is_some_and(|answer| answer["return"] == token) {
                return Ok(());
            }
        }
    }

    fn call(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let failed = |e: io::Error| match e.kind() {
            io::ErrorKind::TimedOut => self.agent.error(format!("no answer to {command}")),
            _ => self.agent.error(format!("{command}: {e}")),
        };
        let request = json!({ "execute": command, "arguments": arguments });
        let lines = match &mut self.line {
            Line::Socket(lines) => lines,
            Line::Libvirt(domain) => return self.agent.call_by_libvirt(domain, command, &request),
        };
        let deadline = Instant::now() + CALL_LIMIT;
        let request = format!("{request}\n");
        lines.send(request.as_bytes(), None, deadline).map_err(failed)?;
        let line = lines.receive(deadline).map_err(failed)?;
        let mut answer: Value =
            serde_json::from_slice(&line).map_err(|e| failed(io::Error::other(e)))?;
        match answer.get_mut("return") {
            Some(value) => Ok(value.take()),
            None => {
                let error = &answer["error"];
                let reason = error["desc"].as_str().unwrap_or("no reason given");
                let unknown = error["class"] == "CommandNotFound";
                Err(self.agent.error(refusal(command, reason, unknown)))
            }
        }
    }

    fn start(&mut self, argv: &[&str], input: &[u8]) -> Result<Program<'a>> {
        let (path, arguments) = argv.split_first().unwrap_or((&"", &[]));
        let mut request = json!({ "path": path, "arg": arguments, "capture-output": true });
        if !input.is_empty() {
            request["input-data"] = BASE64.encode(input).into();
        }
        let answer = self.call("guest-exec", request)?;
        let pid = answer["pid"].as_i64().ok_or_else(|| self.misunderstood("guest-exec"))?;
        Ok(Program { agent: self.agent, pid, name: (*path).to_owned() })
    }

    fn status(&mut self, pid: i64) -> Result<Option<Output>> {
        let answer = self.call("guest-exec-status", json!({ "pid": pid }))?;
        if answer["exited"] != true {
            return Ok(None);
        }
        let number = |key: &str| answer[key].as_i64().and_then(|n| i32::try_from(n).ok());
        let status = match (number("exitcode"), number("signal")) {
            (_, Some(signal)) => Status::Signalled(signal),
            (Some(code), None) => Status::Exited(code),
            (None, None) => return Err(self.misunderstood("guest-exec-status")),
        };
        let output = |key: &str| BASE64.decode(answer[key].as_str().unwrap_or_default());
        match (output("out-data"), output("err-data")) {
            (Ok(stdout), Ok(stderr)) => Ok(Some(Output { status, stdout, stderr })),
            _ => Err(self.misunderstood("guest-exec-status")),
        }
    }

    fn open_file(&mut self, path: &str, mode: &str) -> Result<i64> {
        let answer = self.call("guest-file-open", json!({ "path": path, "mode": mode }))?;
        answer.as_i64().ok_or_else(|| self.misunderstood("guest-file-open"))
    }

    fn close_file(&mut self, handle: i64) -> Result<()> {
        self.call("guest-file-close", json!({ "handle": handle })).map(drop)
    }

    /// The content of an open file, or `None` where it is longer than `limit`.
    fn read_all(&mut self, handle: i64, limit: usize) -> Result<Option<Vec<u8>>> {
        let mut content = Vec::new();
        while content.len() <= limit {
            let arguments = json!({ "handle": handle, "count": FILE_CHUNK });
            let answer = self.call("guest-file-read", arguments)?;
            let chunk = BASE64
                .decode(answer["buf-b64"].as_str().unwrap_or_default())
                .map_err(|_| self.misunderstood("guest-file-read"))?;
            if chunk.is_empty() {
                return Ok(Some(content));
            }
            content.extend_from_slice(&chunk);
        }
        Ok(None)
    }

    fn misunderstood(&self, command: &str) -> DomainError {
        self.agent.error(format!("the answer to {command} is not understood"))
    }
}

fn longer(pause: Duration) -> Duration {
    (pause * 2).min(LAST_POLL)
}

/// Why the agent refused a command; where its settings forbid it, which.
fn refusal(command: &str, reason: &str, unknown: bool) -> String {
    if !unknown && !reason.contains("disabled") {
        return format!("{command}: {reason}");
    }
    format!(
        "{command} is disabled in the guest; take it out of block-rpcs (blacklist) or add it to \
         allow-rpcs in /etc/qemu/qemu-ga.conf or /etc/sysconfig/qemu-ga and restart the agent"
    )
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixListener;

    use super::*;

    /// An agent whose socket is served by `serve`, in the order of clients.
    /// It gets the calls and says what is answered.
    fn agent(
        serve: impl Fn(&str, &Value) -> String + Send + 'static,
    ) -> (Agent, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent");
        let listener = UnixListener::bind(&socket).unwrap();
        thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.unwrap();
                let requests = BufReader::new(client.try_clone().unwrap()).split(b'\n');
                for request in requests.map_while(io::Result::ok) {
                    let request = request.strip_prefix(&[DELIMITER]).unwrap_or(&request);
                    let request: Value = serde_json::from_slice(request).unwrap();
                    let arguments = &request["arguments"];
                    let answer = match request["execute"].as_str().unwrap() {
                        "guest-sync-delimited" => {
                            client.write_all(b"{\"return\": \"stale\"}\n\xff").unwrap();
                            json!({ "return": arguments["id"] }).to_string()
                        }
                        command => serve(command, arguments),
                    };
                    writeln!(client, "{answer}").unwrap();
                }
            }
        });
        (Agent { domain: "vm1".into(), way: Way::Socket(socket) }, dir)
    }

    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn a_program_is_asked_for_until_it_has_ended() {
        let asked = AtomicU32::new(0);
        let (agent, _dir) = agent(move |command, arguments| match command {
            "guest-exec" => {
                assert_eq!(arguments["arg"], json!(["-c", "x"]));
                assert_eq!(arguments["input-data"], "aGk=");
                r#"{"return":{"pid":7}}"#.into()
            }
            _ if asked.fetch_add(1, Ordering::Relaxed) < 2 => {
                r#"{"return":{"exited":false}}"#.into()
            }
            _ => r#"{"return":{"exited":true,"exitcode":3,"err-data":"b25lCnR3bwo="}}"#.into(),
        });
        let output = agent.run(&["sh", "-c", "x"], b"hi", SOON).unwrap();
        assert_eq!((output.status, output.complaint().as_str()), (Status::Exited(3), "two"));
    }

    #[test]
    fn a_program_that_does_not_end_is_given_up() {
        let (agent, _dir) = agent(|command, _| match command {
            "guest-exec" => r#"{"return":{"pid":7}}"#.into(),
            _ => r#"{"return":{"exited":false}}"#.into(),
        });
        let error = agent.run(&["sleep"], b"", Duration::from_millis(100)).unwrap_err();
        assert_eq!(error.to_string(), "guest agent of vm1: sleep did not end in time");
    }

    #[test]
    fn a_disabled_command_names_the_setting() {
        let (agent, _dir) = agent(|command, _| {
            let desc = format!("Command {command} has been disabled");
            json!({ "error": { "class": "CommandNotFound", "desc": desc } }).to_string()
        });
        let error = agent.run(&["true"], b"", SOON).unwrap_err().to_string();
        assert!(
            error.contains("guest-exec is disabled") && error.contains("block-rpcs"),
            "{error}"
        );
    }

    #[test]
    fn nonsense_is_an_error() {
        for answer in ["[]", "{}", r#"{"return":{}}"#, r#"{"return":{"pid":"x"}}"#, "\u{7f}"] {
            let (agent, _dir) = agent(move |_, _| answer.into());
            assert!(agent.run(&["true"], b"", SOON).is_err(), "{answer}");
            assert!(agent.read_file("/x", 10).is_err(), "{answer}");
        }
    }

    #[test]
    fn a_file_that_is_too_long_is_not_read() {
        let (agent, _dir) = agent(|command, _| match command {
            "guest-file-open" => r#"{"return":1}"#.into(),
            "guest-file-read" => {
                r#"{"return":{"count":6,"buf-b64":"c2l4Ynl0","eof":false}}"#.into()
            }
            _ => r#"{"return":{}}"#.into(),
        });
        let error = agent.read_file("/endless", 1000).unwrap_err().to_string();
        assert!(error.contains("/endless has more than 1000 bytes"), "{error}");
    }
}
