//! Terminals and what waits to be read from them: what `criu restore` demands of
//! them stands in `criu/tty.c`.

use std::collections::{HashMap, HashSet};

use super::super::options::CheckOptions;
use crate::criu::container::ImageKind;
use crate::criu::findings::{Findings, ImageFindings};
use crate::criu::proto::{FdTypes, TermiosEntry, TtyFileEntry, TtyInfoEntry, TtyType};
use crate::criu::set::ImageSet;

/// `TERMIOS_NCC`: how many words of control characters there are to be.
const TERMIOS_NCC: usize = 19;
/// `MAX_TTYS << 1`
const MAX_ID: u32 = 2048;
/// Device numbers that CRIU knows, as `stat()` gives them: `/dev/tty`,
/// `/dev/ptmx`, and the major number of the slaves.
const DEV_TTY: u32 = 0x500;
const DEV_PTMX: u32 = 0x502;
const PTS_MAJOR: u32 = 136;
/// What a pseudoterminal takes in one go while nobody reads: more of it makes
/// restore wait for ever.
const MAX_DATA: usize = 8192;
/// How the terminal that `restore` is started on is open, but for what means
/// nothing to a terminal (`O_LARGEFILE`).
const O_RDWR: u32 = 2;
const O_LARGEFILE: u32 = 0o100_000;

/// The terminals of a set by what they are looked for.
#[derive(Default)]
pub struct Terminals<'a> {
    /// By ID, the first of several.
    by_id: HashMap<u32, &'a TtyInfoEntry>,
    /// IDs of pseudoterminals.
    ptys: HashSet<u32>,
    /// Indices of masters.
    masters: HashSet<u32>,
    /// IDs of those that lock no settings.
    not_locked: HashSet<u32>,
    /// Files by the ID of their terminal.
    files: HashMap<u32, Vec<&'a TtyFileEntry>>,
}

impl<'a> Terminals<'a> {
    pub fn of(set: &'a ImageSet) -> Self {
        let mut terminals = Self::default();
        for info in &set.terminals {
            let id = info.id;
            terminals.by_id.entry(id).or_insert(info);
            terminals.ptys.extend(info.pty.map(|_| id));
            terminals.masters.extend(info.pty.filter(|_| is_master(info)).map(|pty| pty.index));
            let locked = info.termios_locked.as_ref();
            terminals.not_locked.extend(locked.filter(|locked| is_nothing(locked)).map(|_| id));
        }
        for tty in set.files.values().filter_map(|file| file.tty.as_ref()) {
            terminals.files.entry(tty.tty_info_id).or_default().push(tty);
        }
        terminals
    }
}

/// Sessions that are led, and process groups with the sessions that they are in.
struct Sessions {
    leaders: HashSet<u32>,
    groups: HashSet<(u32, u32)>,
}

impl Sessions {
    fn of(set: &ImageSet) -> Self {
        let processes = || set.processes.iter().map(|process| &process.pstree);
        let leaders = processes().filter(|process| process.pid == process.sid);
        Self {
            leaders: leaders.map(|process| process.pid).collect(),
            groups: processes().map(|process| (process.pgid, process.sid)).collect(),
        }
    }
}

/// Restore opens it by a record that only this one refers to.
pub fn check_file(
    set: &ImageSet,
    terminals: &Terminals<'_>,
    id: u32,
    tty: &TtyFileEntry,
    found: &mut ImageFindings<'_>,
) {
    found.require(tty.id == id, "tty.id", || format!("of file {id} is {}", tty.id));
    let info = terminals.by_id.get(&tty.tty_info_id).copied();
    found.require(info.is_some(), "tty.tty_info_id", || {
        format!("{} of file {id} is not in tty-info.img", tty.tty_info_id)
    });
    let path = tty.regf_id.and_then(|id| set.files.get(&id));
    let path = path.filter(|path| path.r#type == FdTypes::Reg as i32);
    found
        .require(path.is_some(), "tty.regf_id", || format!("of file {id} is no path in files.img"));
    // That of the other end is made of it (`pty_alloc_fake_reg()`).
    let name = path.and_then(|path| path.reg.as_ref()).map(|reg| reg.name.as_slice());
    if let (Some(info), Some(name)) = (info, name) {
        let fits = match info.pty {
            Some(_) if is_master(info) => matches!(name, b"/dev/ptmx" | b"/dev/pts/ptmx"),
            Some(pty) => name == format!("/dev/pts/{}", pty.index).as_bytes(),
            None => true,
        };
        found.require(fits, "tty.regf_id", || {
            format!("of file {id} is not where such a terminal lies: {}", name.escape_ascii())
        });
    }
}

/// What terminals there are, and who restores them.
pub fn check(
    set: &ImageSet,
    terminals: &Terminals<'_>,
    options: CheckOptions,
    findings: &mut Findings,
) {
    let shell = if options.shell_job { set.session_of_shell() } else { None };
    let mut found = findings.of(ImageKind::TtyInfo, 0, None);
    let mut ids = HashSet::new();
    let sessions = Sessions::of(set);
    for info in &set.terminals {
        let id = info.id;
        found.require(ids.insert(id) && id <= MAX_ID, "id", || {
            format!("{id} is not unique, or above {MAX_ID}")
        });
        check_kind(info, &mut found);
        check_settings(terminals, info, &mut found);
        check_session(&sessions, info, shell, &mut found);
        found.require(!info.exclusive, "exclusive", || {
            format!("of terminal {id} is set, which no restore does")
        });
    }
    check_pairs(set, terminals, shell, &mut found);
    check_data(set, terminals, findings);
}

fn is_master(info: &TtyInfoEntry) -> bool {
    info.rdev == DEV_PTMX
}

/// Restore opens it with a master of its own, which it closes.
fn is_hung_up(info: &TtyInfoEntry) -> bool {
    info.termios.is_none() && info.pty.is_some() && !is_master(info)
}

fn check_kind(info: &TtyInfoEntry, found: &mut ImageFindings<'_>) {
    let id = info.id;
    let index = info.pty.map(|pty| pty.index);
    let fits = match (TtyType::try_from(info.r#type), index) {
        (Ok(TtyType::Pty), Some(index)) => {
            let (major, minor) =
                (info.rdev >> 8 & 0xfff, info.rdev & 0xff | info.rdev >> 12 & !0xff);
            let of_slave = (major, minor) == (PTS_MAJOR, index);
            // By its number CRIU finds the other end.
            let number = index.saturating_mul(2).saturating_add(u32::from(is_master(info)));
            (is_master(info) || of_slave) && id == number
        }
        (Ok(TtyType::Ctty), None) => info.rdev == DEV_TTY && id.is_multiple_of(2),
        _ => false,
    };
    found.require(fits, "type", || format!("of terminal {id} does not go with its numbers"));
}

/// A master has all of them, another end all or, once it was hung up, none.
fn check_settings(terminals: &Terminals<'_>, info: &TtyInfoEntry, found: &mut ImageFindings<'_>) {
    let id = info.id;
    if is_hung_up(info) && info.termios_locked.is_none() && info.winsize.is_none() {
        return;
    }
    let (Some(termios), Some(locked), Some(_)) =
        (&info.termios, &info.termios_locked, &info.winsize)
    else {
        found.add("termios", format!("of terminal {id} is absent, or what goes with it"));
        return;
    };
    for (field, termios) in [("termios", termios), ("termios_locked", locked)] {
        found.require(termios.c_cc.len() >= TERMIOS_NCC, field, || {
            format!("of terminal {id} has {} words of characters", termios.c_cc.len())
        });
    }
    // Locked before they are made, they stay what they are by default. `/dev/tty`
    // comes when its terminal is there.
    let is_there = info.pty.is_none();
    let is_made_before = !is_master(info) && terminals.not_locked.contains(&id.saturating_add(1));
    found.require(is_nothing(locked) || is_there || is_made_before, "termios_locked", || {
        format!("of terminal {id} locks settings before they are made")
    });
}

fn is_nothing(termios: &TermiosEntry) -> bool {
    let TermiosEntry { c_iflag, c_oflag, c_cflag, c_lflag, c_line, ref c_cc, .. } = *termios;
    let modes = [c_iflag, c_oflag, c_cflag, c_lflag, c_line];
    modes.iter().chain(c_cc).all(|&bits| bits == 0)
}

/// The leader of a session gets its terminal, with a group in the foreground that
/// is there. Nothing is made of what `/dev/tty` says.
fn check_session(
    sessions: &Sessions,
    info: &TtyInfoEntry,
    shell: Option<u32>,
    found: &mut ImageFindings<'_>,
) {
    let (id, sid, pgrp) = (info.id, info.sid, info.pgrp);
    if sid == 0 || info.pty.is_none() && shell == Some(sid) {
        return;
    }
    let leads = sessions.leaders.contains(&sid);
    found.require(leads, "sid", || format!("{sid} of terminal {id} is no session of the set"));
    let is_there = sessions.groups.contains(&(pgrp, sid));
    found.require(is_there, "pgrp", || {
        format!("{pgrp} of terminal {id} is no process group of session {sid}")
    });
}

/// Without its master a terminal is that of whoever restores, of a shell's job one
/// at most. Linked are the first two of one index, as data has to go from the one to
/// the other.
fn check_pairs(
    set: &ImageSet,
    terminals: &Terminals<'_>,
    shell: Option<u32>,
    found: &mut ImageFindings<'_>,
) {
    let mut of_shell = shell.and_then(|_| set.terminals_without_master().next());
    let mut masters = HashSet::new();
    for info in set.terminals.iter().filter(|info| info.pty.is_some()) {
        let index = info.pty.map_or(0, |pty| pty.index);
        if is_master(info) {
            masters.insert(index);
        } else if is_hung_up(info) {
            let is_taken = terminals.masters.contains(&index);
            found.require(!is_taken, "pty.index", || {
                format!("{index} of terminal {}, which was hung up, is that of a master", info.id)
            });
        } else if of_shell.is_some_and(|first| first.id == info.id) {
            of_shell = None;
        } else {
            found.require(masters.contains(&index), "pty.index", || {
                format!("{index} of terminal {} is that of no master before it", info.id)
            });
        }
    }
    let of_shell = shell.and_then(|_| set.terminals_without_master().next());
    for info in &set.terminals {
        let files = terminals.files.get(&info.id).map_or(&[][..], Vec::as_slice);
        let (count, is_of_shell) = (files.len(), of_shell.is_some_and(|first| first.id == info.id));
        let fits = if is_master(info) || is_of_shell { count == 1 } else { count > 0 };
        let is_as_opened = files.iter().all(|tty| tty.flags & !O_LARGEFILE == O_RDWR);
        found.require(!is_of_shell || is_as_opened, "flags", || {
            format!("of the file of terminal {} are not those of a terminal of restore", info.id)
        });
        found.require(fits, "id", || format!("{} is that of {count} open files", info.id));
    }
}

fn check_data(set: &ImageSet, terminals: &Terminals<'_>, findings: &mut Findings) {
    let mut found = findings.of(ImageKind::TtyData, 0, None);
    let mut ids = HashSet::new();
    for data in &set.terminal_data {
        let id = data.tty_id;
        let has = |id: u32| terminals.ptys.contains(&id);
        found.require(has(id) && has(id ^ 1), "tty_id", || {
            format!("{id} is no pseudoterminal of which both ends are open")
        });
        found.require(ids.insert(id), "tty_id", || format!("{id} is not unique"));
        found.require(data.data.len() <= MAX_DATA, "data", || {
            format!("of terminal {id} are {} bytes, more than it takes", data.data.len())
        });
    }
}
