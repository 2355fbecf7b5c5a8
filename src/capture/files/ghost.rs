//! Deleted files, with their content from the page cache, and deleted
//! directories.

use crate::kernel::{Kernel, KernelError};
use crate::linux::{CachedPages, CachedPlace, Inode, Page, Struct, settled};
use crate::memory::{GuestPhys, PAGE_SIZE};
use crate::snapshot::{Chunk, FileTime, GhostFile, Id, NamedFile, taken_directories};

use super::super::error::CaptureError;
use super::super::obstacle::Obstacle;
use super::stat::{S_IFDIR, S_IFMT, S_IFREG};
use super::{Files, Reading, path};

/// File systems whose files are nowhere but in the page cache, or in swap: what
/// is not there is a hole.
const IN_MEMORY: &[&str] = &["tmpfs", "ramfs", "devtmpfs", "rootfs"];
/// Unit of `inode.i_blocks`, in bytes.
const BLOCK: u64 = 512;
/// Entries that the kernel may keep of a file besides its content.
const SPARE_ENTRIES: u64 = 64;

impl<'k> Files<'k> {
    /// A deleted file, or why it cannot be saved. What is in it is that of
    /// another one where that lies below it.
    pub(super) fn ghost(
        &mut self,
        inode: &Inode<'k>,
        content: &Inode<'k>,
    ) -> Result<Result<Id<GhostFile>, String>, CaptureError> {
        if let Some(&known) = self.ghosts.get(&inode.addr()) {
            return Ok(Ok(known));
        }
        if inode.nlink()? > 0 {
            return Ok(Err("is a deleted name of a file that has others".into()));
        }
        let limit = self.ghost_limit;
        let content = match inode.mode()? & S_IFMT {
            S_IFREG => {
                let kind = content.sb()?.map_or(Ok(String::new()), |sb| sb.type_name())?;
                settled(|| Content::look_at(content, IN_MEMORY.contains(&kind.as_str()), limit))?
            }
            // There is nothing in it any more.
            S_IFDIR => Ok(Content { size: 0, limit, pages: Vec::new() }),
            _ => Err("was deleted and is neither a regular file nor a directory".into()),
        };
        let content = match content {
            Ok(content) => content,
            Err(why) => return Ok(Err(why)),
        };
        let chunks = match self.reading {
            Reading::Contents => {
                self.budget.take(content.bytes())?;
                content.read(inode.kernel())?
            }
            Reading::Survey => Vec::new(),
        };
        let time = |seconds: i64, nanoseconds: u32| FileTime { seconds, nanoseconds };
        let ghost = GhostFile {
            uid: inode.uid()?,
            gid: inode.gid()?,
            mode: inode.mode()?,
            dev: path::device(inode)?,
            ino: inode.ino()?,
            atime: time(inode.atime_seconds()?, inode.atime_nanoseconds()?),
            mtime: time(inode.mtime_seconds()?, inode.mtime_nanoseconds()?),
            size: content.size,
            chunks,
        };
        self.budget.take_for::<GhostFile>(1)?;
        let id = self.tables.ghosts.push(ghost);
        self.ghosts.insert(inode.addr(), id);
        Ok(Ok(id))
    }

    /// Deleted directories of whose name there is something else by now.
    pub(super) fn deleted_directories_in_the_way(&self) -> Vec<Obstacle> {
        let paths = self.tables.paths.iter().map(|(_, path)| NamedFile {
            path: path.path.as_bytes(),
            ghost: path.ghost.map(Id::index),
            is_directory: path.ghost.is_some() && path.mode & S_IFMT == S_IFDIR,
        });
        let taken = taken_directories(&paths.collect::<Vec<_>>());
        let is_taken = |id: &Id<GhostFile>| taken.contains(&id.index());
        let directories = self.directories.iter().filter(|(ghost, ..)| is_taken(ghost));
        directories
            .map(|(_, subject, holder)| {
                subject.obstacle(format!("{holder} whose name is another's by now"))
            })
            .collect()
    }
}

/// Entries, and pages, that a file within the limit has at most.
fn entries_max(limit: u64) -> u64 {
    limit / PAGE_SIZE + SPARE_ENTRIES
}

/// Where the content of a file is.
struct Content {
    /// Of the file, in bytes.
    size: u64,
    /// How many bytes of it may be in memory.
    limit: u64,
    /// Ascending by index.
    pages: Vec<(u64, GuestPhys)>,
}

impl Content {
    /// Finds the pages of a file, or why they cannot be saved.
    fn look_at(
        inode: &Inode<'_>,
        in_memory: bool,
        limit: u64,
    ) -> Result<Result<Self, String>, KernelError> {
        let size = inode.size()?;
        // CRIU compares what a file takes with its limit; of a file on a disk
        // not all need be written to it yet.
        let taken = inode.blocks()?.saturating_mul(BLOCK);
        let taken = if in_memory { taken } else { taken.max(size) };
        if taken > limit {
            return Ok(Err(format!(
                "is a deleted file that takes {taken} bytes, more than the limit of {limit} \
                 (--ghost-limit)"
            )));
        }
        let Some(cache) = inode.mapping()? else {
            return Ok(Err("is a deleted file without a page cache".into()));
        };
        let mut content = Self { size, limit, pages: Vec::new() };
        let entries = usize::try_from(entries_max(limit)).unwrap_or(usize::MAX);
        for found in cache.cached(entries)? {
            if let Err(why) = content.add(inode.kernel(), found, in_memory)? {
                return Ok(Err(why.into()));
            }
        }
        let needed = size.div_ceil(PAGE_SIZE);
        let missing = needed.saturating_sub(content.pages.len() as u64);
        if !in_memory && missing > 0 {
            return Ok(Err(format!(
                "is a deleted file of {needed} pages of which {missing} are not in memory"
            )));
        }
        Ok(Ok(content))
    }

    /// Adds the pages of one entry, as far as they lie within the file.
    fn add(
        &mut self,
        kernel: &Kernel,
        found: CachedPages,
        in_memory: bool,
    ) -> Result<Result<(), &'static str>, KernelError> {
        let CachedPages { first, count, place } = found;
        let end = first.saturating_add(count).min(self.size.div_ceil(PAGE_SIZE));
        let start = match place {
            CachedPlace::Memory(start) => start,
            CachedPlace::Elsewhere if in_memory && first < end => {
                return Ok(Err("is a deleted file that is swapped out in part"));
            }
            CachedPlace::Elsewhere => return Ok(Ok(())),
        };
        let page = Page::of_frame(kernel, start)?;
        if !page.is_uptodate()? {
            // Nothing was ever written to it, or its content is on its way.
            return Ok(match in_memory {
                _ if first >= end => Ok(()),
                true if !page.is_locked()? => Ok(()),
                true => Err("is a deleted file that the guest is just moving in memory"),
                false => Err("is a deleted file that is being read from the disk"),
            });
        }
        let room = entries_max(self.limit).saturating_sub(self.pages.len() as u64);
        if end.saturating_sub(first) > room {
            return Ok(Err("is a deleted file that takes more than the limit (--ghost-limit)"));
        }
        for index in first..end {
            let offset = (index - first).saturating_mul(PAGE_SIZE);
            let frame = start.checked_add(offset);
            self.pages.extend(frame.map(|frame| (index, frame)));
        }
        Ok(Ok(()))
    }

    fn bytes(&self) -> u64 {
        self.pages.len() as u64 * PAGE_SIZE
    }

    fn read(&self, kernel: &Kernel) -> Result<Vec<Chunk>, CaptureError> {
        let mut chunks: Vec<Chunk> = Vec::new();
        for &(index, frame) in &self.pages {
            let offset = index.saturating_mul(PAGE_SIZE);
            let len = self.size.saturating_sub(offset).min(PAGE_SIZE) as usize;
            let mut page = [0; PAGE_SIZE as usize];
            kernel.space().memory().read(frame, &mut page[..len])?;
            match chunks.last_mut() {
                Some(last) if last.offset + last.data.len() as u64 == offset => {
                    last.data.extend(&page[..len]);
                }
                _ => chunks.push(Chunk { offset, data: page[..len].to_vec() }),
            }
        }
        Ok(chunks)
    }
}
