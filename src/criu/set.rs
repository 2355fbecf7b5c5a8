//! A set of images, decoded.

use std::collections::{BTreeMap, HashSet};

use prost::Message;

use super::budget::Budget;
use super::container::{ImageKind, ImageReader, ReadError};
use super::core::task_state;
use super::findings::{Findings, Violation};
use super::vma::status;
use super::{ImageContent, ImageStore, proto, timens};

/// All images of a set but pagemaps and pages.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ImageSet {
    /// What kind of set it is.
    pub inventory: proto::InventoryEntry,
    /// Processes, in the order of `pstree.img`.
    pub processes: Vec<ProcessImages>,
    /// Open files by ID.
    pub files: BTreeMap<u32, proto::FileEntry>,
    /// Their IDs, in the order of `files.img`.
    pub files_in_order: Vec<u32>,
    /// What pipes hold.
    pub pipes_data: Vec<proto::PipeDataEntry>,
    /// What FIFOs hold.
    pub fifo_data: Vec<proto::PipeDataEntry>,
    /// Records of files that are not found by their path.
    pub remaps: Vec<proto::RemapFilePathEntry>,
    /// Content of deleted files among them, by number.
    pub ghosts: BTreeMap<u32, GhostImage>,
    /// Shared memory by inode ID.
    pub memories: BTreeMap<u64, proto::MemfdInodeEntry>,
    /// What sockets have received and nobody has taken, in order.
    pub sk_queues: Vec<proto::SkPacketEntry>,
    /// Terminals, in the order of their records.
    pub terminals: Vec<proto::TtyInfoEntry>,
    /// What waits to be read from them.
    pub terminal_data: Vec<proto::TtyDataEntry>,
    /// Locks on files.
    pub locks: Vec<proto::FileLockEntry>,
    /// Seccomp filters.
    pub seccomp_filters: Vec<proto::SeccompFilter>,
    /// Cgroups, where any process is not in the root.
    pub cgroup: Option<proto::CgroupEntry>,
    /// The CPU of the source.
    pub cpuinfo: Option<proto::CpuinfoEntry>,
    /// Clocks at the dump.
    pub timens: Option<proto::TimensEntry>,
}

/// Content of a deleted file, passed over.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct GhostImage {
    /// What the file is.
    pub entry: proto::GhostFileEntry,
    /// Its size in bytes.
    pub size: u64,
    /// Where its last chunk ends.
    pub end: u64,
}

impl GhostImage {
    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        const S_IFMT: u32 = 0o170_000;
        const S_IFDIR: u32 = 0o040_000;
        self.entry.mode & S_IFMT == S_IFDIR
    }
}

/// Images of one process. A zombie has only the first two.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ProcessImages {
    /// Its place in the tree.
    pub pstree: proto::PstreeEntry,
    /// Cores of its threads by TID.
    pub cores: BTreeMap<u32, proto::CoreEntry>,
    /// What it shares.
    pub ids: proto::TaskKobjIdsEntry,
    /// Its address space.
    pub mm: proto::MmEntry,
    /// Its directories.
    pub fs: proto::FsEntry,
    /// Its descriptors.
    pub fdinfo: Vec<proto::FdinfoEntry>,
}

impl ProcessImages {
    /// The core of the leader.
    pub fn leader(&self) -> Option<&proto::CoreEntry> {
        self.cores.get(&self.pstree.pid)
    }

    /// Whether it ended already and waits for its parent.
    pub fn is_zombie(&self) -> bool {
        let task = self.leader().and_then(|core| core.tc.as_ref());
        task.is_some_and(|task| task.task_state == task_state::DEAD)
    }
}

impl ImageSet {
    /// Shared memory that a process has open or maps.
    pub(super) fn memories_of<'a>(
        &'a self,
        process: &'a ProcessImages,
    ) -> impl Iterator<Item = &'a proto::MemfdInodeEntry> {
        let open = process.fdinfo.iter().map(|fd| u64::from(fd.id));
        let areas = process.mm.vmas.iter().filter(|area| area.status & status::MEMFD != 0);
        let memory = |id: u64| {
            let file = self.files.get(&u32::try_from(id).ok()?)?;
            self.memories.get(&u64::from(file.memfd.as_ref()?.inode_id))
        };
        open.chain(areas.map(|area| area.shmid)).filter_map(memory)
    }

    /// Decodes a set of our own making.
    pub(super) fn decoded(store: &dyn ImageStore) -> Self {
        Self::read(store, Budget::unlimited(), &mut Findings::default())
    }

    /// Decodes a set as far as the budget goes. Images that are missing or damaged
    /// are told and stay empty, and so do all that were to be read once there is
    /// more to be told than anyone wants to know.
    pub(super) fn read(store: &dyn ImageStore, budget: Budget, findings: &mut Findings) -> Self {
        let mut reader = SetReader { store, budget, findings };
        let inventory = reader.one(ImageKind::Inventory, 0);
        let (files, files_in_order) = reader.files();
        let mut set = Self {
            inventory,
            files,
            files_in_order,
            pipes_data: reader.with_payloads(ImageKind::PipesData, pipe_bytes),
            fifo_data: reader.with_payloads(ImageKind::FifoData, pipe_bytes),
            sk_queues: reader.with_payloads(ImageKind::SkQueues, packet_bytes),
            remaps: reader.all_if_there(ImageKind::RemapFpath, 0),
            ghosts: BTreeMap::new(),
            memories: reader.memories(),
            terminals: reader.all_if_there(ImageKind::TtyInfo, 0),
            terminal_data: reader.all_if_there(ImageKind::TtyData, 0),
            locks: reader.all_if_there(ImageKind::FileLocks, 0),
            seccomp_filters: reader
                .optional::<proto::SeccompEntry>(ImageKind::Seccomp, 0)
                .map_or_else(Vec::new, |entry| entry.seccomp_filters),
            cgroup: reader.optional(ImageKind::Cgroup, 0),
            cpuinfo: reader.optional(ImageKind::Cpuinfo, 0),
            timens: reader.optional(ImageKind::Timens, timens::INITIAL_NAMESPACE),
            processes: Vec::new(),
        };
        for remap in &set.remaps {
            if remap.remap_type == Some(proto::RemapType::Ghost as i32)
                && !set.ghosts.contains_key(&remap.remap_id)
                && let Some(ghost) = reader.ghost(remap.remap_id)
            {
                set.ghosts.insert(remap.remap_id, ghost);
            }
        }
        set.processes = reader.processes();
        set
    }
}

struct SetReader<'a> {
    store: &'a dyn ImageStore,
    budget: Budget,
    findings: &'a mut Findings,
}

impl SetReader<'_> {
    /// Each process once, and each thread: the images of one that comes again and
    /// again would be read as often.
    fn processes(&mut self) -> Vec<ProcessImages> {
        let mut processes = Vec::new();
        let mut tids = HashSet::new();
        for pstree in self.all::<proto::PstreeEntry>(ImageKind::Pstree, 0) {
            let pid = pstree.pid;
            if !tids.insert(pid) {
                self.of_pstree(pid, "pid", "is not unique");
                break;
            }
            processes.push(self.process(pstree, &mut tids));
            if self.is_done() {
                break;
            }
        }
        processes
    }

    fn process(&mut self, pstree: proto::PstreeEntry, tids: &mut HashSet<u32>) -> ProcessImages {
        let pid = pstree.pid;
        let mut process = ProcessImages { pstree, ..ProcessImages::default() };
        // The threads of a zombie are not in the set.
        let leader: proto::CoreEntry = self.one(ImageKind::Core, pid);
        process.cores.insert(pid, leader);
        if process.is_zombie() {
            return process;
        }
        let mut is_leader_known = false;
        for &tid in &process.pstree.threads {
            if tid == pid && !is_leader_known {
                is_leader_known = true;
                continue;
            }
            if !tids.insert(tid) {
                self.of_pstree(pid, "threads", format!("hold {tid} again"));
                break;
            }
            if self.is_done() {
                break;
            }
            process.cores.insert(tid, self.one(ImageKind::Core, tid));
        }
        process.ids = self.one(ImageKind::Ids, pid);
        process.mm = self.one(ImageKind::Mm, pid);
        process.fs = self.one(ImageKind::Fs, pid);
        // Of a table that several share, each has its own copy.
        process.fdinfo = self.all(ImageKind::Fdinfo, process.ids.files_id);
        process
    }

    fn of_pstree(&mut self, pid: u32, field: &str, problem: impl Into<String>) {
        let image = ImageKind::Pstree.file_name(0);
        self.findings.add(Violation::new(image, Some(pid), field, problem));
    }

    fn files(&mut self) -> (BTreeMap<u32, proto::FileEntry>, Vec<u32>) {
        let kind = ImageKind::Files;
        let (mut files, mut in_order, mut twice) = (BTreeMap::new(), Vec::new(), Vec::new());
        let read = self.read(kind, 0, |reader, budget| {
            while let Some(file) = reader.next_within::<proto::FileEntry>(budget)? {
                let id = file.id;
                in_order.push(id);
                twice.extend(files.insert(id, file).map(|_| id));
            }
            Ok(())
        });
        if self.or_missing(kind, 0, read).is_none() {
            return Default::default();
        }
        for id in twice {
            let image = kind.file_name(0);
            self.findings.add(Violation::new(image, None, "id", format!("{id} is not unique")));
        }
        (files, in_order)
    }

    fn memories(&mut self) -> BTreeMap<u64, proto::MemfdInodeEntry> {
        let mut memories = BTreeMap::new();
        for memory in self.all_if_there::<proto::MemfdInodeEntry>(ImageKind::Memfd, 0) {
            let id = memory.inode_id;
            if memories.insert(id, memory).is_some() {
                let image = ImageKind::Memfd.file_name(0);
                let problem = format!("{id} is not unique");
                self.findings.add(Violation::new(image, None, "inode_id", problem));
            }
        }
        memories
    }

    /// The records of an image that may be absent, the data behind each of
    /// them passed over: so many `bytes`.
    fn with_payloads<M: Message + Default>(
        &mut self,
        kind: ImageKind,
        bytes: fn(&M) -> u32,
    ) -> Vec<M> {
        self.records(kind, 0, bytes).there().unwrap_or_default()
    }

    /// A deleted file, its content passed over.
    fn ghost(&mut self, id: u32) -> Option<GhostImage> {
        let kind = ImageKind::GhostFile;
        let read = self.read(kind, id, |reader, budget| {
            let entry: proto::GhostFileEntry =
                reader.next_within(budget)?.ok_or(ReadError::Empty)?;
            let mut ghost = GhostImage { entry, size: 0, end: 0 };
            if ghost.entry.chunks != Some(true) {
                ghost.size = reader.skip_rest()?;
                return Ok(ghost);
            }
            ghost.size = ghost.entry.size.unwrap_or(0);
            while let Some(chunk) = reader.next_within::<proto::GhostChunkEntry>(budget)? {
                reader.skip_payload(chunk.len)?;
                ghost.end = ghost.end.max(chunk.off.saturating_add(chunk.len));
            }
            Ok(ghost)
        });
        self.or_missing(kind, id, read)
    }

    /// The only record of an image, which must be there.
    fn one<M: Message + Default>(&mut self, kind: ImageKind, id: u32) -> M {
        let read = self.first(kind, id);
        self.or_missing(kind, id, read).unwrap_or_default()
    }

    /// The only record of an image that may be absent.
    fn optional<M: Message + Default>(&mut self, kind: ImageKind, id: u32) -> Option<M> {
        self.first(kind, id).there()
    }

    fn first<M: Message + Default>(&mut self, kind: ImageKind, id: u32) -> Read<M> {
        self.read(kind, id, |reader, budget| reader.next_within(budget)?.ok_or(ReadError::Empty))
    }

    /// All records of an image, which must be there.
    fn all<M: Message + Default>(&mut self, kind: ImageKind, id: u32) -> Vec<M> {
        let read = self.records(kind, id, |_| 0);
        self.or_missing(kind, id, read).unwrap_or_default()
    }

    /// All records of an image, none where it is not there.
    fn all_if_there<M: Message + Default>(&mut self, kind: ImageKind, id: u32) -> Vec<M> {
        self.records(kind, id, |_| 0).there().unwrap_or_default()
    }

    /// All records, with so many `bytes` behind each of them.
    fn records<M: Message + Default>(
        &mut self,
        kind: ImageKind,
        id: u32,
        bytes: fn(&M) -> u32,
    ) -> Read<Vec<M>> {
        self.read(kind, id, |reader, budget| {
            let mut records = Vec::new();
            while let Some(record) = reader.next_within(budget)? {
                reader.skip_payload(u64::from(bytes(&record)))?;
                records.push(record);
            }
            Ok(records)
        })
    }

    /// Tells of an image that is not there.
    fn or_missing<T>(&mut self, kind: ImageKind, id: u32, read: Read<T>) -> Option<T> {
        if let Read::Absent = read {
            self.findings.add(Violation::missing(kind.file_name(id)));
        }
        read.there()
    }

    /// Reads an image as `content` does.
    fn read<T>(
        &mut self,
        kind: ImageKind,
        id: u32,
        content: impl FnOnce(&mut Opened<'_>, &mut Budget) -> Result<T, ReadError>,
    ) -> Read<T> {
        if self.is_done() {
            return Read::Told;
        }
        let name = kind.file_name(id);
        let opened = open(self.store, kind, &name);
        let read = opened.and_then(|opened| {
            opened.map(|mut reader| content(&mut reader, &mut self.budget)).transpose()
        });
        match read {
            Ok(Some(read)) => Read::All(read),
            Ok(None) => Read::Absent,
            Err(error) => {
                self.findings.add(Violation::unreadable(name, &error));
                Read::Told
            }
        }
    }

    /// Whether enough was told.
    fn is_done(&self) -> bool {
        self.budget.is_spent() || self.findings.is_full()
    }
}

/// What has become of reading an image.
enum Read<T> {
    All(T),
    Absent,
    /// What is wrong with it, or with others before, was told.
    Told,
}

impl<T> Read<T> {
    fn there(self) -> Option<T> {
        match self {
            Self::All(read) => Some(read),
            Self::Absent | Self::Told => None,
        }
    }
}

type Opened<'a> = ImageReader<Box<dyn ImageContent + 'a>>;

fn pipe_bytes(entry: &proto::PipeDataEntry) -> u32 {
    entry.bytes
}

fn packet_bytes(entry: &proto::SkPacketEntry) -> u32 {
    entry.length
}

/// Opens an image; `None` when it is not there.
pub(super) fn open<'a>(
    store: &'a dyn ImageStore,
    kind: ImageKind,
    name: &str,
) -> Result<Option<Opened<'a>>, ReadError> {
    store.open(name)?.map(|input| ImageReader::new(kind, input)).transpose()
}
