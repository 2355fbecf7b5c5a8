//! Pipes and FIFOs.

use crate::kernel::KernelError;
use crate::linux::{File, Inode, PipeBuffer, PipeInodeInfo, Struct, settled};
use crate::snapshot::{Id, OpenFileKind, Pipe};

use super::super::error::CaptureError;
use super::super::obstacle::{Obstacles, Subject};
use super::outside::{Shared, Thing};
use super::{FASYNC, Files, O_DIRECT, Reading};

/// Slots whose frame holds the data as it is read, by their operations
/// (`fs/pipe.c`, `fs/splice.c`).
const READABLE: &[&str] = &[
    "anon_pipe_buf_ops",
    "page_cache_pipe_buf_ops",
    "user_page_pipe_buf_ops",
    "default_pipe_buf_ops",
    "nosteal_pipe_buf_ops",
];
/// `PIPE_BUF_FLAG_PACKET` (`include/linux/pipe_fs_i.h`).
const PACKET: u32 = 1 << 3;
/// Longest slot: a compound page that a network card has filled and `splice()`
/// has moved.
const MAX_SLOT: u32 = 2 << 20;

/// What is known of the ends of a pipe.
pub(super) struct Ends<'k> {
    inode: Inode<'k>,
    /// How many open files refer to it that are saved.
    files: u32,
    /// Who has the first one.
    subject: Subject,
    holder: String,
}

impl<'k> Files<'k> {
    /// An end of a pipe or FIFO.
    pub(super) fn pipe(
        &mut self,
        file: &File<'k>,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<Option<OpenFileKind>, CaptureError> {
        let Some(inode) = file.inode()? else { return Ok(None) };
        let Some(pipe) = inode.pipe()? else {
            obstacles.add(format!("{holder} is a pipe without its structure"));
            return Ok(None);
        };
        let flags = file.flags()?;
        let is_fifo = inode.sb()?.map_or(Ok(String::new()), |sb| sb.type_name())? != "pipefs";
        // CRIU makes pipes by pipe(), and opens FIFOs by their path.
        obstacles.add_if(
            flags & O_DIRECT != 0,
            format!("{holder} is a pipe that keeps packets apart (O_DIRECT)"),
        );
        let signals_io = is_fifo && flags & FASYNC != 0;
        obstacles.add_if(signals_io, format!("{holder} is a FIFO that signals I/O (O_ASYNC)"));
        let path = match is_fifo {
            true => match self.path(&file.path()?, holder, obstacles)? {
                Some(path) => Some(path),
                None => return Ok(None),
            },
            false => None,
        };
        let pipe = self.shared_pipe(&inode, &pipe, holder, obstacles)?;
        Ok(Some(match path {
            Some(path) => OpenFileKind::Fifo { pipe, path },
            None => OpenFileKind::Pipe { pipe },
        }))
    }

    fn shared_pipe(
        &mut self,
        inode: &Inode<'k>,
        pipe: &PipeInodeInfo<'k>,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<Id<Pipe>, CaptureError> {
        if let Some(&known) = self.pipes.get(&inode.addr()) {
            if let Some(ends) = self.ends.get_mut(known.index() as usize) {
                ends.files += 1;
            }
            return Ok(known);
        }
        let (capacity, slots) = (pipe.capacity()?, settled(|| Slots::read(pipe))?);
        let length = slots.length;
        if let Some(why) = slots.unreadable {
            obstacles.add(format!("{holder} is a pipe that {why}"));
        }
        let notifies = pipe.watch_queue()?.is_some_and(|queue| !queue.is_null());
        obstacles.add_if(notifies, format!("{holder} is a pipe for notifications"));
        // Restored, each page of the data takes a slot.
        obstacles.add_if(
            length > u64::from(capacity),
            format!("{holder} is a pipe with {length} bytes in slots for {capacity}"),
        );
        let data = match self.reading == Reading::Contents && obstacles.are_none() {
            true => self.pipe_data(&slots.buffers)?,
            false => Vec::new(),
        };
        self.budget.take_for::<(Pipe, Ends<'_>)>(1)?;
        let id = self.tables.pipes.push(Pipe { ino: inode.ino()?, capacity, data });
        self.pipes.insert(inode.addr(), id);
        let (subject, holder) = (obstacles.subject(), holder.to_owned());
        self.ends.push(Ends { inode: *inode, files: 1, subject, holder });
        Ok(id)
    }

    fn pipe_data(&mut self, buffers: &[PipeBuffer<'k>]) -> Result<Vec<u8>, CaptureError> {
        let mut data = Vec::new();
        for buffer in buffers {
            let Some(page) = buffer.page()? else { continue };
            let offset = u64::from(buffer.offset()?);
            let at = page.phys().and_then(|frame| frame.checked_add(offset));
            let at = at.ok_or_else(|| corrupt(buffer, "its data lies nowhere".into()))?;
            // It may not be what it was.
            let len = buffer.len()?;
            if len > MAX_SLOT {
                return Err(corrupt(buffer, format!("{len} bytes")).into());
            }
            self.budget.take(len.into())?;
            let mut bytes = vec![0; len as usize];
            buffer.kernel().space().memory().read(at, &mut bytes)?;
            data.append(&mut bytes);
        }
        Ok(data)
    }
}

/// The slots of a pipe that hold data.
struct Slots<'k> {
    buffers: Vec<PipeBuffer<'k>>,
    /// Bytes in all of them.
    length: u64,
    /// Why the data cannot be saved.
    unreadable: Option<&'static str>,
}

impl<'k> Slots<'k> {
    fn read(pipe: &PipeInodeInfo<'k>) -> Result<Self, KernelError> {
        let mut slots = Self { buffers: pipe.buffers()?, length: 0, unreadable: None };
        for buffer in &slots.buffers {
            let (offset, len, ops) = (buffer.offset()?, buffer.len()?, buffer.ops()?);
            // It was emptied by now.
            if ops.is_null() || offset > MAX_SLOT || len > MAX_SLOT {
                return Err(corrupt(buffer, format!("{len} bytes at {offset}")));
            }
            slots.length += u64::from(len);
            if !READABLE.iter().any(|name| buffer.kernel().symbol(name) == Some(ops)) {
                slots.unreadable = Some("holds data of an unknown kind");
            } else if buffer.flags()? & PACKET != 0 {
                slots.unreadable = Some("holds packets (O_DIRECT)");
            }
        }
        Ok(slots)
    }
}

fn corrupt(buffer: &PipeBuffer<'_>, why: String) -> KernelError {
    KernelError::Corrupt { what: "pipe_buffer".into(), addr: buffer.addr(), why }
}

impl Ends<'_> {
    /// Notes the pipe where somebody outside holds an end of it.
    pub(super) fn shared(&self, is_certain: bool) -> Result<Option<Shared<'_>>, KernelError> {
        let all = self.inode.pipe()?.map_or(Ok(0), |pipe| pipe.files())?;
        Ok((all > self.files).then_some(Shared {
            thing: Thing::Pipe(self.inode.addr()),
            subject: &self.subject,
            holder: &self.holder,
            what: "is a pipe",
            is_certain,
        }))
    }
}
