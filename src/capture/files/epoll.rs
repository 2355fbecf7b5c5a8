//! Instances of epoll, and what they watch.
//!
//! Restore makes an instance in one of the processes that have it, and adds what
//! it watches by the descriptors of that process (`criu/eventpoll.c`). The
//! kernel keeps the open file and the number that it was named by: where that
//! number is not the file's in that process, another one would be watched.

use std::collections::HashMap;
use std::thread::sleep;

use crate::control::Tree;
use crate::kernel::KernelError;
use crate::linux::{Epitem, Eventpoll, File, FilesStruct, Struct, Task, settled};
use crate::memory::GuestVirt;
use crate::snapshot::{EpollTarget, Id, OpenFile, OpenFileKind};

use super::super::error::CaptureError;
use super::super::obstacle::Obstacle;
use super::super::{ATTEMPTS, PATIENCE};
use super::{Files, Held, Reading};

/// What stays of the events of a target that is watched once and was told of:
/// `EP_PRIVATE_BITS` (`fs/eventpoll.c`).
const PRIVATE_BITS: u32 = EPOLLONESHOT | 1 << 28 | 1 << 29 | 1 << 31;
const EPOLLONESHOT: u32 = 1 << 30;

/// The process that restore makes an open file in.
#[derive(Clone, Copy)]
struct Opener<'k> {
    task: Task<'k>,
    pid: i32,
    table: FilesStruct<'k>,
}

/// What an instance watches, and what of it cannot be saved.
#[derive(Default)]
struct Watched {
    /// How much there was to look at.
    looked_at: usize,
    targets: Vec<EpollTarget>,
    problems: Vec<String>,
}

/// An instance, or what CRIU would lose of it.
pub(super) fn epoll(file: &File<'_>) -> Result<Result<OpenFileKind, String>, KernelError> {
    let instance = Eventpoll::of(file)?;
    let polls_itself = instance.busy_poll_usecs()?.unwrap_or(0) != 0
        || instance.prefer_busy_poll()?.unwrap_or(false);
    Ok(match polls_itself {
        true => Err("an epoll instance that polls network cards (EPIOCSPARAMS)".into()),
        false => Ok(OpenFileKind::Epoll { targets: Vec::new() }),
    })
}

impl<'k> Files<'k> {
    /// Reads what instances of epoll watch. To be called once the descriptors
    /// of all members of the tree were read.
    pub(in super::super) fn watched(
        &mut self,
        tree: &Tree<'k>,
    ) -> Result<Vec<Obstacle>, CaptureError> {
        let is_epoll = |file: &OpenFile| matches!(file.kind, OpenFileKind::Epoll { .. });
        let instances: Vec<Id<OpenFile>> =
            self.tables.files.iter().filter(|(_, file)| is_epoll(file)).map(|(id, _)| id).collect();
        let mut obstacles = Vec::new();
        if instances.is_empty() {
            return Ok(obstacles);
        }
        let openers = settled(|| openers(tree))?;
        for id in instances {
            let Some(held) = self.held.get(id.index() as usize) else { continue };
            let opener = held.tables.iter().filter_map(|table| openers.get(table));
            let Some(&opener) = opener.min_by_key(|opener| opener.pid) else {
                // Those who had it may have ended.
                if self.reading == Reading::Contents {
                    let what =
                        format!("{} is an epoll instance that is in flight alone", held.holder);
                    obstacles.push(held.subject.obstacle(what));
                }
                continue;
            };
            let Watched { looked_at, targets, problems } = self.watched_by(held, opener)?;
            obstacles.extend(problems.into_iter().map(|problem| {
                held.subject
                    .obstacle(format!("{} is an epoll instance that {problem}", held.holder))
            }));
            self.budget.take_for::<(Epitem<'_>, EpollTarget)>(looked_at)?;
            if let Some(OpenFile { kind, .. }) = self.tables.files.get_mut(id) {
                *kind = OpenFileKind::Epoll { targets };
            }
        }
        Ok(obstacles)
    }

    /// What an instance watches. A process that runs may be about to close what
    /// it watches no longer.
    fn watched_by(&self, held: &Held<'k>, opener: Opener<'k>) -> Result<Watched, CaptureError> {
        let mut attempt = 1;
        loop {
            let watched = settled(|| self.read_watched(&held.file, opener))?;
            let may_pass = self.reading == Reading::Survey && attempt < ATTEMPTS;
            if watched.problems.is_empty() || !may_pass {
                return Ok(watched);
            }
            attempt += 1;
            sleep(PATIENCE);
        }
    }

    fn read_watched(&self, file: &File<'k>, opener: Opener<'k>) -> Result<Watched, KernelError> {
        let mut watched = Watched::default();
        for item in Eventpoll::of(file)?.watched()? {
            watched.looked_at += 1;
            // It is being closed.
            let Some(target) = item.file()? else { continue };
            let fd = item.fd()?.cast_unsigned();
            let named = opener.table.file_of(fd)?;
            if named.is_none_or(|named| named.addr() != target.addr()) {
                let pid = opener.pid;
                let what =
                    format!("watches fd {fd}, which is another's or closed in process {pid}");
                watched.problems.push(what);
                continue;
            }
            // What cannot be saved was told as a descriptor.
            let Some(&file) = self.opened.get(&target.addr()) else { continue };
            let (events, data) = (item.events()?, item.data()?);
            if let Some(problem) = self.problem(&item, &target, file, opener)? {
                watched.problems.push(format!("watches fd {fd} {problem}"));
            }
            watched.targets.push(EpollTarget { fd, file, events, data });
        }
        Ok(watched)
    }

    /// What would be another after a restore.
    fn problem(
        &self,
        item: &Epitem<'k>,
        target: &File<'k>,
        file: Id<OpenFile>,
        opener: Opener<'k>,
    ) -> Result<Option<&'static str>, KernelError> {
        let events = item.events()?;
        let was_told = events & EPOLLONESHOT != 0 && events & !PRIVATE_BITS == 0;
        let hangs_up = self.tables.files.get(file).is_some_and(|file| !never_hangs_up(&file.kind));
        // `epoll_ctl()` adds these two to what it is to watch.
        if was_told && hangs_up {
            return Ok(Some(
                "once, and was told of it (EPOLLONESHOT): CRIU has it watch for errors and hang-ups",
            ));
        }
        // It waits for signals of who has added it (`signalfd_poll()`).
        let takes_signals = self.root.kernel().symbol("signalfd_fops") == Some(target.op()?);
        let own = opener.task.sighand_struct()?.signalfd_wqh()?.addr();
        Ok((takes_signals && item.queue()? != own)
            .then_some("for signals to another process than the first that has it"))
    }
}

/// The kinds of file that never tell of an error or that the other end is gone.
fn never_hangs_up(kind: &OpenFileKind) -> bool {
    use OpenFileKind::{Epoll, Eventfd, Fanotify, Inotify, Signalfd, Timerfd};
    matches!(
        kind,
        Eventfd { .. }
            | Signalfd { .. }
            | Timerfd { .. }
            | Epoll { .. }
            | Inotify { .. }
            | Fanotify { .. }
    )
}

/// By descriptor table, the process that restore opens its files in: the one
/// with the lowest PID (`shared_fdt_prepare()`, `criu/files.c`).
fn openers<'k>(tree: &Tree<'k>) -> Result<HashMap<GuestVirt, Opener<'k>>, KernelError> {
    let mut openers: HashMap<GuestVirt, Opener<'k>> = HashMap::new();
    for member in tree.members() {
        let (task, pid) = (member.leader(), member.pid());
        let Some(table) = task.files()? else { continue };
        let opener = Opener { task, pid, table };
        let known = openers.entry(table.addr()).or_insert(opener);
        if pid < known.pid {
            *known = opener;
        }
    }
    Ok(openers)
}
