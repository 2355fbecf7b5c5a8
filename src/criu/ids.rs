//! Numbers by which images refer to each other.

use std::collections::{HashMap, HashSet};

use super::EncodeError;
use super::container::{ImageKind, ImageWriter};
use super::proto;
use crate::snapshot::{
    FilePath, FsContext, Id, Mapped, OpenFile, OpenFileKind, Pipe, Process, SharedMemory, Snapshot,
    Socket,
};

/// The number that root objects have; those of processes begin behind it.
const ROOT: u32 = 1;

/// Objects of whoever restores. A process whose namespace has the same number
/// is restored into the namespace that `criu restore` runs in; CRIU too counts
/// namespaces apart from other objects.
pub fn root_ids() -> proto::TaskKobjIdsEntry {
    proto::TaskKobjIdsEntry {
        vm_id: ROOT,
        files_id: ROOT,
        fs_id: ROOT,
        sighand_id: ROOT,
        pid_ns_id: Some(1),
        net_ns_id: Some(2),
        ipc_ns_id: Some(3),
        uts_ns_id: Some(4),
        time_ns_id: Some(5),
        mnt_ns_id: Some(6),
        user_ns_id: Some(7),
        cgroup_ns_id: Some(8),
    }
}

/// Objects of a process: its own where the tables of the snapshot hold them,
/// inherited namespaces.
pub fn task_ids(process: &Process) -> proto::TaskKobjIdsEntry {
    proto::TaskKobjIdsEntry {
        vm_id: object_id(process.mm),
        files_id: object_id(process.files),
        fs_id: object_id(process.fs),
        sighand_id: object_id(process.sighand),
        ..root_ids()
    }
}

/// The number of an entry of a snapshot's table.
pub fn object_id<T>(id: Id<T>) -> u32 {
    id.index().saturating_add(ROOT + 1)
}

/// `ids-PID.img`
pub fn image(process: &Process) -> Result<Vec<u8>, EncodeError> {
    let mut image = ImageWriter::new(ImageKind::Ids);
    image.record(&task_ids(process))?;
    Ok(image.finish())
}

/// What a record of `files.img` stands for. CRIU gives mapped files, open files
/// and directories of a process records of their own even where the path is
/// the same, as they are opened apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FileUse {
    /// Mapped, or executed.
    Mapped(Id<FilePath>),
    /// Shared memory that is mapped.
    MappedMemory(Id<SharedMemory>),
    /// Opened by a process.
    Open(Id<OpenFile>),
    /// The path of a FIFO or terminal that a process has opened.
    PathOf(Id<OpenFile>),
    /// Working directory.
    Cwd(Id<FsContext>),
    /// Root directory.
    Root(Id<FsContext>),
}

impl From<Mapped> for FileUse {
    fn from(mapped: Mapped) -> Self {
        match mapped {
            Mapped::Path(path) => Self::Mapped(path),
            Mapped::Memory(memory) => Self::MappedMemory(memory),
        }
    }
}

/// The numbers of all records in `files.img`.
#[derive(Debug)]
pub struct FileIds {
    uses: Vec<FileUse>,
    numbers: HashMap<FileUse, u32>,
    pipes: Vec<u32>,
    sockets: Vec<u32>,
}

impl FileIds {
    /// Numbers from 1: files of address spaces, open files, directories.
    pub fn assign(snapshot: &Snapshot) -> Self {
        let mut ids = Self {
            uses: Vec::new(),
            numbers: HashMap::new(),
            pipes: inode_ids(snapshot.pipes.iter().map(|(_, pipe)| pipe.ino)),
            sockets: inode_ids(snapshot.sockets.iter().map(|(_, socket)| socket.ino)),
        };
        for (_, mm) in snapshot.mms.iter() {
            ids.add(FileUse::Mapped(mm.exe));
            for vma in &mm.vmas {
                if let Some(file) = vma.file() {
                    ids.add(file.file.into());
                }
            }
        }
        for (file, open) in snapshot.files.iter() {
            ids.add(FileUse::Open(file));
            if matches!(open.kind, OpenFileKind::Fifo { .. } | OpenFileKind::Terminal { .. }) {
                ids.add(FileUse::PathOf(file));
            }
        }
        for (fs, _) in snapshot.fs_contexts.iter() {
            ids.add(FileUse::Cwd(fs));
            ids.add(FileUse::Root(fs));
        }
        ids
    }

    fn add(&mut self, file: FileUse) {
        let next = self.uses.len() as u32 + 1;
        if *self.numbers.entry(file).or_insert(next) == next {
            self.uses.push(file);
        }
    }

    /// All uses with their numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u32, FileUse)> {
        (1..).zip(self.uses.iter().copied())
    }

    /// The number of one use; an error when the snapshot refers to an entry
    /// that it does not hold.
    pub fn get(&self, file: FileUse) -> Result<u32, EncodeError> {
        self.numbers.get(&file).copied().ok_or(EncodeError::Dangling("file"))
    }
    /// The number of a pipe.
    pub fn pipe(&self, pipe: Id<Pipe>) -> Result<u32, EncodeError> {
        self.pipes.get(pipe.index() as usize).copied().ok_or(EncodeError::Dangling("pipe"))
    }

    /// The number of a socket, by which others refer to it.
    pub fn socket(&self, socket: Id<Socket>) -> Result<u32, EncodeError> {
        self.sockets.get(socket.index() as usize).copied().ok_or(EncodeError::Dangling("socket"))
    }
}

/// The numbers of pipes and FIFOs, or of sockets: of their inodes, as CRIU has
/// them, unless that is too large or there are some of one number on several
/// file systems. 0 stands for none.
fn inode_ids(inodes: impl Iterator<Item = u64>) -> Vec<u32> {
    let mut taken = HashSet::from([0]);
    let mut free = (1..=u32::MAX).rev();
    let mut id_of = |ino: u64| {
        let own = u32::try_from(ino).ok().filter(|id| taken.insert(*id));
        own.or_else(|| free.find(|id| taken.insert(*id))).unwrap_or(0)
    };
    inodes.map(&mut id_of).collect()
}
