//! Commands of the host.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::error::{BenchError, Result};

/// How often a command is looked after. Nothing is timed by that.
const LOOK_AFTER: Duration = Duration::from_millis(10);
/// How long a command may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(15);

/// Whether the user wants all to end.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// The flag, for a signal handler.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }

    /// # Errors
    ///
    /// [`BenchError::Interrupted`] if so.
    pub(super) fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(BenchError::Interrupted) } else { Ok(()) }
    }
}

/// Runs a command that must succeed and returns its standard output.
pub(super) fn output(
    command: &mut Command,
    limit: Duration,
    interrupt: &Interrupt,
) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let files = tempfile::tempfile().and_then(|out| Ok((out, tempfile::tempfile()?)));
    let (out, err) = files.map_err(|error| BenchError::command(&name, error.to_string()))?;
    let copies = out.try_clone().and_then(|out| Ok((out, err.try_clone()?)));
    let (to_out, to_err) = copies.map_err(|error| BenchError::command(&name, error.to_string()))?;
    let child = command
        .stdin(Stdio::null())
        .stdout(to_out)
        .stderr(to_err)
        // Ctrl-C on the terminal is told to it by us.
        .process_group(0)
        .spawn()
        .map_err(|error| BenchError::command(&name, error.to_string()))?;
    let arguments = command.get_args().map(|arg| arg.to_string_lossy());
    let first: Vec<_> = arguments.take(3).collect();
    let title = format!("{name} {}", first.join(" "));
    let status = wait(child, &title, limit, interrupt)?;
    let (out, err) = (content(out), content(err));
    if status.success() {
        return Ok(out);
    }
    let complaint = if err.trim().is_empty() { &out } else { &err };
    let lines: Vec<&str> = complaint.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(3)..].join("; ");
    Err(BenchError::command(title, format!("{status}: {last}")))
}

/// Waits for the end of a child that leads a process group.
fn wait(
    mut child: Child,
    title: &str,
    limit: Duration,
    interrupt: &Interrupt,
) -> Result<std::process::ExitStatus> {
    let failed = |error: std::io::Error| BenchError::command(title, error.to_string());
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            return Ok(status);
        }
        let verdict = match interrupt.check() {
            Ok(()) if started.elapsed() > limit => {
                Err(BenchError::command(title, format!("not done after {limit:?}")))
            }
            verdict => verdict,
        };
        if let Err(error) = verdict {
            end_group(child.id());
            reap(&mut child);
            return Err(error);
        }
        sleep(LOOK_AFTER);
    }
}

/// Asks a process group to end.
pub(super) fn end_group(leader: u32) {
    // It may have ended already.
    let _ = killpg(Pid::from_raw(leader.cast_signed()), Signal::SIGTERM);
}

/// Waits for a child that was asked to end, and ends it if it does not.
pub(super) fn reap(child: &mut Child) {
    let asked = Instant::now();
    while asked.elapsed() < PATIENCE {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        sleep(LOOK_AFTER);
    }
    let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
    let _ = child.wait();
}

/// All that was written to a file so far.
pub(super) fn content(mut file: File) -> String {
    let mut bytes = Vec::new();
    // An output that cannot be read back is an empty one.
    let _ = file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    fn sh(script: &str, limit: Duration, interrupt: &Interrupt) -> Result<String> {
        output(Command::new("sh").args(["-c", script]), limit, interrupt)
    }

    #[test]
    fn a_command_gives_its_output_or_its_complaint() {
        let nobody = Interrupt::default();
        assert_eq!(sh("echo yes; echo no >&2", LIMIT, &nobody).unwrap(), "yes\n");
        let failure = sh("echo bad luck >&2; exit 3", LIMIT, &nobody).unwrap_err().to_string();
        assert!(failure.contains("exit status: 3: bad luck"), "{failure}");
    }

    #[test]
    fn a_command_that_does_not_end_is_ended_and_one_can_be_interrupted() {
        let nobody = Interrupt::default();
        let late = sh("sleep 1000", Duration::ZERO, &nobody).unwrap_err();
        assert!(late.to_string().contains("not done after"), "{late}");
        let user = Interrupt::default();
        user.flag().store(true, Ordering::Relaxed);
        assert!(matches!(sh("sleep 1000", LIMIT, &user), Err(BenchError::Interrupted)));
    }
}
