//! Pipes and FIFOs: `struct pipe_inode_info`.

use crate::kernel::KernelError;
use crate::memory::{GuestVirt, PAGE_SIZE};

use super::page::Page;
use super::view::{Ptr, Struct};

/// Most slots of a pipe. `fs.pipe-max-size` is 256 slots unless it was raised.
const MAX_SLOTS: u32 = 1 << 16;

kernel_struct! {
    /// A pipe: `struct pipe_inode_info`.
    pub struct PipeInodeInfo: "pipe_inode_info" {
        /// Number of the next slot to be filled, ever growing.
        head: u32 = ["head"],
        /// Number of the first slot that holds data.
        tail: u32 = ["tail"],
        /// How many slots there are, a power of two.
        ring_size: u32 = ["ring_size"],
        /// How many of them may be used: `fcntl(F_GETPIPE_SZ)` in pages.
        max_usage: u32 = ["max_usage"],
        /// Open files that refer to it (`struct file`).
        files: u32 = ["files"],
        /// The slots.
        bufs: GuestVirt = ["bufs"],
        /// Of a pipe for notifications (`O_NOTIFICATION_PIPE`), its queue.
        watch_queue: GuestVirt = ?["watch_queue"],
    }
}

kernel_struct! {
    /// A slot of a pipe: `struct pipe_buffer`.
    pub struct PipeBuffer: "pipe_buffer" {
        /// The frame that holds the data.
        page: Ptr<Page<'k>> = ["page"],
        /// Where in it the data that was not read yet begins, in bytes.
        offset: u32 = ["offset"],
        /// How much that is, in bytes.
        len: u32 = ["len"],
        /// What kind of frame it is.
        ops: GuestVirt = ["ops"],
        /// `PIPE_BUF_FLAG_*`.
        flags: u32 = ["flags"],
    }
}

impl<'k> PipeInodeInfo<'k> {
    /// Its size in bytes, as `fcntl(F_GETPIPE_SZ)` gives it.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for a size that no pipe has.
    pub fn capacity(&self) -> Result<u32, KernelError> {
        let slots = self.max_usage()?;
        if slots > MAX_SLOTS {
            return Err(self.corrupt(format!("max_usage is {slots}")));
        }
        Ok(slots * PAGE_SIZE as u32)
    }

    /// The slots that hold data, in the order in which they are read.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] where the ring is none.
    pub fn buffers(&self) -> Result<Vec<PipeBuffer<'k>>, KernelError> {
        let (head, tail, size) = (self.head()?, self.tail()?, self.ring_size()?);
        let used = head.wrapping_sub(tail);
        if !size.is_power_of_two() || size > MAX_SLOTS || used > size {
            return Err(self.corrupt(format!("{used} slots of {size} are used")));
        }
        let (kernel, first) = (self.kernel(), PipeBuffer::at(self.kernel(), self.bufs()?)?);
        let slots = (0..used).map(|number| tail.wrapping_add(number) & (size - 1));
        slots
            .map(|slot| {
                let offset = u64::from(slot).wrapping_mul(first.size());
                PipeBuffer::at(kernel, first.addr().wrapping_add(offset))
            })
            .collect()
    }

    fn corrupt(&self, why: String) -> KernelError {
        KernelError::Corrupt { what: "pipe_inode_info".into(), addr: self.addr(), why }
    }
}
