//! Memory that processes share: files that are nowhere but in memory and have
//! no place in any directory. Such are those of `memfd_create()`, and those
//! behind mappings that are shared and anonymous (`shmem_zero_setup()`,
//! `mm/shmem.c`).

use std::collections::HashMap;

use crate::kernel::KernelError;
use crate::linux::{Dentry, File, HugetlbfsInodeInfo, Inode, ShmemInodeInfo, Struct};
use crate::memory::GuestVirt;
use crate::snapshot::{Id, KernelString, OpenFileKind, SharedMemory};

use super::super::error::CaptureError;
use super::super::obstacle::{Obstacles, Subject};
use super::super::pages::MemoryPages;
use super::Files;
use super::kind::Kind;
use super::outside::{Shared, Thing};

/// What names of `memfd_create()` begin with.
const MEMFD: &[u8] = b"memfd:";
/// The name of shared anonymous memory.
const ZERO: &[u8] = b"dev/zero";
/// The name of anonymous memory of huge pages, also where it is private.
const HUGE: &[u8] = b"anon_hugepage";

/// Shared memory that was read.
pub(super) struct Memory<'k> {
    inode: Inode<'k>,
    huge_page_bits: Option<u8>,
    dentry: Dentry<'k>,
    subject: Subject,
    holder: String,
    /// How often members of the tree refer to each open file of it.
    references: HashMap<GuestVirt, (File<'k>, u64)>,
}

impl<'k> Files<'k> {
    /// An open file that is shared memory.
    pub(super) fn open_memory(
        &mut self,
        file: &File<'k>,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<Option<OpenFileKind>, CaptureError> {
        let memory = self.memory(file, holder, obstacles)?;
        let pos = file.pos()?;
        Ok(memory.map(|memory| OpenFileKind::Memory { memory, pos }))
    }

    /// Shared memory; `None` with an obstacle where it cannot be saved.
    pub(super) fn memory(
        &mut self,
        file: &File<'k>,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<Option<Id<SharedMemory>>, CaptureError> {
        let (inode, dentry) = (file.inode()?, file.path()?.dentry()?);
        let (Some(inode), Some(dentry)) = (inode, dentry) else {
            obstacles.add(format!("{holder} is memory without inode"));
            return Ok(None);
        };
        if let Some(&known) = self.memory_ids.get(&inode.addr()) {
            return Ok(Some(known));
        }
        let given = dentry.name_bytes()?;
        let name = match given.strip_prefix(MEMFD) {
            Some(name) => name.to_vec(),
            // As `/proc/PID/maps` shows it, and CRIU has it.
            None if [ZERO, HUGE].contains(&given.as_slice()) => [b"/", given.as_slice()].concat(),
            None => {
                let name = KernelString::from(given);
                obstacles.add(format!("{holder} is memory of the kernel's own ({name})"));
                return Ok(None);
            }
        };
        let huge_page_bits = file.huge_page_bits()?;
        let (seals, swapped) = match huge_page_bits {
            Some(_) => (HugetlbfsInodeInfo::of(&inode)?.seals()?, 0),
            None => {
                let info = ShmemInodeInfo::of(&inode)?;
                (info.seals()?, info.swapped()?)
            }
        };
        obstacles.add_if(swapped != 0, format!("{swapped} pages of {holder} are swapped out"));
        self.budget.take_for::<(SharedMemory, Memory<'_>)>(1)?;
        let id = self.tables.memories.push(SharedMemory {
            name: name.into(),
            uid: inode.uid()?,
            gid: inode.gid()?,
            mode: inode.mode()?,
            size: inode.size()?,
            seals,
            huge_page_bits,
            pages: Vec::new(),
        });
        self.memory_ids.insert(inode.addr(), id);
        self.memories.push(Memory {
            inode,
            huge_page_bits,
            dentry,
            subject: obstacles.subject(),
            holder: holder.to_owned(),
            references: HashMap::new(),
        });
        Ok(Some(id))
    }

    /// Whether an open file is what the kernel makes for an anonymous mapping of
    /// huge pages.
    pub(in super::super) fn is_anonymous_huge(&self, file: &File<'k>) -> Result<bool, KernelError> {
        let dentry = file.path()?.dentry()?;
        let name = dentry.map_or(Ok(Vec::new()), |dentry| dentry.name_bytes())?;
        let is_memory = matches!(Kind::of(file, &self.unlinked)?, Kind::Memory);
        Ok(is_memory && name == HUGE)
    }

    /// Notes that a descriptor or an area refers to an open file of `memory`.
    pub(super) fn refers_to(&mut self, memory: Id<SharedMemory>, file: &File<'k>) {
        if let Some(memory) = self.memories.get_mut(memory.index() as usize) {
            memory.references.entry(file.addr()).or_insert((*file, 0)).1 += 1;
        }
    }
}

impl<'k> Memory<'k> {
    pub(super) fn pages(&self) -> MemoryPages<'k> {
        MemoryPages::new(self.inode, self.huge_page_bits)
    }

    /// Notes the memory, where others may have it, too. `is_certain` says that
    /// nothing refers to it for a moment only.
    pub(super) fn shared(&self, is_certain: bool) -> Result<Option<Shared<'_>>, KernelError> {
        // Each open file of it has a reference to its name.
        let mut may_be = u64::from(self.dentry.count()?) > self.references.len() as u64;
        for (file, known) in self.references.values() {
            may_be |= file.references()? > *known;
        }
        Ok(may_be.then_some(Shared {
            thing: Thing::Mapped(self.inode.addr()),
            subject: &self.subject,
            holder: &self.holder,
            what: "is memory",
            is_certain,
        }))
    }
}
