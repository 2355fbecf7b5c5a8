//! The conversation with the script that does the guest's half of a restore.
//!
//! ```text
//! host                                  guest
//!  pid…, path…, end                ->
//!                                  <-   lacks…, taken…, missing…, stat…, end
//!  receive DIR TOTAL, tar archive  ->
//!                                  <-   image…, end
//!  restore LIMIT KEEP OPTION PID…  ->
//!                                  <-   criu STATUS, state | log…, end
//! ```
//!
//! It goes through a [`Port`]; the agent only starts the script, so that no
//! step waits for the agent's polling. A script that cannot go on ends, and the
//! agent has its complaint. When the host hangs up, the script removes what it
//! has made, also when the host's process was killed.

use std::cell::OnceCell;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::error::RestoreError;
use super::port::Port;
use crate::domain::{Agent, Domain, Output, Program};

const SCRIPT: &str = concat!(
    include_str!("open.sh"),
    include_str!("preflight.sh"),
    include_str!("receive.sh"),
    include_str!("launch.sh"),
);

/// How often a script that is silent is looked after, and how long it may take
/// nothing of what is sent.
const LOOK_AFTER: Duration = Duration::from_secs(2);
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// What the script may take to remove what it has made.
const END_LIMIT: Duration = Duration::from_secs(60);

/// Longest answer accepted, in bytes: a line for each of some 65000 mapped
/// files.
const ANSWER_LIMIT: usize = 8 << 20;

/// A conversation with the guest's script.
#[derive(Debug)]
pub(super) struct Session<'a> {
    domain: &'a Domain,
    /// Dropped first: hanging up ends the script.
    port: Port<'a>,
    script: Script<'a>,
}

impl<'a> Session<'a> {
    /// Plugs the port and starts the script.
    pub fn start(domain: &'a Domain, agent: &'a Agent) -> Result<Self, RestoreError> {
        let port = Port::plug(domain)?;
        let program = agent.start(&["/bin/sh", "-c", SCRIPT, "ovmigrate", port.name()])?;
        let session = Self { domain, port, script: Script { program, output: OnceCell::new() } };
        session.set_timeouts().map_err(|e| session.failed(e))?;
        Ok(session)
    }

    /// The VM.
    pub fn domain(&self) -> &'a Domain {
        self.domain
    }

    fn set_timeouts(&self) -> io::Result<()> {
        let stream = self.port.stream();
        stream.set_write_timeout(Some(LOOK_AFTER))?;
        stream.set_read_timeout(Some(LOOK_AFTER))
    }

    /// Sends a question and returns the lines of the answer.
    ///
    /// # Errors
    ///
    /// [`RestoreError::Transfer`] with what the script complained about, or
    /// where the answer takes longer than `limit`.
    pub fn ask(&self, question: &str, limit: Duration) -> Result<Vec<String>, RestoreError> {
        self.send(|mut to| to.write_all(question.as_bytes()))?;
        self.answer(limit)
    }

    /// Sends what `write` writes.
    ///
    /// # Errors
    ///
    /// [`RestoreError::Transfer`], also where the script has stopped reading.
    pub fn send(
        &self,
        write: impl FnOnce(Sender<'_>) -> io::Result<()>,
    ) -> Result<(), RestoreError> {
        write(Sender { stream: self.port.stream(), script: &self.script })
            .map_err(|e| self.failed(e))
    }

    /// The lines of an answer up to "end", without control characters: they
    /// may be shown on a terminal.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    pub fn answer(&self, limit: Duration) -> Result<Vec<String>, RestoreError> {
        let bytes = self.read_answer(Instant::now() + limit).map_err(|e| self.failed(e))?;
        let text = String::from_utf8_lossy(&bytes);
        let plain = |line: &str| line.chars().filter(|c| !c.is_control()).collect();
        Ok(text.lines().map(plain).collect())
    }

    fn read_answer(&self, deadline: Instant) -> io::Result<Vec<u8>> {
        let mut answer = Vec::new();
        let mut chunk = [0; 16384];
        let mut ended = None;
        while !(answer.ends_with(b"\nend\n") || answer == b"end\n") {
            match self.port.stream().read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => answer.extend_from_slice(&chunk[..count]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => match ended.take() {
                    // What it said last may come after the news of its end.
                    None => ended = self.script.look_after().err(),
                    Some(complaint) => return Err(complaint),
                },
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
            if answer.len() > ANSWER_LIMIT {
                return Err(io::Error::other("an answer has no end"));
            }
            if Instant::now() > deadline {
                return Err(io::Error::other("no answer in time"));
            }
        }
        Ok(answer)
    }

    fn failed(&self, error: io::Error) -> RestoreError {
        let domain = self.domain.name().to_owned();
        RestoreError::Transfer { domain, reason: error.to_string() }
    }
}

/// The way to the script.
#[derive(Debug)]
pub(super) struct Sender<'a> {
    stream: &'a UnixStream,
    script: &'a Script<'a>,
}

impl Write for Sender<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let idle_since = Instant::now();
        loop {
            match self.stream.write(bytes) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.script.look_after()?,
                result => return result,
            }
            if idle_since.elapsed() > IDLE_LIMIT {
                return Err(io::Error::other("the guest has stopped reading"));
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The script as the agent sees it; when dropped, it has ended.
#[derive(Debug)]
struct Script<'a> {
    program: Program<'a>,
    /// What it left: the agent tells that once.
    output: OnceCell<Output>,
}

impl Script<'_> {
    /// Fails if it has ended, with what it complained about.
    fn look_after(&self) -> io::Result<()> {
        if self.output.get().is_none()
            && let Some(output) = self.program.poll().map_err(io::Error::other)?
        {
            let _ = self.output.set(output);
        }
        match self.output.get() {
            Some(output) => Err(io::Error::other(output.complaint())),
            None => Ok(()),
        }
    }
}

impl Drop for Script<'_> {
    fn drop(&mut self) {
        if self.output.get().is_none()
            && let Err(e) = self.program.wait(END_LIMIT)
        {
            tracing::warn!("images may be left in the guest: {e}");
        }
    }
}
