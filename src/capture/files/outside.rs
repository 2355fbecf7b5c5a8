//! Who else holds what a process that is saved has open.
//!
//! An end of a pipe stays with its holder when the process is killed, and what
//! is restored elsewhere talks to nobody. So it is with memory that is shared,
//! and with a lock that belongs to an open file that others have, too.

use std::collections::{HashMap, HashSet};

use crate::control::Tree;
use crate::kernel::KernelError;
use crate::linux::{File, OpenFd, Sock, Struct, Task, UnixSock, settled};
use crate::memory::GuestVirt;
use crate::snapshot::{OpenFileKind, SocketState};

use super::super::obstacle::{Obstacle, Subject};

/// What others may hold, by its address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
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

/// The file that an open file is a listener at, if it is one.
fn listens_at(file: &File<'_>) -> Result<Option<GuestVirt>, KernelError> {
    let Some(sock) = Sock::of_file(file)? else { return Ok(None) };
    if !sock.is_unix()? || sock.state()? != SocketState::LISTEN {
        return Ok(None);
    }
    Ok(UnixSock::of(&sock)?.bound_to()?.map(|bound| bound.addr()))
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

/// By thing, the first process outside of `tree`, apart from those with one of its
/// descriptor tables `own`, that holds it: `process 12 (cat)`.
pub(super) fn holders(
    tree: &Tree<'_>,
    own: &HashSet<GuestVirt>,
    things: impl Iterator<Item = Thing>,
) -> Result<HashMap<Thing, String>, KernelError> {
    let kernel = tree.root().leader().kernel();
    let mut holders = HashMap::new();
    let wanted = Wanted::new(things);
    if wanted.all.is_empty() {
        return Ok(holders);
    }
    let tasks = settled(|| Task::processes(kernel)?.collect::<Result<Vec<_>, _>>())?;
    for task in tasks {
        let held = settled(|| wanted.held_by(&task, own))?;
        // A tree that runs may have got a member by now.
        if held.is_empty() || settled(|| descends_from(&task, tree))? {
            continue;
        }
        let holder = format!("process {} ({})", task.pid()?, task.comm()?);
        for thing in held {
            holders.entry(thing).or_insert_with(|| holder.clone());
        }
    }
    Ok(holders)
}

/// Whether a process is a descendant of a member.
pub(super) fn descends_from(task: &Task<'_>, tree: &Tree<'_>) -> Result<bool, KernelError> {
    /// Generations that are looked through at most.
    const GENERATIONS: usize = 1000;
    let mut at = *task;
    for _ in 0..GENERATIONS {
        if tree.member(at.tgid()?).is_some() {
            return Ok(true);
        }
        match at.real_parent()? {
            Some(parent) if parent.tgid()? > 0 => at = parent,
            _ => break,
        }
    }
    Ok(false)
}

/// What is looked for in all processes: each file that one has is looked up once.
struct Wanted {
    all: HashSet<Thing>,
    listeners: bool,
    mapped: bool,
}

impl Wanted {
    fn new(things: impl Iterator<Item = Thing>) -> Self {
        let all: HashSet<Thing> = things.collect();
        let has = |is: fn(&Thing) -> bool| all.iter().any(is);
        let listeners = has(|thing| matches!(thing, Thing::Listener(_)));
        let mapped = has(|thing| matches!(thing, Thing::Mapped(_)));
        Self { all, listeners, mapped }
    }

    fn held_by(
        &self,
        task: &Task<'_>,
        own: &HashSet<GuestVirt>,
    ) -> Result<HashSet<Thing>, KernelError> {
        let mut held = HashSet::new();
        let mut note = |thing| held.extend(self.all.get(&thing));
        if let Some(table) = task.files()?.filter(|table| !own.contains(&table.addr())) {
            for OpenFd { file, .. } in table.open_fds()? {
                note(Thing::File(file.addr()));
                if let Some(inode) = file.inode()? {
                    note(Thing::Pipe(inode.addr()));
                    note(Thing::Mapped(inode.addr()));
                }
                if self.listeners
                    && let Some(dentry) = listens_at(&file)?
                {
                    note(Thing::Listener(dentry));
                }
            }
        }
        if self.mapped
            && let Some(mm) = task.mm()?
        {
            for area in mm.vmas()? {
                let inode = area.file()?.map_or(Ok(None), |file| file.inode())?;
                if let Some(inode) = inode {
                    note(Thing::Mapped(inode.addr()));
                }
            }
        }
        Ok(held)
    }
}
