//! What is on its way to a terminal: `struct tty_port` and its buffers.

use crate::kernel::KernelError;
use crate::memory::GuestVirt;

use super::super::view::{Embedded, Ptr, Raw, Struct};

/// Most buffers of a port, and most bytes of one. A pseudoterminal's hold 8 KiB
/// in pieces of some 1800 bytes, others 64 KiB (`drivers/tty/tty_buffer.c`).
const MAX_BUFFERS: usize = 1024;
const MAX_SIZE: u64 = 1 << 20;

kernel_struct! {
    /// The device behind a terminal: `struct tty_port`.
    pub struct TtyPort: "tty_port" {
        /// What came in and the line discipline did not take yet.
        buf: Embedded<TtyBufhead<'k>> = ["buf"],
    }
}

kernel_struct! {
    /// A queue of buffers: `struct tty_bufhead`.
    pub struct TtyBufhead: "tty_bufhead" {
        /// The first one.
        head: Ptr<TtyBuffer<'k>> = ["head"],
        /// Held by who hands them to the line discipline: its owner, 0 for
        /// nobody, beside flags in the low bits.
        lock: u64 = ["lock.owner.counter"],
    }
}

kernel_struct! {
    /// A buffer: `struct tty_buffer`.
    pub struct TtyBuffer: "tty_buffer" {
        /// The next one.
        next: Ptr<TtyBuffer<'k>> = ["next"],
        /// Bytes that were put into it.
        used: u32 = ["used"],
        /// Those of them that may be taken.
        commit: u32 = ["commit"],
        /// Those that have been.
        read: u32 = ["read"],
        /// The bytes, and behind them, where there are any, a mark for each.
        data: Raw = ["data"],
    }
}

impl<'k> TtyBufhead<'k> {
    /// Whether somebody is handing buffers to the line discipline: what they
    /// hold may be there as well.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn is_locked(&self) -> Result<bool, KernelError> {
        /// `MUTEX_FLAGS` (`kernel/locking/mutex.h`).
        const FLAGS: u64 = 7;
        Ok(self.lock()? & !FLAGS != 0)
    }

    /// What came in and was not taken yet.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for buffers that no port has.
    pub fn pending(&self) -> Result<Vec<u8>, KernelError> {
        let mut pending = Vec::new();
        let mut at = self.head()?;
        for _ in 0..MAX_BUFFERS {
            let Some(buffer) = at else { return Ok(pending) };
            let (read, used) = (u64::from(buffer.read()?), u64::from(buffer.used()?));
            if read > used || used > MAX_SIZE || pending.len() as u64 > MAX_SIZE {
                return Err(self.corrupt(format!("a buffer holds {used} bytes, {read} read")));
            }
            let mut bytes = vec![0; (used - read) as usize];
            self.kernel().read(buffer.data()?.addr().wrapping_add(read), &mut bytes)?;
            pending.append(&mut bytes);
            at = buffer.next()?;
        }
        Err(self.corrupt("its buffers do not end".into()))
    }

    fn corrupt(&self, why: String) -> KernelError {
        let addr: GuestVirt = self.addr();
        KernelError::Corrupt { what: "tty_bufhead".into(), addr, why }
    }
}
