//! The terminal of a shell outside, which a job of that shell works on.
//!
//! Restore gives the job the terminal that it is started on itself: in the place of
//! the one open file that there is, and by forks as the controlling terminal of all
//! that are in the session (`pty_open_unpaired_slave()`, `criu/tty.c`).

use std::collections::HashSet;

use crate::control::Tree;
use crate::kernel::KernelError;
use crate::linux::{PidType, Struct};
use crate::memory::GuestVirt;
use crate::snapshot::{FileOwner, Id, OpenFileKind, Terminal};

use super::super::super::error::CaptureError;
use super::super::super::obstacle::Obstacle;
use super::super::{Files, Reading};
use super::control::{global, is_locked};
use super::unread::waiting;
use super::{KnownTty, TerminalKind};

const O_RDWR: u32 = 2;
/// Of no meaning to a terminal.
const O_LARGEFILE: u32 = 0o100_000;

/// The session of a shell outside that the root of a tree is in.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Shell {
    pub(super) session: i32,
    /// Its controlling terminal, or null.
    pub(super) tty: GuestVirt,
}

impl Shell {
    /// That of a tree, unless its root leads its session.
    pub(in super::super) fn of(tree: &Tree<'_>) -> Result<Option<Self>, KernelError> {
        let root = tree.root();
        let signal = root.leader().signal_struct()?;
        let session = signal.id(PidType::Sid)?;
        Ok(if session == root.pid() { None } else { Some(Self { session, tty: signal.tty()? }) })
    }
}

impl<'k> Files<'k> {
    /// Whether a terminal is that of the shell.
    pub(in super::super) fn is_of_shell(&self, known: &KnownTty<'_>) -> bool {
        self.shell.is_some_and(|shell| shell.tty == known.tty.addr())
    }

    /// Whether an open file is that terminal.
    pub(in super::super) fn is_open_on_shell(&self, kind: &OpenFileKind) -> bool {
        let OpenFileKind::Terminal { terminal, .. } = kind else { return false };
        let known = self.ttys.get(terminal.index() as usize);
        known.is_some_and(|known| self.is_of_shell(known))
    }

    /// What is in the way of a member of the shell's session, whose controlling
    /// terminal is `tty`: all that are in it have its terminal after a restore.
    pub(super) fn of_member_of_shell(
        &self,
        shell: Shell,
        tty: GuestVirt,
    ) -> Result<Option<String>, KernelError> {
        let is_open = |known: &&KnownTty<'k>| known.is_slave() && known.tty.addr() == shell.tty;
        Ok(if tty != shell.tty {
            Some("it has no controlling terminal, unlike others of its session".into())
        } else if !tty.is_null() && !self.ttys.iter().any(|known| is_open(&known)) {
            Some("it has a controlling terminal that no process has open that is saved".into())
        } else {
            None
        })
    }

    /// The same of the shell's terminal.
    pub(super) fn of_shell_terminal(
        &self,
        known: &KnownTty<'k>,
        tree: &Tree<'k>,
        groups: &HashSet<(i32, i32)>,
    ) -> Result<Vec<&'static str>, KernelError> {
        let tty = &known.tty;
        let root = tree.root().leader().signal_struct()?.id(PidType::Pgid)?;
        let session = self.shell.map_or(0, |shell| shell.session);
        let foreground = global(tty.pgrp()?)?;
        let is_elsewhere = self.reading == Reading::Contents
            && foreground != root
            && groups.contains(&(foreground, session));
        let id = self.ttys.iter().position(|other| std::ptr::eq(other, known));
        let id: Id<Terminal> = Id::new(id.unwrap_or(usize::MAX) as u32);
        let opened = self.tables.files.iter().map(|(_, file)| file);
        let opened: Vec<_> = opened
            .filter(|file| matches!(file.kind, OpenFileKind::Terminal { terminal, .. } if terminal == id))
            .collect();
        let has_other_flags = opened.iter().any(|file| file.flags & !O_LARGEFILE != O_RDWR);
        let is_told = opened.iter().any(|file| file.owner != FileOwner::default());
        let all = [
            (opened.len() > 1, "that was opened more than once, of which CRIU restores one file"),
            (has_other_flags, "that was opened for other than reading and writing (O_RDWR)"),
            (is_told, "with an owner for signals (F_SETOWN)"),
            (is_locked(tty)?, "with locked settings (TIOCSLCKTRMIOS)"),
            (is_elsewhere, "whose foreground process group is another one than the root's"),
        ];
        Ok(all.into_iter().filter(|(is_so, _)| *is_so).map(|(_, why)| why).collect())
    }

    /// What was typed and not read: nobody types it again.
    pub(super) fn unread_of_shell(&self) -> Result<Vec<Obstacle>, CaptureError> {
        let mut found = Vec::new();
        for known in self.ttys.iter().filter(|known| known.is_slave()) {
            if !self.is_of_shell(known) {
                continue;
            }
            let count = waiting(&known.tty)?.len();
            if count != 0 {
                let KnownTty { subject, holder, .. } = known;
                found.push(subject.obstacle(format!(
                    "{holder} is a terminal with {count} bytes that were not read"
                )));
            }
        }
        Ok(found)
    }
}

impl KnownTty<'_> {
    fn is_slave(&self) -> bool {
        matches!(self.kind, TerminalKind::PtySlave { .. }) && !self.is_hung_up
    }
}
