//! A shell that times whole commands as its user would see them.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::error::{BenchError, Result};
use super::process::{Interrupt, content, end_group, reap};

/// The line that a [`Shell`] answers a command with begins so. Its times are
/// those of Bash's `EPOCHREALTIME`, which no process is started for.
const ANSWER: &str = "DONE";

/// A Bash that runs one command after the other. Commands start from a small
/// process that stays the same, whatever the size of this one.
pub struct Shell {
    child: Child,
    input: ChildStdin,
    answers: ChildStdout,
    /// What commands print.
    output: File,
    interrupt: Interrupt,
}

/// A command that succeeded.
#[derive(Debug)]
pub struct Timed {
    /// From before its start to after its end.
    pub seconds: f64,
    /// What it printed.
    pub output: String,
}

impl Shell {
    /// A shell of the host. It keeps this thread's CPU affinity.
    pub fn start(interrupt: &Interrupt) -> Result<Self> {
        Self::start_by(&mut Command::new("bash"), interrupt)
    }

    /// The Bash that a command ends as, which gets the arguments from us.
    pub fn start_by(command: &mut Command, interrupt: &Interrupt) -> Result<Self> {
        let program = Path::new(command.get_program()).to_owned();
        let mut start = || {
            let output = tempfile::tempfile()?;
            let mut child = command
                .args(["--noprofile", "--norc"])
                // What it prints and what it parses as a number depends on this.
                .env("LC_ALL", "C")
                .env("BASH_ENV", "")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(output.try_clone()?)
                .process_group(0)
                .spawn()?;
            let gone = || std::io::Error::other("no pipe");
            let input = child.stdin.take().ok_or_else(gone)?;
            let answers = child.stdout.take().ok_or_else(gone)?;
            Ok(Self { child, input, answers, output, interrupt: interrupt.clone() })
        };
        start().map_err(BenchError::io("start", &program))
    }

    /// Its PID.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs a command that must succeed.
    pub fn run(&mut self, script: &str, limit: Duration) -> Result<Timed> {
        self.interrupt.check()?;
        // The shell and its commands share the file's position with us: what is
        // written next goes to its end, as it is empty.
        let reset = self
            .output
            .set_len(0)
            .and_then(|()| std::io::Seek::seek(&mut self.output, std::io::SeekFrom::Start(0)));
        reset.map_err(|error| BenchError::command("bash", error.to_string()))?;
        let line = format!(
            "began=$EPOCHREALTIME; {{ {script}; }} </dev/null >&2; status=$?; \
             echo \"{ANSWER} $began $EPOCHREALTIME $status\"\n"
        );
        let sent = self.input.write_all(line.as_bytes()).and_then(|()| self.input.flush());
        sent.map_err(|error| self.failed(script, &error.to_string()))?;
        let answer = self.answer(script, limit)?;
        let output = self.printed();
        let fields: Vec<&str> = answer.split_whitespace().collect();
        match fields[..] {
            [ANSWER, began, ended, "0"] => match (began.parse::<f64>(), ended.parse::<f64>()) {
                (Ok(began), Ok(ended)) => Ok(Timed { seconds: ended - began, output }),
                _ => Err(self.failed(script, &answer)),
            },
            [ANSWER, _, _, status] => Err(self.failed(script, &format!("exit status {status}"))),
            _ => Err(self.failed(script, &answer)),
        }
    }

    fn answer(&mut self, script: &str, limit: Duration) -> Result<String> {
        let started = Instant::now();
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            let verdict = match self.interrupt.check() {
                Ok(()) if started.elapsed() > limit => {
                    Err(self.failed(script, &format!("not done after {limit:?}")))
                }
                verdict => verdict,
            };
            if let Err(error) = verdict {
                end_group(self.child.id());
                reap(&mut self.child);
                return Err(error);
            }
            let mut ready = [PollFd::new(self.answers.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ready, PollTimeout::from(200u8)) {
                Ok(0) | Err(nix::Error::EINTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(self.failed(script, error.desc())),
            }
            let mut chunk = [0; 256];
            match self.answers.read(&mut chunk) {
                Ok(0) => return Err(self.failed(script, "the shell has ended")),
                Ok(count) => line.extend_from_slice(&chunk[..count]),
                Err(error) => return Err(self.failed(script, &error.to_string())),
            }
        }
        Ok(String::from_utf8_lossy(&line).trim().to_owned())
    }

    fn printed(&self) -> String {
        self.output.try_clone().map(content).unwrap_or_default()
    }

    fn failed(&self, script: &str, reason: &str) -> BenchError {
        let printed = self.printed();
        let lines: Vec<&str> = printed.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = lines[lines.len().saturating_sub(3)..].join("; ");
        let start: String = script.chars().take(120).collect();
        BenchError::command(start, format!("{reason}: {last}"))
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        end_group(self.child.id());
        reap(&mut self.child);
    }
}

/// A word as a shell takes it.
pub(super) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    #[test]
    fn commands_are_timed_by_the_shell_and_leave_their_output() {
        let mut shell = Shell::start(&Interrupt::default()).unwrap();
        let timed = shell.run("sleep 0.05", LIMIT).unwrap();
        assert!(timed.seconds >= 0.05 && timed.output.is_empty(), "{timed:?}");
        assert_eq!(shell.run("echo a; echo b >&2", LIMIT).unwrap().output, "a\nb\n");
        assert_eq!(shell.run("echo c", LIMIT).unwrap().output, "c\n");
        let failure = shell.run("{ echo why; (exit 7); }", LIMIT).unwrap_err().to_string();
        assert!(failure.contains("exit status 7: why"), "{failure}");
        assert_eq!(shell.run(&format!("echo {}", quoted("it's")), LIMIT).unwrap().output, "it's\n");
    }

    #[test]
    fn a_command_has_a_limit() {
        let mut shell = Shell::start(&Interrupt::default()).unwrap();
        assert!(shell.run("sleep 1000", Duration::ZERO).is_err());
        assert!(shell.run("true", LIMIT).is_err(), "its shell has gone");
    }
}
