//! Who else holds what a process that is saved has open.
//!
//! An end of a pipe stays with its holder when the process is killed, and what
//! is restored elsewhere talks to nobody. So it is with memory that is shared,
//! and with a lock that belongs to an open file that others have, too.

use std::collections::HashSet;

use crate::control::Tree;
use crate::kernel::KernelError;
use crate::linux::{File, Sock, Struct, Task, UnixSock, settled};
use crate::memory::GuestVirt;
use crate::snapshot::{OpenFileKind, SocketState};

use super::super::obstacle::{Obstacle, Subject};

/// What others may hold, by its address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Thing {
    /// An end of the pipe or FIFO with this inode.
    Pipe(GuestVirt),
    /// This open file.
    File(GuestVirt),
    /// The file with this inode, also where it is only mapped.
    Mapped(GuestVirt),
    /// A Unix socket that listens, bound to the file with this dentry.
    Listener(GuestVirt),
}

/// What an open file is, where all that it stands for is its own: whoever has it has
/// a part in that.
pub(super) fn own(kind: &OpenFileKind) -> Option<&'static str> {
    match kind {
        OpenFileKind::Pipe { .. } | OpenFileKind::Fifo { .. } => Some("is a pipe"),
        OpenFileKind::Socket { .. } => Some("is a socket"),
        OpenFileKind::Eventfd { .. } => Some("is an eventfd"),
        OpenFileKind::Signalfd { .. } => Some("is a signalfd"),
        OpenFileKind::Timerfd { .. } => Some("is a timerfd"),
        OpenFileKind::Epoll { .. } => Some("is an epoll instance"),
        OpenFileKind::Inotify { .. } => Some("is an inotify instance"),
        OpenFileKind::Fanotify { .. } => Some("is a fanotify group"),
        OpenFileKind::Terminal { .. } => Some("is a terminal"),
        _ => None,
    }
}

impl Thing {
    fn is(self, file: &File<'_>) -> Result<bool, KernelError> {
        Ok(match self {
            Self::Pipe(inode) | Self::Mapped(inode) => {
                file.inode()?.is_some_and(|found| found.addr() == inode)
            }
            Self::File(addr) => file.addr() == addr,
            Self::Listener(dentry) => is_listener_at(file, dentry)?,
        })
    }
}

fn is_listener_at(file: &File<'_>, dentry: GuestVirt) -> Result<bool, KernelError> {
    let Some(sock) = Sock::of_file(file)? else { return Ok(false) };
    if !sock.is_unix()? || sock.state()? != SocketState::LISTEN {
        return Ok(false);
    }
    Ok(UnixSock::of(&sock)?.bound_to()?.is_some_and(|bound| bound.addr() == dentry))
}

/// What somebody outside seems to have a part in.
pub(super) struct Shared<'a> {
    pub thing: Thing,
    /// The process that is saved.
    pub subject: &'a Subject,
    /// What of it has the thing: `fd 3`.
    pub holder: &'a str,
    /// What it is or has: `is a pipe`.
    pub what: &'static str,
    /// Whether it has, though no descriptor of a process shows it.
    pub is_certain: bool,
}

impl Shared<'_> {
    /// Says who has it, if anyone has.
    pub(super) fn obstacle(&self, other: Option<&str>) -> Option<Obstacle> {
        let certain = self.is_certain.then_some("something else in the VM");
        let other = other.or(certain)?;
        let Self { holder, what, .. } = self;
        Some(self.subject.obstacle(format!("{holder} {what} that {other} has a part in")))
    }
}

/// The first process outside of `tree`, apart from those with one of its
/// descriptor tables `own`, that holds each of `things`: `process 12 (cat)`.
pub(super) fn holders(
    tree: &Tree<'_>,
    own: &HashSet<GuestVirt>,
    things: &[Thing],
) -> Result<Vec<Option<String>>, KernelError> {
    let kernel = tree.root().leader().kernel();
    let mut found = vec![None; things.len()];
    if things.is_empty() {
        return Ok(found);
    }
    let tasks = settled(|| Task::processes(kernel)?.collect::<Result<Vec<_>, _>>())?;
    for task in tasks {
        let held = settled(|| held_by(&task, own, things))?;
        // A tree that runs may have got a member by now.
        if !held.contains(&true) || settled(|| descends_from(&task, tree))? {
            continue;
        }
        for (found, _) in
            found.iter_mut().zip(held).filter(|(found, held)| *held && found.is_none())
        {
            *found = Some(format!("process {} ({})", task.pid()?, task.comm()?));
        }
    }
    Ok(found)
}

/// Whether a process is a descendant of a member.
pub(super) fn descends_from(task: &Task<'_>, tree: &Tree<'_>) -> Result<bool, KernelError> {
    /// Generations that are looked through at most.
    const GENERATIONS: usize = 1000;
    let mut at = *task;
    for _ in 0..GENERATIONS {
        let pid = at.tgid()?;
        if tree.members().iter().any(|member| member.pid() == pid) {
            return Ok(true);
        }
        match at.real_parent()? {
            Some(parent) if parent.tgid()? > 0 => at = parent,
            _ => break,
        }
    }
    Ok(false)
}

fn held_by(
    task: &Task<'_>,
    own: &HashSet<GuestVirt>,
    things: &[Thing],
) -> Result<Vec<bool>, KernelError> {
    let mut held = vec![false; things.len()];
    if let Some(table) = task.files()?.filter(|table| !own.contains(&table.addr())) {
        for open in table.open_fds()? {
            for (held, thing) in held.iter_mut().zip(things) {
                *held |= thing.is(&open.file)?;
            }
        }
    }
    let is_mapped = |thing: &Thing| matches!(thing, Thing::Mapped(_));
    if things.iter().any(is_mapped)
        && let Some(mm) = task.mm()?
    {
        for area in mm.vmas()? {
            let Some(file) = area.file()? else { continue };
            for (held, thing) in held.iter_mut().zip(things).filter(|(_, thing)| is_mapped(thing)) {
                *held |= thing.is(&file)?;
            }
        }
    }
    Ok(held)
}
