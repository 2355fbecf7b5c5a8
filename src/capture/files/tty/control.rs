//! Controlling terminals, and ends of pseudoterminals that need each other.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use crate::control::{Target, Tree};
use crate::kernel::KernelError;
use crate::linux::{FilesStruct, OpenFd, Pid, PidType, Struct, Tty, TtyFlag, settled};
use crate::memory::GuestVirt;
use crate::snapshot::TerminalKind;

use super::super::super::error::CaptureError;
use super::super::super::obstacle::{Obstacle, Obstacles};
use super::super::{Files, Reading};
use super::KnownTty;

impl<'k> Files<'k> {
    /// What stands in the way between terminals, and between them and the
    /// processes of a tree.
    pub(in super::super) fn terminals_in_the_way(
        &self,
        tree: &Tree<'k>,
    ) -> Result<Vec<Obstacle>, CaptureError> {
        let mut found = Vec::new();
        for target in tree.members() {
            match settled(|| self.of_member(target, tree)) {
                Err(_) if target.is_ending()? => continue,
                why => found.extend(why?.map(|why| Obstacles::of(target).subject().obstacle(why))),
            }
        }
        let groups = groups(tree)?;
        let strangers = match self.ttys.iter().any(is_controlling) {
            true => settled(|| strangers(tree))?,
            false => HashMap::new(),
        };
        for known in &self.ttys {
            let (subject, holder) = (&known.subject, &known.holder);
            if is_controlling(known) {
                for pid in strangers.get(&known.tty.addr()).into_iter().flatten() {
                    let why = format!("that {pid} has, too, whose controlling terminal it is not");
                    found.push(subject.obstacle(format!("{holder} is a terminal {why}")));
                }
            }
            for why in settled(|| self.of_terminal(known, tree, &groups))? {
                found.push(subject.obstacle(format!("{holder} is a terminal {why}")));
            }
        }
        Ok(found)
    }

    /// CRIU gives a session its terminal when all processes are there, and so to its
    /// leader only: a process that is forked later has it from that
    /// (`tty_restore_ctl_terminal()`, `criu/tty.c`). The others get it from our restore,
    /// as long as it is the leader's.
    fn of_member(
        &self,
        target: &Target<'k>,
        tree: &Tree<'k>,
    ) -> Result<Option<String>, KernelError> {
        let signal = target.leader().signal_struct()?;
        let (tty, session) = (signal.tty()?, signal.id(PidType::Sid)?);
        if let Some(shell) = self.shell.filter(|shell| shell.session == session) {
            return self.of_member_of_shell(shell, tty);
        }
        if tty.is_null() {
            return Ok(None);
        }
        let tty = Tty::at(target.leader().kernel(), tty)?;
        let leader = tree.member(session);
        let of_leader = leader.map(|leader| leader.leader().signal_struct()?.tty()).transpose()?;
        Ok(if of_leader != Some(tty.addr()) {
            let why = "which its leader has not, or is not saved";
            Some(format!("it has the controlling terminal of session {session}, {why}"))
        } else if session != target.pid() {
            None
        } else if !self.has_master_of(&tty)? {
            let name = shown(&tty)?;
            Some(format!(
                "it has a controlling terminal, {name}, whose other end is with no process that \
                 is saved"
            ))
        } else {
            None
        })
    }

    /// Whether a member has the master of a pseudoterminal.
    fn has_master_of(&self, tty: &Tty<'k>) -> Result<bool, KernelError> {
        let Some(master) = tty.link()? else { return Ok(false) };
        Ok(self.ttys.iter().any(|known| is_master(known) && known.tty.addr() == master.addr()))
    }

    fn of_terminal(
        &self,
        known: &KnownTty<'k>,
        tree: &Tree<'k>,
        groups: &HashSet<(i32, i32)>,
    ) -> Result<Vec<String>, KernelError> {
        let tty = &known.tty;
        if known.is_hung_up {
            // CRIU would take both for one.
            let others = self.ttys.iter().filter(|other| !other.is_hung_up);
            let index = tty.index()?;
            let is_taken =
                others.map(|other| other.tty.index()).any(|other| other.ok() == Some(index));
            let why = "that was hung up, and of whose number another one is open";
            return Ok(is_taken.then(|| why.into()).into_iter().collect());
        }
        Ok(match known.kind {
            TerminalKind::PtyMaster { .. } => self.of_master(tty, tree, groups)?,
            TerminalKind::PtySlave { .. } if self.has_master_of(tty)? => Vec::new(),
            TerminalKind::PtySlave { .. } if self.is_of_shell(known) => {
                let why = self.of_shell_terminal(known, tree, groups)?;
                why.into_iter().map(str::to_owned).collect()
            }
            TerminalKind::PtySlave { .. } => {
                vec!["whose master is with no process that is saved".into()]
            }
            TerminalKind::Controlling => Vec::new(),
        })
    }

    fn of_master(
        &self,
        master: &Tty<'k>,
        tree: &Tree<'k>,
        groups: &HashSet<(i32, i32)>,
    ) -> Result<Vec<String>, KernelError> {
        let mut why = Vec::new();
        let Some(slave) = master.link()? else { return Ok(why) };
        let is_open =
            self.ttys.iter().any(|known| known.tty.addr() == slave.addr() && !known.is_hung_up);
        let session = global(slave.session()?)?;
        if session != 0 {
            let group = global(slave.pgrp()?)?;
            if tree.member(session).is_none() {
                why.push(format!("that controls session {session}, whose leader is not saved"));
            } else if !groups.contains(&(group, session)) && self.reading == Reading::Contents {
                why.push(format!("whose foreground process group, {group}, has ended"));
            }
        }
        if !is_open && session == 0 && master.has(TtyFlag::OtherClosed)? {
            why.push("whose other end was closed".into());
        }
        if !is_open && is_locked(&slave)? {
            why.push("with locked settings (TIOCSLCKTRMIOS) and its other end closed".into());
        }
        Ok(why)
    }
}

/// By terminal, members that have `/dev/tty` open on it though it is not their
/// controlling terminal: restore opens the file in a process that has it, any of
/// them.
fn strangers(tree: &Tree<'_>) -> Result<HashMap<GuestVirt, Vec<i32>>, KernelError> {
    let mut strangers: HashMap<GuestVirt, Vec<i32>> = HashMap::new();
    let mut tables: HashMap<GuestVirt, HashSet<GuestVirt>> = HashMap::new();
    for target in tree.members() {
        let leader = target.leader();
        let Some(files) = leader.files()? else { continue };
        let opened = match tables.entry(files.addr()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => free.insert(opened_as_controlling(&files)?),
        };
        let own = leader.signal_struct()?.tty()?;
        for tty in opened.iter().filter(|tty| **tty != own) {
            strangers.entry(*tty).or_default().push(target.pid());
        }
    }
    Ok(strangers)
}

/// What the files of a table stand for that are `/dev/tty`.
fn opened_as_controlling(files: &FilesStruct<'_>) -> Result<HashSet<GuestVirt>, KernelError> {
    const DEV_TTY: u32 = 5 << 20;
    let mut opened = HashSet::new();
    for OpenFd { file, .. } in files.open_fds()? {
        if file.inode()?.map_or(Ok(0), |inode| inode.rdev())? == DEV_TTY {
            opened.extend(file.tty()?.map(|tty| tty.addr()));
        }
    }
    Ok(opened)
}

/// Whether any of its settings may not be changed.
pub(super) fn is_locked(tty: &Tty<'_>) -> Result<bool, KernelError> {
    let locked = tty.termios_locked()?;
    let modes = [locked.iflag()?, locked.oflag()?, locked.cflag()?, locked.lflag()?];
    let has_modes = modes.iter().any(|&bits| bits != 0);
    Ok(has_modes || locked.line()? != 0 || locked.cc()? != [0; 19])
}

/// The number of a session or process group; 0 for none.
pub(super) fn global(pid: Option<Pid<'_>>) -> Result<i32, KernelError> {
    pid.map_or(Ok(0), |pid| pid.global())
}

fn is_controlling(known: &KnownTty<'_>) -> bool {
    known.kind == TerminalKind::Controlling && !known.is_hung_up
}

fn is_master(known: &KnownTty<'_>) -> bool {
    matches!(known.kind, TerminalKind::PtyMaster { .. })
}

/// The terminal's name, as `ps` shows it.
fn shown(tty: &Tty<'_>) -> Result<String, KernelError> {
    let raw = tty.name()?;
    let len = raw.iter().position(|&byte| byte == 0).unwrap_or(raw.len());
    Ok(String::from_utf8_lossy(&raw[..len]).escape_default().to_string())
}

/// Process groups of a tree, each with its session.
fn groups(tree: &Tree<'_>) -> Result<HashSet<(i32, i32)>, CaptureError> {
    let mut groups = HashSet::new();
    for target in tree.members() {
        let Some(signal) = target.leader().signal()? else { continue };
        groups.insert((signal.id(PidType::Pgid)?, signal.id(PidType::Sid)?));
    }
    for zombie in tree.zombies()? {
        let Some(signal) = zombie.signal()? else { continue };
        groups.insert((signal.id(PidType::Pgid)?, signal.id(PidType::Sid)?));
    }
    Ok(groups)
}
