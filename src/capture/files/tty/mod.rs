//! Terminals.

mod control;
mod shell;
mod unread;

use std::collections::HashMap;

use crate::kernel::KernelError;
use crate::linux::{File, Inode, Ktermios, Pid, Struct, Tty, TtyFilePrivate, TtyFlag, TtyKind};
use crate::memory::GuestVirt;
use crate::snapshot::{
    FileOwner, FilePath, Id, OpenFile, OpenFileKind, Terminal, TerminalKind, TerminalSettings,
    Termios, WindowSize,
};

use super::super::error::CaptureError;
use super::super::obstacle::{Obstacles, Subject};
use super::outside::{Shared, Thing};
use super::{FASYNC, Files, Reading, owner, path};

pub(super) use shell::Shell;

/// What CRIU has room for (`MAX_PTY_INDEX`, `criu/tty.c`).
const MAX_INDEX: u32 = 1000;
/// More terminals than that CRIU has no numbers for.
const MAX_TERMINALS: usize = 2 * (MAX_INDEX as usize + 1);
/// Open files of a terminal that are told of as those of others.
const MAX_FOREIGN: usize = 16;
/// Mode bits (`include/uapi/asm-generic/termbits.h`).
const CBAUD: u32 = 0o10_017;
const BOTHER: u32 = 0o10_000;
const IBSHIFT: u32 = 16;
const EXTPROC: u32 = 0o200_000;

/// What is known of a terminal in the guest.
pub(super) struct KnownTty<'k> {
    tty: Tty<'k>,
    kind: TerminalKind,
    /// Whether it was hung up when these files were open: nothing is to be done
    /// with them but to close them.
    is_hung_up: bool,
    /// Who has it first.
    subject: Subject,
    holder: String,
}

impl<'k> Files<'k> {
    /// An open terminal.
    pub(super) fn terminal(
        &mut self,
        file: &File<'k>,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<Option<OpenFileKind>, CaptureError> {
        let (Some(tty), Some(inode)) = (file.tty()?, file.inode()?) else {
            obstacles.add(format!("{holder} is a terminal without its structure"));
            return Ok(None);
        };
        let kind = match kind(&tty, &inode)? {
            Ok(kind) => kind,
            Err(what) => {
                obstacles.add(format!("{holder} is {what}"));
                return Ok(None);
            }
        };
        let is_hung_up = file.kernel().symbol("hung_up_tty_fops") == Some(file.op()?);
        let path = match (is_hung_up, kind) {
            (true, TerminalKind::PtySlave { index }) => self.path_of_hung_up(&inode, index)?,
            (true, _) => {
                obstacles.add(format!("{holder} is {} that was hung up", name(kind)));
                return Ok(None);
            }
            (false, _) => match self.path(&file.path()?, holder, obstacles)? {
                Some(path) => path,
                None => return Ok(None),
            },
        };
        let lies_there = self.tables.paths.get(path).is_some_and(|path| is_usual(path, kind));
        obstacles.add_if(!lies_there, format!("{holder} is a terminal elsewhere than in /dev/pts"));
        // It is opened with the flag, which then does nothing.
        let signals_io = file.flags()? & FASYNC != 0;
        obstacles.add_if(signals_io, format!("{holder} is {} that signals I/O", name(kind)));
        // CRIU opens others itself and does no more with them (`tty_open()`,
        // `criu/tty.c`).
        let is_passed_on = matches!(kind, TerminalKind::PtySlave { .. }) && !is_hung_up;
        let is_told = owner::read(file)? != FileOwner::default();
        obstacles.add_if(
            is_told && !is_passed_on,
            format!("{holder} is {} with an owner for signals (F_SETOWN)", name(kind)),
        );
        let (subject, holder) = (obstacles.subject(), holder.to_owned());
        let opened = KnownTty { tty, kind, is_hung_up, subject, holder };
        let terminal = self.known_terminal(opened, &inode, obstacles)?;
        Ok(Some(OpenFileKind::Terminal { terminal, path }))
    }

    /// The name of a terminal went with its master.
    fn path_of_hung_up(
        &mut self,
        inode: &Inode<'k>,
        index: u32,
    ) -> Result<Id<FilePath>, CaptureError> {
        self.kept(FilePath {
            path: format!("/dev/pts/{index}").into_bytes().into(),
            mode: inode.mode()?,
            size: 0,
            dev: path::device(inode)?,
            ino: inode.ino()?,
            ghost: None,
        })
    }

    fn known_terminal(
        &mut self,
        opened: KnownTty<'k>,
        inode: &Inode<'k>,
        obstacles: &mut Obstacles,
    ) -> Result<Id<Terminal>, CaptureError> {
        let KnownTty { tty, kind, is_hung_up, ref holder, .. } = opened;
        let same = |known: &KnownTty<'_>| {
            (known.tty.addr(), known.kind, known.is_hung_up) == (tty.addr(), kind, is_hung_up)
        };
        if let Some(known) = self.ttys.iter().position(same) {
            return Ok(Id::new(known as u32));
        }
        if self.ttys.len() >= MAX_TERMINALS {
            obstacles.add(format!("{holder} is a terminal beyond {MAX_TERMINALS} others"));
            return Ok(Id::new(0));
        }
        let is_master = matches!(kind, TerminalKind::PtyMaster { .. });
        let (mut control, mut own) = ((0, 0), None);
        if !is_hung_up {
            for why in unsupported(&tty)? {
                obstacles.add(format!("{holder} is a terminal {why}"));
            }
            control = control_of(&tty, kind)?;
            // A master has those of the other end.
            let other = if is_master { tty.link()? } else { None };
            own = Some(settings(&other.unwrap_or(tty))?);
        }
        let id = self.tables.terminals.push(Terminal {
            kind,
            rdev: path::encoded_device(inode.rdev()?),
            dev: path::device(inode)?,
            uid: inode.uid()?,
            gid: inode.gid()?,
            session: control.0,
            foreground: control.1,
            locked: is_master && tty.has(TtyFlag::PtyLock)?,
            packet_mode: is_master && tty.packet()?,
            settings: own,
            unread: Vec::new(),
        });
        self.ttys.push(opened);
        Ok(id)
    }
}

/// What an open terminal is, or, in words, what it is that is not supported.
fn kind(tty: &Tty<'_>, inode: &Inode<'_>) -> Result<Result<TerminalKind, String>, KernelError> {
    let rdev = inode.rdev()?;
    let (major, minor) = (rdev >> 20, rdev & 0xf_ffff);
    let index = tty.index()?;
    let of_pty = |kind| match index <= MAX_INDEX {
        true => Ok(kind),
        false => {
            Err(format!("a pseudoterminal above /dev/pts/{MAX_INDEX}, of which CRIU has none"))
        }
    };
    Ok(match (major, minor, tty.kind()?) {
        (5, 0, _) => Ok(TerminalKind::Controlling),
        (5, 2, TtyKind::PtyMaster) => of_pty(TerminalKind::PtyMaster { index }),
        (136..=143, _, TtyKind::PtySlave) => of_pty(TerminalKind::PtySlave { index }),
        _ => Err(device(major, minor)),
    })
}

/// A terminal of the VM in words. Of serial lines CRIU knows those of USB alone
/// (`get_tty_driver()`, `criu/tty.c`). Others it opens again, but what makes them what
/// they are stays with the VM: the screen and keyboard of a virtual console, or
/// whatever is at the other end of a line.
fn device(major: u32, minor: u32) -> String {
    match (major, minor) {
        (4, 0..64) => format!("the virtual console /dev/tty{minor}"),
        (4, _) => format!("the serial line /dev/ttyS{}", minor.saturating_sub(64)),
        (5, 1) => "the console of the VM (/dev/console)".to_owned(),
        (188, _) => format!("the serial line /dev/ttyUSB{minor}"),
        (229, _) => format!("the console /dev/hvc{minor}"),
        _ => format!("the terminal device {major}:{minor}"),
    }
}

/// Whether a terminal lies where restore looks for the other end of it.
fn is_usual(path: &FilePath, kind: TerminalKind) -> bool {
    let path = path.path.as_bytes();
    match kind {
        TerminalKind::PtyMaster { .. } => matches!(path, b"/dev/ptmx" | b"/dev/pts/ptmx"),
        TerminalKind::PtySlave { index } => path == format!("/dev/pts/{index}").as_bytes(),
        TerminalKind::Controlling => path == b"/dev/tty",
    }
}

/// A terminal in words.
fn name(kind: TerminalKind) -> &'static str {
    match kind {
        TerminalKind::PtyMaster { .. } => "a pseudoterminal master",
        TerminalKind::PtySlave { .. } => "a pseudoterminal",
        TerminalKind::Controlling => "the controlling terminal (/dev/tty)",
    }
}

/// What CRIU does not restore of a terminal, as clauses that follow its name.
fn unsupported(tty: &Tty<'_>) -> Result<Vec<&'static str>, KernelError> {
    let termios = tty.termios()?;
    let (cflag, lflag) = (termios.cflag()?, termios.lflag()?);
    let has_speed = |bits: u32| bits & CBAUD == BOTHER;
    let tells = tty.link()?.map_or(Ok(false), |link| link.packet())?;
    let Some(n_tty) = tty.n_tty()? else {
        return Ok(vec!["with a line discipline other than N_TTY"]);
    };
    let all = [
        (tty.has(TtyFlag::Exclusive)?, "that nobody else may open (TIOCEXCL)"),
        (tty.stopped()? || tty.flow_stopped()?, "whose output is stopped (^S)"),
        (has_speed(cflag) || has_speed(cflag >> IBSHIFT), "with a speed that has no name (BOTHER)"),
        (lflag & EXTPROC != 0, "whose input is edited elsewhere (EXTPROC)"),
        (tells && tty.pktstatus()? != 0, "with a change that its packet mode has yet to tell"),
        (n_tty.lnext()?, "that waits for the character after VLNEXT"),
        (n_tty.echo_head()? != n_tty.echo_tail()?, "with echoes that were not written yet"),
    ];
    Ok(all.into_iter().filter(|(is_so, _)| *is_so).map(|(_, why)| why).collect())
}

/// The session that a terminal controls and the group in its foreground, as
/// CRIU has them: with a pseudoterminal's master (`TIOCGSID`).
fn control_of(tty: &Tty<'_>, kind: TerminalKind) -> Result<(u32, u32), KernelError> {
    let controls = match kind {
        TerminalKind::PtyMaster { .. } => tty.link()?,
        TerminalKind::PtySlave { .. } => None,
        TerminalKind::Controlling => Some(*tty),
    };
    let Some(tty) = controls else { return Ok((0, 0)) };
    let number = |pid: Option<Pid<'_>>| pid.map_or(Ok(0), |pid| pid.global());
    let session = number(tty.session()?)?.cast_unsigned();
    let foreground = if session == 0 { 0 } else { number(tty.pgrp()?)?.cast_unsigned() };
    Ok((session, foreground))
}

fn settings(tty: &Tty<'_>) -> Result<TerminalSettings, KernelError> {
    let winsize = tty.winsize()?;
    Ok(TerminalSettings {
        termios: termios(&tty.termios()?)?,
        termios_locked: termios(&tty.termios_locked()?)?,
        winsize: WindowSize {
            rows: winsize.row()?,
            columns: winsize.col()?,
            width: winsize.xpixel()?,
            height: winsize.ypixel()?,
        },
    })
}

fn termios(termios: &Ktermios<'_>) -> Result<Termios, KernelError> {
    Ok(Termios {
        iflag: termios.iflag()?,
        oflag: termios.oflag()?,
        cflag: termios.cflag()?,
        lflag: termios.lflag()?,
        line: termios.line()?,
        cc: termios.cc()?,
    })
}

impl<'k> KnownTty<'k> {
    /// Open files of a terminal, or of its other end, that are not among those
    /// that are saved.
    pub(super) fn shared(
        &self,
        saved: &HashMap<GuestVirt, Id<OpenFile>>,
        reading: Reading,
    ) -> Result<Vec<Shared<'_>>, KernelError> {
        let hung_up = self.tty.kernel().symbol("hung_up_tty_fops");
        let mut shared = Vec::new();
        if self.is_hung_up {
            return Ok(shared);
        }
        for tty in [Some(self.tty), self.tty.link()?].into_iter().flatten() {
            for private in tty.files()?.entries::<TtyFilePrivate<'_>>("list") {
                let Some(file) = private?.file()? else { continue };
                let is_foreign = !saved.contains_key(&file.addr()) && Some(file.op()?) != hung_up;
                if is_foreign && shared.len() < MAX_FOREIGN {
                    shared.push(Shared {
                        thing: Thing::File(file.addr()),
                        subject: &self.subject,
                        holder: &self.holder,
                        what: "is a terminal",
                        is_certain: reading == Reading::Contents,
                    });
                }
            }
        }
        Ok(shared)
    }
}
