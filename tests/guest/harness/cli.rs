//! Running the `ovmigrate` under test.

use std::process::{Command, ExitStatus};

use serde_json::Value;

use super::access;

/// What a run of `ovmigrate` gave.
#[derive(Debug)]
pub struct Run {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `ovmigrate` to its end; one that hangs is ended.
pub fn ovmigrate<S: AsRef<str>>(args: impl IntoIterator<Item = S>) -> Run {
    let command = command(args);
    let output = Command::new("timeout")
        .args(["--kill-after=5", "180"])
        .arg(command.get_program())
        .args(command.get_args())
        .output()
        .expect("coreutils are installed");
    Run {
        status: output.status,
        stdout: String::from_utf8(output.stdout).expect("output is text"),
        stderr: String::from_utf8(output.stderr).expect("messages are text"),
    }
}

/// An `ovmigrate` that the caller starts.
pub fn command<S: AsRef<str>>(args: impl IntoIterator<Item = S>) -> Command {
    let args: Vec<String> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ovmigrate"));
    command.args(&args).args(access::arguments(&args));
    command
}

impl Run {
    /// The output of a run that succeeded.
    #[track_caller]
    pub fn stdout(self) -> String {
        assert!(self.status.success(), "ovmigrate failed: {self:?}");
        self.stdout
    }

    /// The output of a run that succeeded, parsed.
    #[track_caller]
    pub fn json(self) -> Value {
        serde_json::from_str(&self.stdout()).expect("the output is JSON")
    }

    /// The message of a run that failed as commands are to fail: with exit
    /// status 1 and one line.
    #[track_caller]
    pub fn error(self) -> String {
        assert_eq!(self.status.code(), Some(1), "{self:?}");
        let message = self.stderr.strip_prefix("error: ").expect(&self.stderr);
        assert_eq!(message.lines().count(), 1, "more than one line: {message}");
        message.trim_end().to_owned()
    }

    /// The lines on standard error of a run that failed.
    #[track_caller]
    pub fn failure(self) -> String {
        assert_eq!(self.status.code(), Some(1), "{self:?}");
        self.stderr
    }
}
