//! Open files, the root and the working directory: one file for each kind.

mod epoll;
mod event;
mod fanotify;
mod ghost;
mod inotify;
mod kind;
mod lock;
mod lookup;
mod mapped;
mod memory;
mod mounts;
mod outside;
mod owner;
mod path;
mod pidfd;
mod pipe;
mod proc;
mod socket;
mod tty;
mod watched;

use std::collections::{HashMap, HashSet};

use crate::control::{Target, Tree};
use crate::kernel::KernelError;
use crate::linux::{File, Path, Struct, Task, settled, unlinked_files};
use crate::memory::GuestVirt;
use crate::snapshot::{
    Descriptor, FdTable, FileLock, FilePath, FsContext, GhostFile, Id, Interned, OpenFile,
    OpenFileKind, Pipe, SharedMemory, Snapshot, Socket, Table, Terminal,
};

use super::budget::Budget;
use super::error::CaptureError;
use super::obstacle::{Obstacle, Obstacles, Subject};
use super::pages::MemoryPages;
use super::{Context, Limits};

use kind::Kind;
use lock::{Locker, Locks};
use mapped::MappedGhost;
use memory::Memory;
use mounts::Mounts;
use outside::{Shared, Thing};
use socket::Sockets;

/// `O_*` (`include/uapi/asm-generic/fcntl.h`).
const O_ACCMODE: u32 = 0o3;
const O_NONBLOCK: u32 = 0o4_000;
const FASYNC: u32 = 0o20_000;
const O_DIRECT: u32 = 0o40_000;
const O_CLOEXEC: u32 = 0o2_000_000;
const O_PATH: u32 = 0o10_000_000;
/// `__O_TMPFILE | O_DIRECTORY`
const O_TMPFILE: u32 = 0o20_200_000;

/// File types in `i_mode` (`include/uapi/linux/stat.h`).
mod stat {
    pub const S_IFMT: u32 = 0o170_000;
    pub const S_IFIFO: u32 = 0o010_000;
    pub const S_IFCHR: u32 = 0o020_000;
    pub const S_IFDIR: u32 = 0o040_000;
    pub const S_IFBLK: u32 = 0o060_000;
    pub const S_IFLNK: u32 = 0o120_000;
    pub const S_IFREG: u32 = 0o100_000;
    pub const S_IFSOCK: u32 = 0o140_000;
}

/// How much is read of what files hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reading {
    /// Only what tells whether they can be saved, of a process that may run.
    Survey,
    /// All of it, of a frozen process.
    Contents,
}

/// The files of all processes of a save, each kept once.
pub(super) struct Files<'k> {
    root: Path<'k>,
    reading: Reading,
    budget: Budget,
    /// Open files by the address of their `struct file`.
    opened: HashMap<GuestVirt, Id<OpenFile>>,
    /// Who has them, in the order of `tables.files`.
    held: Vec<Held<'k>>,
    /// Pipes by the address of their inode.
    pipes: HashMap<GuestVirt, Id<Pipe>>,
    /// Their ends, in the order of `tables.pipes`.
    ends: Vec<pipe::Ends<'k>>,
    /// Shared memory by the address of its inode.
    memory_ids: HashMap<GuestVirt, Id<SharedMemory>>,
    /// What is known of it in the guest, in the order of `tables.memories`.
    memories: Vec<Memory<'k>>,
    /// The file systems that it lies in, by address.
    unlinked: Vec<GuestVirt>,
    /// Terminals, in the order of `tables.terminals`.
    ttys: Vec<tty::KnownTty<'k>>,
    /// The session of a shell outside that the tree is in, if it may be.
    shell: Option<tty::Shell>,
    /// Deleted files that are mapped as shared and writable.
    mapped_ghosts: Vec<MappedGhost>,
    /// Deleted files by the address of their inode, and how large they may be,
    /// in bytes.
    ghosts: HashMap<GuestVirt, Id<GhostFile>>,
    ghost_limit: u64,
    /// Sockets.
    sockets: Sockets<'k>,
    /// Deleted directories, and who has them.
    directories: Vec<(Id<GhostFile>, Subject, String)>,
    /// What is mounted.
    mounts: Mounts<'k>,
    /// Locks, by the address of the `struct file_lock_context` of a file.
    locks_on: HashMap<GuestVirt, Locks>,
    /// The open files through which somebody is told of a directory (`F_NOTIFY`), by
    /// the address of what lists them.
    notified: HashMap<GuestVirt, HashSet<GuestVirt>>,
    /// Files of `/proc` that belong to a process, and pidfds.
    of_processes: Vec<OfProcess>,
    /// Descriptor tables that were read.
    fd_tables: HashSet<GuestVirt>,
    /// What is open in each table.
    holders: Vec<Holder>,
    tables: Tables,
}

/// Who has an open file first.
struct Held<'k> {
    file: File<'k>,
    subject: Subject,
    holder: String,
    /// How many descriptors refer to it, and the tables that they are in.
    descriptors: u64,
    tables: Vec<GuestVirt>,
    /// Whether it holds a lock of its own.
    locked: bool,
    /// What it is, where all that it stands for is its own: `is an eventfd`.
    own: Option<&'static str>,
}

/// A descriptor.
struct Holder {
    /// The process that its table was read of.
    pid: u32,
    fd: u32,
    file: Id<OpenFile>,
}

/// What a snapshot gets.
#[derive(Default)]
struct Tables {
    files: Table<OpenFile>,
    paths: Interned<FilePath>,
    pipes: Table<Pipe>,
    memories: Table<SharedMemory>,
    sockets: Table<Socket>,
    ghosts: Table<GhostFile>,
    terminals: Table<Terminal>,
    locks: Vec<FileLock>,
}

/// A file that is there as long as a process is.
struct OfProcess {
    subject: Subject,
    /// What has it, as the beginning of a sentence.
    holder: String,
    pid: u32,
    /// Whether it will do that the process has ended, unless it was reaped.
    may_be_zombie: bool,
}

impl<'k> Files<'k> {
    pub(super) fn new(
        context: &Context<'k>,
        tree: &Tree<'k>,
        reading: Reading,
        limits: Limits,
    ) -> Result<Self, KernelError> {
        let kernel = context.root.kernel();
        Ok(Self {
            root: context.root,
            reading,
            budget: Budget::of(kernel),
            opened: HashMap::new(),
            held: Vec::new(),
            pipes: HashMap::new(),
            ends: Vec::new(),
            memory_ids: HashMap::new(),
            memories: Vec::new(),
            unlinked: unlinked_files(kernel)?.iter().map(Struct::addr).collect(),
            ttys: Vec::new(),
            shell: if limits.shell_job { tty::Shell::of(tree)? } else { None },
            mapped_ghosts: Vec::new(),
            ghosts: HashMap::new(),
            ghost_limit: limits.ghost,
            sockets: Sockets::new(context, limits.tcp_close)?,
            directories: Vec::new(),
            mounts: Mounts::default(),
            locks_on: HashMap::new(),
            notified: HashMap::new(),
            of_processes: Vec::new(),
            fd_tables: HashSet::new(),
            holders: Vec::new(),
            tables: Tables::default(),
        })
    }

    /// Takes from what may be copied, as [`Budget::take_for`].
    pub(super) fn take_for<T>(&mut self, count: usize) -> Result<(), CaptureError> {
        self.budget.take_for::<T>(count)
    }

    /// The open descriptors of a process.
    pub(super) fn descriptors(
        &mut self,
        target: &Target<'k>,
        obstacles: &mut Obstacles,
    ) -> Result<FdTable, CaptureError> {
        let missing = CaptureError::Missing { pid: target.pid(), what: "file descriptors" };
        let files = target.leader().files()?.ok_or(missing)?;
        self.fd_tables.insert(files.addr());
        let (mut table, mut seen) = (FdTable::default(), HashSet::new());
        for open in files.open_fds()? {
            self.budget.take_for::<(Descriptor, Holder)>(1)?;
            let holder = format!("fd {}", open.fd);
            let known = self.opened.contains_key(&open.file.addr());
            let Some(file) = self.open_file(&open.file, &holder, obstacles)? else { continue };
            // Locks are read at the first descriptor of a table.
            if seen.insert(file) {
                let (table, pid) = (files.addr(), target.pid().cast_unsigned());
                let locker = Locker { table, pid, fd: open.fd, first: !known };
                let locked = self.locks(&open.file, &locker, obstacles)?;
                if let Some(held) = self.held_mut(file) {
                    held.locked |= locked;
                    held.tables.push(table);
                }
            }
            table.descriptors.push(Descriptor { fd: open.fd, cloexec: open.cloexec, file });
            self.holders.push(Holder { pid: target.pid().cast_unsigned(), fd: open.fd, file });
        }
        Ok(table)
    }

    /// The working directory, the root and the umask.
    pub(super) fn context(
        &mut self,
        target: &Target<'k>,
        obstacles: &mut Obstacles,
    ) -> Result<FsContext, CaptureError> {
        let missing = CaptureError::Missing { pid: target.pid(), what: "working directory" };
        let fs = target.leader().fs()?.ok_or(missing)?;
        let mut directory = |path: Path<'k>, holder| -> Result<_, CaptureError> {
            let none = Id::new(0);
            Ok(self.path(&path, holder, obstacles)?.unwrap_or(none))
        };
        Ok(FsContext {
            cwd: directory(fs.pwd()?, "its working directory")?,
            root: directory(fs.root()?, "its root directory")?,
            umask: fs.umask()?,
        })
    }

    /// What processes that are not saved have a part in. To be called once the
    /// descriptors of all members of the tree were read.
    pub(super) fn shared_with_others(
        &self,
        tree: &Tree<'k>,
    ) -> Result<Vec<Obstacle>, CaptureError> {
        let mut obstacles = Vec::new();
        for ((_, file), held) in self.tables.files.iter().zip(&self.held) {
            if !owner::is_one_of(&file.owner, tree) {
                let (holder, pid) = (&held.holder, file.owner.pid);
                let what = format!("{holder} signals I/O to {pid}, which is not saved with it");
                obstacles.push(held.subject.obstacle(what));
            }
        }
        let zombies = tree.zombies()?.iter().map(Task::tgid).collect::<Result<HashSet<_>, _>>()?;
        for OfProcess { subject, holder, pid, may_be_zombie } in &self.of_processes {
            let ended = *may_be_zombie && zombies.contains(&pid.cast_signed());
            let is_member = tree.member(pid.cast_signed()).is_some();
            if !is_member && !ended && !self.is_to_be_seen(tree, *pid)? {
                let what = format!("{holder} of process {pid}, which is not saved with it");
                obstacles.push(subject.obstacle(what));
            }
        }
        obstacles.extend(self.deleted_directories_in_the_way());
        obstacles.extend(self.terminals_in_the_way(tree)?);
        let mut shared = Vec::new();
        // Of a tree that runs, ends and mappings come and go.
        let is_certain = self.reading == Reading::Contents;
        for ends in &self.ends {
            shared.extend(ends.shared(is_certain)?);
        }
        for memory in &self.memories {
            shared.extend(memory.shared(is_certain)?);
        }
        for known in self.ttys.iter().filter(|known| !self.is_of_shell(known)) {
            shared.extend(settled(|| known.shared(&self.opened, self.reading))?);
        }
        shared.extend(self.mapped_ghosts.iter().map(MappedGhost::shared));
        shared.extend(self.sockets.shared(is_certain)?);
        shared.extend(self.names_of_others());
        for held in &self.held {
            shared.extend(held.shared(is_certain)?);
        }
        let things = shared.iter().map(|shared| shared.thing);
        let holders = outside::holders(tree, &self.fd_tables, things)?;
        for shared in &shared {
            obstacles.extend(shared.obstacle(holders.get(&shared.thing).map(String::as_str)));
        }
        Ok(obstacles)
    }

    /// Whether a process of a tree that runs is a member that was started after
    /// the others were listed.
    fn is_to_be_seen(&self, tree: &Tree<'k>, pid: u32) -> Result<bool, KernelError> {
        if self.reading == Reading::Contents {
            return Ok(false);
        }
        let task = Task::find(self.root.kernel(), pid.cast_signed())?;
        task.map_or(Ok(false), |task| settled(|| outside::descends_from(&task, tree)))
    }

    /// Hands everything over, and gives where the pages of shared memory are,
    /// in the order of the snapshot.
    pub(super) fn give_to(self, snapshot: &mut Snapshot) -> Vec<MemoryPages<'k>> {
        let Tables { files, paths, pipes, memories, sockets, ghosts, terminals, locks } =
            self.tables;
        snapshot.files = files;
        snapshot.paths = paths.into_table();
        snapshot.pipes = pipes;
        snapshot.memories = memories;
        snapshot.sockets = sockets;
        snapshot.ghosts = ghosts;
        snapshot.terminals = terminals;
        snapshot.locks = locks;
        self.memories.iter().map(Memory::pages).collect()
    }

    /// An open file; `None` with an obstacle where it cannot be saved.
    fn open_file(
        &mut self,
        file: &File<'k>,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<Option<Id<OpenFile>>, CaptureError> {
        if let Some(&known) = self.opened.get(&file.addr()) {
            if let Some(held) = self.held_mut(known) {
                held.descriptors += 1;
            }
            if let Some(OpenFileKind::Memory { memory, .. }) =
                self.tables.files.get(known).map(|file| &file.kind)
            {
                self.refers_to(*memory, file);
            }
            return Ok(Some(known));
        }
        let kind = match Kind::of(file, &self.unlinked)? {
            Kind::Memory => self.open_memory(file, holder, obstacles)?,
            Kind::Path => self.by_path(file, holder, obstacles)?,
            Kind::Pipe => self.pipe(file, holder, obstacles)?,
            Kind::Terminal => self.terminal(file, holder, obstacles)?,
            Kind::Pidfd(pid) => self.pidfd(file, &pid, holder, obstacles)?,
            Kind::Socket => self.socket(file, holder, obstacles)?,
            Kind::Event(kind) => self.event(kind, file, holder, obstacles)?,
            Kind::Unsupported(what) => {
                obstacles.add(format!("{holder} is {what}"));
                None
            }
        };
        let Some(kind) = kind else { return Ok(None) };
        self.budget.take_for::<(OpenFile, Held<'_>)>(1)?;
        // The descriptor has a flag of its own, the file only what it was
        // opened with.
        let mut flags = file.flags()? & !O_CLOEXEC;
        // A file without a name is opened as one that was deleted.
        if flags & O_TMPFILE == O_TMPFILE {
            flags &= !O_TMPFILE;
        }
        if let OpenFileKind::Memory { memory, .. } = kind {
            self.refers_to(memory, file);
        }
        // A shell has its terminal, too.
        let is_of_shell = self.is_open_on_shell(&kind);
        let own = outside::own(&kind).filter(|_| !is_of_shell);
        let id = self.tables.files.push(OpenFile { flags, owner: owner::read(file)?, kind });
        self.opened.insert(file.addr(), id);
        self.held.push(Held {
            file: *file,
            subject: obstacles.subject(),
            holder: holder.to_owned(),
            descriptors: 1,
            tables: Vec::new(),
            locked: false,
            own,
        });
        Ok(Some(id))
    }

    fn held_mut(&mut self, file: Id<OpenFile>) -> Option<&mut Held<'k>> {
        self.held.get_mut(file.index() as usize)
    }
}

impl Held<'_> {
    /// Notes an open file that holds a lock, or more than how it was opened,
    /// where others may have it, too.
    fn shared(&self, is_certain: bool) -> Result<Option<Shared<'_>>, KernelError> {
        let what = self.own.or(self.locked.then_some("holds a lock"));
        let Some(what) = what else { return Ok(None) };
        let may_be = self.file.references()? > self.descriptors;
        Ok(may_be.then_some(Shared {
            thing: Thing::File(self.file.addr()),
            subject: &self.subject,
            holder: &self.holder,
            what,
            // A mapping has a reference as well.
            is_certain: is_certain && self.own.is_some(),
        }))
    }
}
