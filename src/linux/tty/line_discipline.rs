//! Line disciplines: of `N_TTY`, the usual one, what it keeps.

use crate::kernel::KernelError;

use super::super::view::{Ptr, Raw, Struct};
use super::Tty;

/// `N_TTY_BUF_SIZE` (`include/linux/tty.h`).
const BUFFER: u64 = 4096;

kernel_struct! {
    /// A terminal's line discipline: `struct tty_ldisc`.
    pub struct TtyLdisc: "tty_ldisc" {
        /// Which one.
        ops: Ptr<TtyLdiscOps<'k>> = ["ops"],
    }
}

kernel_struct! {
    /// A line discipline: `struct tty_ldisc_ops`.
    pub struct TtyLdiscOps: "tty_ldisc_ops" {
        /// Its number: `N_TTY` is 0.
        num: u32 = ["num"],
    }
}

kernel_struct! {
    /// What `N_TTY` keeps of a terminal: `struct n_tty_data`.
    pub struct NTtyData: "n_tty_data" {
        /// Bytes that were ever put into `read_buf`.
        read_head: u64 = ["read_head"],
        /// Those that were ever read.
        read_tail: u64 = ["read_tail"],
        /// Bytes that were ever put into the buffer of echoes.
        echo_head: u64 = ["echo_head"],
        /// Those that were ever written.
        echo_tail: u64 = ["echo_tail"],
        /// Whether the next character is taken as it is (`VLNEXT`).
        lnext: bool = ["lnext"],
        /// What was not read yet, a ring of 4096 bytes.
        read_buf: Raw = ["read_buf"],
        /// Which bytes of it end a line, one bit each.
        read_flags: Raw = ["read_flags"],
    }
}

/// What waits to be read, as the line discipline holds it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UnreadInput {
    /// The bytes, each with whether it ends a line.
    pub bytes: Vec<(u8, bool)>,
}

impl<'k> Tty<'k> {
    /// What `N_TTY` keeps; `None` where there is another line discipline or none.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn n_tty(&self) -> Result<Option<NTtyData<'k>>, KernelError> {
        let Some(ops) = self.ldisc()?.map_or(Ok(None), |ldisc| ldisc.ops())? else {
            return Ok(None);
        };
        let data = self.disc_data()?;
        if ops.num()? != 0 || data.is_null() {
            return Ok(None);
        }
        NTtyData::at(self.kernel(), data).map(Some)
    }
}

impl NTtyData<'_> {
    /// What waits to be read.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for more than the buffer has room for.
    pub fn unread(&self) -> Result<UnreadInput, KernelError> {
        let (head, tail) = (self.read_head()?, self.read_tail()?);
        let count = head.wrapping_sub(tail);
        if count > BUFFER {
            let why = format!("{count} bytes wait to be read");
            return Err(KernelError::Corrupt { what: "n_tty_data".into(), addr: self.addr(), why });
        }
        let mut ring = vec![0; BUFFER as usize];
        self.read_buf()?.read(&mut ring)?;
        let mut ends = vec![0; BUFFER as usize / 8];
        self.read_flags()?.read(&mut ends)?;
        let at = (0..count).map(|number| (tail.wrapping_add(number) % BUFFER) as usize);
        let bytes = at.map(|at| (ring[at], ends[at / 8] >> (at % 8) & 1 == 1)).collect();
        Ok(UnreadInput { bytes })
    }
}
