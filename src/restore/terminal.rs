//! The terminal that a shell's job goes on on.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A terminal of the guest, by its path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TerminalPath(String);

/// Text that names no terminal.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{0:?} is no path of a terminal, such as /dev/pts/3")]
pub struct NoTerminalPath(String);

/// A path below `/dev` without anything that a shell takes for more.
impl FromStr for TerminalPath {
    type Err = NoTerminalPath;

    fn from_str(text: &str) -> Result<Self, NoTerminalPath> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
        match text.strip_prefix("/dev/") {
            Some(name) if !name.is_empty() && name.bytes().all(is_plain) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(NoTerminalPath(text.to_owned())),
        }
    }
}

impl fmt::Display for TerminalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_lies_in_dev() {
        for path in ["/dev/pts/3", "/dev/ttyS0", "/dev/tty-of.mine_1"] {
            assert_eq!(path.parse::<TerminalPath>().unwrap().to_string(), path);
        }
        for path in ["", "/dev/", "pts/3", "/tmp/tty", "/dev/a b", "/dev/a\nend", "/dev/$x", "-"] {
            assert!(path.parse::<TerminalPath>().is_err(), "{path:?}");
        }
    }
}
