//! The conversation with the script that does the guest's half of a restore.
//!
//! ```text
//! host                                  guest
//!  pid…, path…, cgroup…, end       ->
//!                                  <-   lacks…, taken…, missing…, stat…, group…, end
//!  disk DIR SERIAL BLOCKS          ->
//!                                  <-   image… | none WHY, end
//!  receive DIR BLOCKS, tar archive ->                              if none, or
//!                                  <-   image…, end                without a disk
//!  cgroup…
//!  restore LIMIT KEEP …            ->
//!                                  <-   held, end                  if asked for
//!  go | end                        ->
//!                                  <-   criu STATUS, state | log… | unfit…, end
//! ```
//!
//! It goes through a [`Port`]; the agent only starts the script, so that no
//! step waits for the agent's polling. A script that cannot go on ends, and the
//! agent has its complaint. When the host hangs up, the script removes what it
//! has made, also when the host's process was killed.

use std::cell::OnceCell;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::error::RestoreError;
use super::port::Port;
use crate::domain::{Agent, Domain, Output, Program};

const SCRIPT: &str = concat!(
    include_str!("open.sh"),
    include_str!("preflight.sh"),
    include_str!("mount.sh"),
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
    interrupted: &'a AtomicBool,
}

impl<'a> Session<'a> {
    /// Plugs the port and starts the script. Once `interrupted` is set, what
    /// is asked and sent fails.
    pub fn start(
        domain: &'a Domain,
        agent: &'a Agent,
        interrupted: &'a AtomicBool,
    ) -> Result<Self, RestoreError> {
        let port = Port::plug(domain)?;
        let program = agent.start(&["/bin/sh", "-c", SCRIPT, "ovmigrate", port.name()])?;
        let script = Script { program, output: OnceCell::new() };
        let session = Self { domain, port, script, interrupted };
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
    /// where the answer takes longer than `limit`;
    /// [`RestoreError::Interrupted`].
    pub fn ask(&self, question: &str, limit: Duration) -> Result<Vec<String>, RestoreError> {
        self.send(|mut to| to.write_all(question.as_bytes()))?;
        self.answer(limit)
    }

    /// The same for a question whose answer must be known: no interruption
    /// ends the wait for it.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    pub fn ask_to_the_end(
        &self,
        question: &str,
        limit: Duration,
    ) -> Result<Vec<String>, RestoreError> {
        self.send(|mut to| to.write_all(question.as_bytes()))?;
        self.lines(limit, &AtomicBool::new(false))
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
        let Self { script, interrupted, .. } = self;
        write(Sender { stream: self.port.stream(), script, interrupted })
            .map_err(|e| self.failed(e))
    }

    /// The lines of an answer up to "end", without control characters: they
    /// may be shown on a terminal.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    pub fn answer(&self, limit: Duration) -> Result<Vec<String>, RestoreError> {
        self.lines(limit, self.interrupted)
    }

    fn lines(
        &self,
        limit: Duration,
        interrupted: &AtomicBool,
    ) -> Result<Vec<String>, RestoreError> {
        let deadline = Instant::now() + limit;
        let bytes = self.read_answer(deadline, interrupted).map_err(|e| self.failed(e))?;
        let text = String::from_utf8_lossy(&bytes);
        let plain = |line: &str| line.chars().filter(|c| !c.is_control()).collect();
        Ok(text.lines().map(plain).collect())
    }

    fn read_answer(&self, deadline: Instant, interrupted: &AtomicBool) -> io::Result<Vec<u8>> {
        let mut answer = Vec::new();
        let mut chunk = [0; 16384];
        let mut ended = None;
        while !(answer.ends_with(b"\nend\n") || answer == b"end\n") {
            check(interrupted)?;
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
        if error.get_ref().is_some_and(|error| error.is::<Interruption>()) {
            return RestoreError::Interrupted;
        }
        let domain = self.domain.name().to_owned();
        RestoreError::Transfer { domain, reason: error.to_string() }
    }
}

/// Text of a question: everything but plain characters as octal escapes of
/// `printf %b`.
pub(super) fn escape(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, &byte| {
        if byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "\\0{byte:03o}");
        }
        text
    })
}

/// That the user wants the restore to end.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
struct Interruption;

/// Not as [`io::ErrorKind::Interrupted`], after which writing is tried again.
fn check(interrupted: &AtomicBool) -> io::Result<()> {
    if interrupted.load(Ordering::Relaxed) { Err(io::Error::other(Interruption)) } else { Ok(()) }
}

/// The way to the script.
#[derive(Debug)]
pub(super) struct Sender<'a> {
    stream: &'a UnixStream,
    script: &'a Script<'a>,
    interrupted: &'a AtomicBool,
}

impl Write for Sender<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let idle_since = Instant::now();
        loop {
            check(self.interrupted)?;
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
