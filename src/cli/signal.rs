//! `ovmigrate signal`.

use std::str::FromStr;

use anyhow::Result;
use clap::Args;
use ovmigrate::control::{self, Effect};
use serde_json::json;

use super::TargetArgs;
use super::output::{print, print_json};

/// Send a signal to a process from outside the VM.
///
/// The signal is written into the guest kernel's pending set while the VM
/// stands still for about a millisecond; then it is waited until it took
/// effect. A handler sees it as sent by user 0 and PID 0. A process that
/// `ovmigrate freeze` holds dies on KILL and keeps anything else for later.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  $ ovmigrate signal --domain vm1 --pid 1234 STOP
  process 1234 (nginx) is stopped")]
pub struct Signal {
    #[command(flatten)]
    target: TargetArgs,
    /// The signal: STOP, SIGSTOP or 19; real-time signals by number (up to 64).
    #[arg(value_parser = parse)]
    signal: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Signal {
    pub fn run(self) -> Result<()> {
        let ((comm, effect), pauses) = self.target.act(|attachment, target, deadline| {
            let effect = control::send(&attachment.domain, &target, self.signal, deadline)?;
            Ok((target.comm().to_owned(), effect))
        })?;
        if self.json {
            return print_json(&json!({
                "pid": self.target.pid,
                "comm": comm,
                "signal": self.signal,
                "effect": effect,
                "vm_paused": pauses,
            }));
        }
        let comm = super::output::escaped(&comm);
        print(&format!("process {} ({comm}) {}\n", self.target.pid, describe(effect)))
    }
}

fn describe(effect: Effect) -> &'static str {
    match effect {
        Effect::Stopped => "is stopped",
        Effect::Continued => "is not stopped any more",
        Effect::Killed => "has ended",
        Effect::Delivered => "has taken the signal",
        Effect::Ignored => "ignores the signal",
        Effect::Pending => {
            "has the signal pending: its threads block it, are stopped or are frozen"
        }
    }
}

/// A signal by name, with or without `SIG`, or by number.
fn parse(text: &str) -> Result<u32, String> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Ok(number) = name.parse() {
        return match number {
            1..=64 => Ok(number),
            _ => Err("signals are numbered from 1 to 64".into()),
        };
    }
    nix::sys::signal::Signal::from_str(&format!("SIG{name}"))
        .map(|signal| signal as u32)
        .map_err(|_| "no such signal".into())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn signals_have_names_and_numbers() {
        for text in ["KILL", "SIGKILL", "kill", "9"] {
            assert_eq!(parse(text), Ok(9));
        }
        assert_eq!(parse("USR1"), Ok(10));
        assert_eq!(parse("64"), Ok(64));
        for text in ["0", "65", "-9", "SIG", "NONE", "", "99999999999"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
