//! Terminals.

use serde::{Deserialize, Serialize};
use serde_with::{hex::Hex, serde_as};

/// How many control characters the kernel keeps: `NCCS`
/// (`include/uapi/asm-generic/termbits.h`).
pub const CONTROL_CHARACTERS: usize = 19;

/// A terminal, or an end of a pseudoterminal: `struct tty_struct`.
#[serde_as]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Terminal {
    /// What it is.
    pub kind: TerminalKind,
    /// Device number of what was opened, as `stat()` gives it.
    pub rdev: u64,
    /// Device that this lies on.
    pub dev: u64,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The session that it controls; 0 for none. Of a pseudoterminal the
    /// master says so, as it does to a program (`TIOCGSID`).
    pub session: u32,
    /// The process group in the foreground.
    pub foreground: u32,
    /// Of a master, whether the other end cannot be opened yet (`TIOCSPTLCK`).
    pub locked: bool,
    /// Of a master, whether it tells of changes at the other end (`TIOCPKT`).
    pub packet_mode: bool,
    /// Its settings; `None` where it was hung up.
    pub settings: Option<TerminalSettings>,
    /// What was written at the other end and not read yet: written there again, it
    /// comes to be the same.
    #[serde_as(as = "Hex")]
    pub unread: Vec<u8>,
}

/// What a terminal is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TerminalKind {
    /// The master of the pseudoterminal `/dev/pts/INDEX`.
    PtyMaster {
        /// Its number.
        index: u32,
    },
    /// The pseudoterminal `/dev/pts/INDEX`.
    PtySlave {
        /// Its number.
        index: u32,
    },
    /// Whatever controls the session of who has it: `/dev/tty`.
    Controlling,
}

/// How a terminal is set up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TerminalSettings {
    /// Modes, speed and control characters.
    pub termios: Termios,
    /// Which of these may not be changed (`TIOCSLCKTRMIOS`).
    pub termios_locked: Termios,
    /// The size of its window.
    pub winsize: WindowSize,
}

/// `struct termios` as `TCGETS` gives it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Termios {
    /// Input modes.
    pub iflag: u32,
    /// Output modes.
    pub oflag: u32,
    /// Speed and frame.
    pub cflag: u32,
    /// Local modes.
    pub lflag: u32,
    /// Line discipline.
    pub line: u8,
    /// Control characters.
    pub cc: [u8; CONTROL_CHARACTERS],
}

/// `struct winsize`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
    /// Width in pixels.
    pub width: u16,
    /// Height in pixels.
    pub height: u16,
}
