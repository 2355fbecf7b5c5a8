//! What all subcommands print alike.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

/// Prints a result. A reader that has seen enough (`| head`) is no failure.
pub fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

/// Prints a result as JSON.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    print(&text)
}

/// An error and its causes in one line. A cause that the error tells itself is
/// not told again.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.ends_with(&cause) {
            line.push_str(": ");
            line.push_str(&cause);
        }
    }
    escaped(&line)
}

/// Text of the guest's making without what a terminal would obey: control
/// characters as three octal digits, as in `/proc/PID/maps`.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            // Writing to a string does not fail.
            let _ = write!(escaped, "\\{:03o}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Milliseconds, for people.
pub fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(escaped("a\x1b[2Jb\nc\u{9b}é"), "a\\033[2Jb\\012c\\233é");
    }

    #[test]
    fn an_error_is_one_line_that_says_things_once() {
        let cause = io::Error::other("no\nspace");
        let error = anyhow!(cause).context("cannot write: no\nspace").context("save failed");
        assert_eq!(one_line(&error), "save failed: cannot write: no\\012space");
    }

    #[test]
    fn durations_are_in_milliseconds() {
        assert_eq!(milliseconds(Duration::from_micros(1250)), "1.2 ms");
    }
}
