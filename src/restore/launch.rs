//! Running `criu restore` in the guest.

use std::time::Duration;

use super::Options;
use super::cgroups;
use super::error::RestoreError;
use super::images::ImageSet;
use super::session::Session;
use crate::control::give_terminals;
use crate::kernel::Kernel;

/// What CRIU may take at least, and the rate at which it then has to read
/// pages, in bytes a second. Bad images can make it wait or write its log for
/// ever.
const BASE_LIMIT: Duration = Duration::from_secs(60);
const MIN_RATE: u64 = 10 << 20;

/// What ending CRIU and looking at the result may take.
const GRACE: Duration = Duration::from_secs(60);

/// How long the lock of a process that is held may stay taken.
const LOCK_LIMIT: Duration = Duration::from_secs(5);

/// Longest line of a log that is shown, in characters, and how many.
const MAX_LINE: usize = 300;
const MAX_LINES: usize = 12;

/// Restores the images that were sent, has processes get their controlling terminals
/// where the kernel is given, and looks whether the root lives. Returns
/// how many processes of the tree are there: those that were about to end have
/// ended by then.
pub(super) fn launch(
    session: &Session<'_>,
    images: &ImageSet,
    kernel: Option<&Kernel>,
    options: Options<'_>,
) -> Result<usize, RestoreError> {
    let limit = BASE_LIMIT + Duration::from_secs(images.bytes() / MIN_RATE);
    let keep = if options.keep_images { "keep" } else { "remove" };
    let tty = options.tty.map_or_else(|| "-".to_owned(), ToString::to_string);
    let hold = if kernel.is_some() { "hold" } else { "go" };
    let some = [("--shell-job", images.foreign_session), ("--file-locks", images.file_locks)];
    let mut wanted = vec!["--restore-detached", options.cgroups.option()];
    wanted.extend(some.iter().filter(|(_, wanted)| *wanted).map(|(option, _)| option));
    let cpu = options.cpu.option(images.knows_cpu);
    wanted.extend(cpu);
    let wanted = wanted.join(",");
    let pids: Vec<String> = images.pids.iter().map(u32::to_string).collect();
    let seconds = limit.as_secs();
    let question = cgroups::preparations(&images.cgroups)
        + &format!("restore {seconds} {keep} {tty} {hold} {wanted} {}\n", pids.join(" "));
    let ask = |question: &str| {
        session.ask_to_the_end(question, limit + GRACE).map_err(|error| match error {
            // From here on CRIU may be at work, and the processes may run.
            RestoreError::Transfer { domain, reason } => {
                RestoreError::Unknown { domain, pid: images.root, reason }
            }
            error => error,
        })
    };
    let mut answer = ask(&question)?;
    if let Some(kernel) = kernel.filter(|_| answer.first().is_some_and(|line| line == "held")) {
        let given =
            give_terminals(session.domain(), kernel, &images.in_terminal_sessions, LOCK_LIMIT);
        answer = ask(if given.is_ok() { "go\n" } else { "end\n" })?;
        let domain = session.domain().name().to_owned();
        given.map_err(|source| RestoreError::Terminals { domain, source })?;
    }
    let report = Report::parse(&answer);
    let domain = session.domain().name().to_owned();
    if !report.unfit.is_empty() {
        return Err(RestoreError::Unfit { domain, problems: report.unfit });
    }
    match report.status {
        Some(0) if report.is_alive() => Ok(report.there.min(images.pids.len())),
        Some(0) => Err(RestoreError::Died { domain, pid: images.root }),
        status => {
            let status = match status {
                // The exit status of timeout(1).
                Some(124 | 137) => format!("not done within {seconds} s"),
                Some(code) => format!("exit status {code}"),
                None => "no exit status".to_owned(),
            };
            Err(RestoreError::Criu { domain, status, log: report.log })
        }
    }
}

/// What the script said.
#[derive(Debug, Default)]
struct Report {
    status: Option<i32>,
    /// State letter of the root as in `/proc/PID/status`.
    state: Option<char>,
    /// How many processes of the tree there are.
    there: usize,
    log: Vec<String>,
    /// Why CRIU was not begun.
    unfit: Vec<String>,
}

impl Report {
    fn parse(answer: &[String]) -> Self {
        let mut report = Self::default();
        for line in answer {
            match line.split_once(' ') {
                Some(("criu", status)) => report.status = status.parse().ok(),
                Some(("state", state)) => report.state = state.chars().next(),
                Some(("there", count)) => report.there = count.parse().unwrap_or(0),
                Some(("unfit", problem)) => report.unfit.push(problem.to_owned()),
                Some(("log", line)) if report.log.len() < MAX_LINES => {
                    report.log.push(line.chars().take(MAX_LINE).collect());
                }
                _ => {}
            }
        }
        report
    }

    /// A zombie (Z) or dead (X) process is not.
    fn is_alive(&self) -> bool {
        self.state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
    }
}
