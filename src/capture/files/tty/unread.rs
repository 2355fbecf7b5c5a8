//! What waits to be read from a pseudoterminal.
//!
//! Restore writes it at the other end, and what is between the ends does with it
//! what it does with all input and output (`drivers/tty/n_tty.c`). So it is told
//! here what is to be written for the same to come out, where there is anything.

use crate::linux::{NTtyData, Struct, Tty, UnreadInput};
use crate::snapshot::{Id, TerminalKind, Termios};

use super::super::super::error::CaptureError;
use super::super::super::obstacle::Obstacle;
use super::super::{Files, Reading};
use super::{KnownTty, termios};

/// What a pseudoterminal takes in one go while nobody reads, in bytes
/// (`pty_common_install()`, `drivers/tty/pty.c`).
const LIMIT: usize = 8192;
/// How much the line discipline takes before what follows waits elsewhere.
const FULL: usize = 4095;

/// Modes (`include/uapi/asm-generic/termbits.h` and its kind).
mod mode {
    pub const ISTRIP: u32 = 0o40;
    pub const PARMRK: u32 = 0o10;
    pub const INLCR: u32 = 0o100;
    pub const IGNCR: u32 = 0o200;
    pub const ICRNL: u32 = 0o400;
    pub const IUCLC: u32 = 0o1000;
    pub const IXON: u32 = 0o2000;
    pub const OPOST: u32 = 0o1;
    pub const OLCUC: u32 = 0o2;
    pub const ONLCR: u32 = 0o4;
    pub const OCRNL: u32 = 0o10;
    pub const ONOCR: u32 = 0o20;
    pub const XTABS: u32 = 0o14_000;
    pub const ISIG: u32 = 0o1;
    pub const ICANON: u32 = 0o2;
    pub const ECHO: u32 = 0o10;
    pub const ECHONL: u32 = 0o100;
    pub const IEXTEN: u32 = 0o100_000;
}

/// Places in `c_cc`.
mod place {
    pub const INTR: usize = 0;
    pub const QUIT: usize = 1;
    pub const ERASE: usize = 2;
    pub const KILL: usize = 3;
    pub const EOF: usize = 4;
    pub const START: usize = 8;
    pub const STOP: usize = 9;
    pub const SUSP: usize = 10;
    pub const EOL: usize = 11;
    pub const REPRINT: usize = 12;
    pub const WERASE: usize = 14;
    pub const LNEXT: usize = 15;
    pub const EOL2: usize = 16;
}

type Written = Result<Vec<u8>, String>;

/// What waits at an end of a pseudoterminal.
struct Unread {
    /// Which of the terminals the end is, if it is open.
    end: Option<usize>,
    count: usize,
    written: Written,
}

impl<'k> Files<'k> {
    /// Reads what waits in all pseudoterminals, and notes where it cannot be
    /// restored.
    pub(in super::super::super) fn read_unread(&mut self) -> Result<Vec<Obstacle>, CaptureError> {
        let mut found = Vec::new();
        if self.reading == Reading::Survey {
            // By then it may have been read.
            return Ok(found);
        }
        for position in 0..self.ttys.len() {
            let KnownTty { tty, kind, .. } = self.ttys[position];
            let TerminalKind::PtyMaster { .. } = kind else { continue };
            let Some(slave) = tty.link()? else { continue };
            let settings = termios(&slave.termios()?)?;
            let other = self.ttys.iter().position(|known| {
                let is_slave = matches!(known.kind, TerminalKind::PtySlave { .. });
                known.tty.addr() == slave.addr() && !known.is_hung_up && is_slave
            });
            let (output, input) = (waiting(&tty)?, waiting(&slave)?);
            let ends = [
                (Some(position), output.len(), output_again(&settings, &output)),
                (other, input.len(), input_again(&settings, &input)),
            ];
            for (end, count, written) in ends.into_iter().filter(|(_, count, _)| *count > 0) {
                // Where nobody has the other end, nobody writes to it.
                let written = match other.is_some() {
                    true => written,
                    false => Err("its other end is closed".into()),
                };
                if let Err(why) = self.keep_unread(Unread { end, count, written }) {
                    let KnownTty { subject, holder, .. } = &self.ttys[position];
                    found.push(subject.obstacle(format!("{holder} is a terminal {why}")));
                }
            }
        }
        found.extend(self.unread_of_shell()?);
        Ok(found)
    }

    fn keep_unread(&mut self, unread: Unread) -> Result<(), String> {
        let Unread { end, count, written } = unread;
        let refused = |why: &str| format!("with {count} bytes that were not read: {why}");
        let written = written.map_err(|why| refused(&why))?;
        if written.len() > LIMIT {
            return Err(refused("more than restore can write"));
        }
        let terminal = end.and_then(|end| self.tables.terminals.get_mut(Id::new(end as u32)));
        let terminal = terminal.ok_or_else(|| refused("that end is closed"))?;
        terminal.unread = written;
        Ok(())
    }
}

/// What waits in a terminal, each byte with whether it ends a line.
pub(super) fn waiting(tty: &Tty<'_>) -> Result<Vec<(u8, bool)>, CaptureError> {
    let read = |data: Option<NTtyData<'_>>| data.map_or(Ok(UnreadInput::default()), |d| d.unread());
    let mut bytes = read(tty.n_tty()?)?.bytes;
    if let Some(port) = tty.port()? {
        let buffers = port.buf()?;
        let pending = buffers.pending()?;
        // It is on its way.
        if buffers.is_locked()? || !pending.is_empty() && bytes.len() < FULL {
            return Err(CaptureError::BusyTerminal);
        }
        bytes.extend(pending.into_iter().map(|byte| (byte, byte == b'\n')));
    }
    Ok(bytes)
}

/// What to write to a pseudoterminal for its master to read `bytes`:
/// `do_output_char()`.
fn output_again(termios: &Termios, bytes: &[(u8, bool)]) -> Written {
    let has = |mode: u32| termios.oflag & mode != 0;
    let bytes: Vec<u8> = bytes.iter().map(|(byte, _)| *byte).collect();
    if !has(mode::OPOST) {
        return Ok(bytes);
    }
    let refuse = |what: &str| Err(format!("written again, it would change ({what})"));
    for &byte in &bytes {
        match byte {
            b'\r' if has(mode::OCRNL) => return refuse("OCRNL"),
            b'\r' if has(mode::ONOCR) => return refuse("ONOCR"),
            b'\t' if termios.oflag & mode::XTABS == mode::XTABS => return refuse("XTABS"),
            b'a'..=b'z' if has(mode::OLCUC) => return refuse("OLCUC"),
            _ => {}
        }
    }
    if !has(mode::ONLCR) {
        return Ok(bytes);
    }
    let mut written: Vec<u8> = Vec::new();
    for byte in bytes {
        if byte == b'\n' && written.pop_if(|before| *before == b'\r').is_none() {
            return refuse("ONLCR");
        }
        written.push(byte);
    }
    Ok(written)
}

/// What to write to a master for the other end to read `bytes`:
/// `n_tty_receive_char_special()`.
fn input_again(termios: &Termios, bytes: &[(u8, bool)]) -> Written {
    let (iflag, lflag) = (termios.iflag, termios.lflag);
    let by_lines = lflag & mode::ICANON != 0;
    let refuse = |what: &str| Err(format!("written again, it would {what}"));
    let echoes = |byte: u8| {
        lflag & mode::ECHO != 0 || by_lines && byte == b'\n' && lflag & mode::ECHONL != 0
    };
    let mut written = Vec::new();
    for &(byte, ends) in bytes {
        let is = |places: &[usize]| byte != 0 && places.iter().any(|&at| termios.cc[at] == byte);
        if echoes(byte) {
            return refuse("be echoed (ECHO)");
        }
        if is_changed(termios, byte) {
            return refuse("change");
        }
        let signals = lflag & mode::ISIG != 0 && is(&[place::INTR, place::QUIT, place::SUSP]);
        let stops = iflag & mode::IXON != 0 && is(&[place::START, place::STOP]);
        if signals || stops {
            return refuse("be a signal or stop the output");
        }
        if !by_lines {
            written.push(byte);
            continue;
        }
        let extended = lflag & mode::IEXTEN != 0;
        let edits = is(&[place::ERASE, place::KILL, place::EOF])
            || extended && is(&[place::WERASE, place::LNEXT, place::REPRINT]);
        let is_end = byte == b'\n' || is(&[place::EOL]) || extended && is(&[place::EOL2]);
        match (byte, ends) {
            _ if edits => return refuse("edit the line"),
            // What stands for the end of the file.
            (0, true) if termios.cc[place::EOF] != 0 => written.push(termios.cc[place::EOF]),
            _ if is_end != ends => return refuse("be lines of other lengths"),
            _ => written.push(byte),
        }
    }
    Ok(written)
}

/// Whether what comes in becomes something else, or nothing.
fn is_changed(termios: &Termios, byte: u8) -> bool {
    let has = |mode: u32| termios.iflag & mode != 0;
    match byte {
        b'\r' => has(mode::IGNCR | mode::ICRNL),
        b'\n' => has(mode::INLCR),
        b'A'..=b'Z' => has(mode::IUCLC) && termios.lflag & mode::IEXTEN != 0,
        0xff => has(mode::ISTRIP | mode::PARMRK),
        0x80.. => has(mode::ISTRIP),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn termios(iflag: u32, oflag: u32, lflag: u32) -> Termios {
        let cc = [3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0, 0, 0];
        Termios { iflag, oflag, lflag, cc, ..Termios::default() }
    }

    #[test]
    fn what_was_processed_on_its_way_out_is_taken_back() {
        let of = |oflag, bytes: &[u8]| {
            let bytes: Vec<_> = bytes.iter().map(|byte| (*byte, false)).collect();
            output_again(&termios(0, oflag, 0), &bytes)
        };
        let usual = mode::OPOST | mode::ONLCR;
        assert_eq!(of(usual, b"one\r\ntwo\r\r\n\tthree\r").unwrap(), b"one\ntwo\r\n\tthree\r");
        assert_eq!(of(0, b"one\ntwo\r\n").unwrap(), b"one\ntwo\r\n");
        assert_eq!(of(mode::OPOST, b"one\ntwo\r\n").unwrap(), b"one\ntwo\r\n");
        // Written before the mode was set.
        assert!(of(usual, b"one\n").unwrap_err().contains("ONLCR"));
        assert!(of(usual, b"\r\n\n").is_err());
        for (mode, bytes) in
            [(mode::OCRNL, b"\r"), (mode::ONOCR, b"\r"), (mode::XTABS, b"\t"), (mode::OLCUC, b"a")]
        {
            assert!(of(mode::OPOST | mode, bytes).is_err(), "{mode:#o}");
            assert!(of(mode, bytes).is_ok(), "{mode:#o}");
        }
    }

    fn input(iflag: u32, lflag: u32, bytes: &[u8], ends: &[usize]) -> Written {
        let bytes: Vec<_> =
            bytes.iter().enumerate().map(|(at, byte)| (*byte, ends.contains(&at))).collect();
        input_again(&termios(iflag, 0, lflag), &bytes)
    }

    #[test]
    fn raw_input_comes_in_again_as_it_is() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(input(0, 0, &all, &[]).unwrap(), all);
        for (iflag, lflag, byte) in [
            (mode::ICRNL, 0, b'\r'),
            (mode::IGNCR, 0, b'\r'),
            (mode::INLCR, 0, b'\n'),
            (mode::ISTRIP, 0, 0x80),
            (mode::PARMRK, 0, 0xff),
            (mode::IUCLC, mode::IEXTEN, b'A'),
            (mode::IXON, 0, 19),
            (0, mode::ISIG, 3),
            (0, mode::ECHO, b'a'),
        ] {
            assert!(input(iflag, lflag, &[byte], &[]).is_err(), "{iflag:#o} {lflag:#o} {byte}");
            assert!(input(iflag, lflag & !mode::ECHO, b"b", &[]).is_ok());
        }
    }

    #[test]
    fn lines_end_where_they_did() {
        let lines = mode::ICANON | mode::IEXTEN;
        assert_eq!(input(0, lines, b"a\nb\nc", &[1, 3]).unwrap(), b"a\nb\nc");
        // A line, the end of the file, and a part of a line behind it.
        assert_eq!(input(0, lines, b"a\n\0b", &[1, 2]).unwrap(), b"a\n\x04b");
        assert_eq!(input(0, lines, b"a\0", &[]).unwrap(), b"a\0");
        // Quoted, and of a time without lines.
        assert!(input(0, lines, b"a\nb", &[]).is_err());
        assert!(input(0, lines, b"ab", &[1]).is_err());
        for byte in [127, 21, 4, 23, 22, 18] {
            assert!(input(0, lines, &[byte], &[]).is_err(), "{byte}");
            assert!(input(0, 0, &[byte], &[]).is_ok(), "{byte}");
        }
        assert!(input(0, lines | mode::ECHONL, b"a\n", &[1]).is_err());
        assert!(input(0, lines | mode::ECHONL, b"a", &[]).is_ok());
    }
}
