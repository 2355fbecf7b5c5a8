//! Terminals, and `tty-info.img` and `tty-data.img`.

use std::collections::HashSet;

use super::super::container::{ImageKind, ImageWriter};
use super::super::{EncodeError, ImageSet, Images, proto};
use super::owner;
use crate::snapshot::{
    CONTROL_CHARACTERS, Id, OpenFile, Snapshot, Terminal, TerminalKind, Termios, WindowSize,
};

/// The number that CRIU has for `/dev/tty` (`CTTY_INDEX`, `criu/tty.c`). It has
/// one, and takes no number above 2048.
const CONTROLLING: u32 = 1006;

/// What is open of a terminal.
pub fn opened(
    snapshot: &Snapshot,
    id: u32,
    file: &OpenFile,
    terminal: Id<Terminal>,
    regf_id: u32,
) -> Result<proto::TtyFileEntry, EncodeError> {
    Ok(proto::TtyFileEntry {
        id,
        tty_info_id: number(snapshot, terminal)?,
        flags: file.flags,
        fown: owner(file.owner),
        regf_id: Some(regf_id),
    })
}

/// The images of all terminals, if there are any.
pub fn add_images(snapshot: &Snapshot, images: &mut Images) -> Result<(), EncodeError> {
    if snapshot.terminals.is_empty() {
        return Ok(());
    }
    let mut info = ImageWriter::new(ImageKind::TtyInfo);
    let mut data = ImageWriter::new(ImageKind::TtyData);
    let mut has_data = false;
    // CRIU links a master with the next record of its index, and so with the
    // first that the other end has, which is the one whose data it takes
    // (`tty_setup_slavery()`, `criu/tty.c`).
    let mut sorted: Vec<_> = snapshot.terminals.iter().collect();
    sorted.sort_by_key(|(_, terminal)| order(terminal.kind));
    for (id, terminal) in sorted {
        let number = number(snapshot, id)?;
        info.record(&entry(snapshot, number, terminal))?;
        if !terminal.unread.is_empty() {
            has_data = true;
            data.record(&proto::TtyDataEntry { tty_id: number, data: terminal.unread.clone() })?;
        }
    }
    images.add(ImageKind::TtyInfo, 0, info.finish());
    if has_data {
        images.add(ImageKind::TtyData, 0, data.finish());
    }
    Ok(())
}

fn order(kind: TerminalKind) -> u32 {
    match kind {
        TerminalKind::PtyMaster { .. } => 0,
        TerminalKind::PtySlave { .. } => 1,
        TerminalKind::Controlling => 2,
    }
}

/// As CRIU numbers them (`tty_gen_id()`, `criu/tty.c`), but that it has one
/// `/dev/tty` for all sessions.
fn number(snapshot: &Snapshot, id: Id<Terminal>) -> Result<u32, EncodeError> {
    let terminal = snapshot.terminals.get(id).ok_or(EncodeError::Dangling("terminal"))?;
    Ok(match terminal.kind {
        TerminalKind::PtyMaster { index } => index.saturating_mul(2).saturating_add(1),
        TerminalKind::PtySlave { index } => index.saturating_mul(2),
        TerminalKind::Controlling => {
            let before = snapshot.terminals.iter().take_while(|(other, _)| *other != id);
            let before = before.filter(|(_, other)| other.kind == terminal.kind).count();
            (before as u32).saturating_add(CONTROLLING).saturating_mul(2)
        }
    })
}

fn entry(snapshot: &Snapshot, id: u32, terminal: &Terminal) -> proto::TtyInfoEntry {
    let (kind, index) = match terminal.kind {
        TerminalKind::PtyMaster { index } | TerminalKind::PtySlave { index } => {
            (proto::TtyType::Pty, Some(index))
        }
        TerminalKind::Controlling => (proto::TtyType::Ctty, None),
    };
    // CRIU locks settings before it makes them, with the master and then with the
    // other end again: so they are made with the one and locked with the other.
    let is_locked_later = is_made_again(snapshot, terminal.kind);
    let locked = |locked: Termios| if is_locked_later { Termios::default() } else { locked };
    let settings = terminal.settings.as_ref();
    proto::TtyInfoEntry {
        id,
        r#type: kind as i32,
        locked: terminal.locked,
        exclusive: false,
        packet_mode: terminal.packet_mode,
        sid: terminal.session,
        pgrp: terminal.foreground,
        rdev: terminal.rdev as u32,
        termios: settings.map(|settings| termios(settings.termios)),
        termios_locked: settings.map(|settings| termios(locked(settings.termios_locked))),
        winsize: settings.map(|settings| winsize(settings.winsize)),
        pty: index.map(|index| proto::TtyPtyEntry { index }),
        dev: Some(terminal.dev as u32),
        uid: Some(terminal.uid),
        gid: Some(terminal.gid),
    }
}

/// Whether a terminal is a master whose other end is open as well.
fn is_made_again(snapshot: &Snapshot, kind: TerminalKind) -> bool {
    let TerminalKind::PtyMaster { index } = kind else { return false };
    let other = TerminalKind::PtySlave { index };
    snapshot.terminals.iter().any(|(_, terminal)| terminal.kind == other)
}

fn termios(termios: Termios) -> proto::TermiosEntry {
    // Copied as bytes (`termios_copy()`).
    let mut bytes = [0; CONTROL_CHARACTERS * 4];
    bytes[..CONTROL_CHARACTERS].copy_from_slice(&termios.cc);
    proto::TermiosEntry {
        c_iflag: termios.iflag,
        c_oflag: termios.oflag,
        c_cflag: termios.cflag,
        c_lflag: termios.lflag,
        c_line: termios.line.into(),
        c_ispeed: 0,
        c_ospeed: 0,
        c_cc: bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect(),
    }
}

fn winsize(size: WindowSize) -> proto::WinsizeEntry {
    proto::WinsizeEntry {
        ws_row: size.rows.into(),
        ws_col: size.columns.into(),
        ws_xpixel: size.width.into(),
        ws_ypixel: size.height.into(),
    }
}

impl ImageSet {
    /// The session of the root, where that is of a shell outside.
    pub fn session_of_shell(&self) -> Option<u32> {
        let root = self.processes.first().map(|process| &process.pstree)?;
        (root.sid != root.pid).then_some(root.sid)
    }

    /// Pseudoterminals that were not hung up, but whose master is not in the set.
    pub fn terminals_without_master(&self) -> impl Iterator<Item = &proto::TtyInfoEntry> {
        let is_master = |info: &proto::TtyInfoEntry| info.pty.is_some() && info.id % 2 == 1;
        let index = |info: &proto::TtyInfoEntry| info.pty.map(|pty| pty.index);
        let masters = self.terminals.iter().filter(|info| is_master(info));
        let masters: HashSet<Option<u32>> = masters.map(index).collect();
        let has_master = move |info: &proto::TtyInfoEntry| masters.contains(&index(info));
        self.terminals.iter().filter(move |info| {
            info.pty.is_some() && info.termios.is_some() && !is_master(info) && !has_master(info)
        })
    }
}
