//! Terminals: `struct tty_struct`.

mod buffer;
mod line_discipline;

use crate::kernel::{Kernel, KernelError};
use crate::memory::GuestVirt;

use super::file::File;
use super::list::ListHead;
use super::pid::Pid;
use super::view::{Embedded, Place, Ptr, Raw, Struct};

pub use buffer::{TtyBuffer, TtyBufhead, TtyPort};
pub use line_discipline::{NTtyData, TtyLdisc, TtyLdiscOps, UnreadInput};

kernel_struct! {
    /// What an open terminal keeps beside its file: `struct tty_file_private`.
    pub struct TtyFilePrivate: "tty_file_private" {
        /// The terminal.
        tty: Ptr<Tty<'k>> = ["tty"],
        /// The open file.
        file: Ptr<File<'k>> = ["file"],
        /// Its place in [`Tty::files`].
        list: Embedded<ListHead<'k>> = ["list"],
    }
}

kernel_struct! {
    /// A terminal, or one end of a pseudoterminal: `struct tty_struct`.
    pub struct Tty: "tty_struct" {
        /// How many references there are to it.
        references: u32 = ["kref.refcount.refs.counter"],
        /// What its driver does: tells an end of a pseudoterminal from others.
        ops: GuestVirt = ["ops"],
        /// Its number among those of its driver.
        index: u32 = ["index"],
        /// Its name, as `/proc/tty` and `ps` have it.
        name: [u8; 64] = ["name"],
        /// What makes lines of what comes in.
        ldisc: Ptr<TtyLdisc<'k>> = ["ldisc"],
        /// Its settings.
        termios: Embedded<Ktermios<'k>> = ["termios"],
        /// Which of them may not be changed (`TIOCSLCKTRMIOS`).
        termios_locked: Embedded<Ktermios<'k>> = ["termios_locked"],
        /// The size of its window.
        winsize: Embedded<Winsize<'k>> = ["winsize"],
        /// Bits that [`TtyFlag`] numbers.
        raw_flags: u64 = ["flags"],
        /// The process group in the foreground.
        pgrp: Ptr<Pid<'k>> = ["ctrl.pgrp", "pgrp"],
        /// The session that it controls.
        session: Ptr<Pid<'k>> = ["ctrl.session", "session"],
        /// Of a pseudoterminal's master, whether it tells of changes at the other
        /// end (`TIOCPKT`).
        packet: bool = ["ctrl.packet", "packet"],
        /// Of its slave, changes that were not told yet.
        pktstatus: u32 = ["ctrl.pktstatus", "ctrl_status"],
        /// Whether its output is stopped (`^S`).
        stopped: bool = ["flow.stopped", "stopped"],
        /// Whether that was by `tcflow()`.
        flow_stopped: bool = ["flow.tco_stopped", "flow_stopped"],
        /// The other end of a pseudoterminal.
        link: Ptr<Tty<'k>> = ["link"],
        /// What the line discipline keeps.
        disc_data: GuestVirt = ["disc_data"],
        /// The open files that refer to it.
        files: Embedded<ListHead<'k>> = ["tty_files"],
        /// What comes in passes this.
        port: Ptr<TtyPort<'k>> = ["port"],
    }
}

kernel_struct! {
    /// Settings of a terminal: `struct ktermios`.
    pub struct Ktermios: "ktermios" {
        /// Input modes.
        iflag: u32 = ["c_iflag"],
        /// Output modes.
        oflag: u32 = ["c_oflag"],
        /// Speed and frame.
        cflag: u32 = ["c_cflag"],
        /// Local modes.
        lflag: u32 = ["c_lflag"],
        /// Line discipline, as far as `TCSETS` says.
        line: u8 = ["c_line"],
        /// Control characters.
        cc: [u8; 19] = ["c_cc"],
    }
}

kernel_struct! {
    /// The size of a window: `struct winsize`.
    pub struct Winsize: "winsize" {
        /// Lines.
        row: u16 = ["ws_row"],
        /// Columns.
        col: u16 = ["ws_col"],
        /// Width in pixels.
        xpixel: u16 = ["ws_xpixel"],
        /// Height in pixels.
        ypixel: u16 = ["ws_ypixel"],
    }
}

kernel_struct! {
    /// The numbers of bits in [`Tty::raw_flags`]: `enum tty_struct_flags`, each
    /// the place of a member. A kernel before 6.16 has them as macros.
    (optional) pub struct TtyStructFlags: "tty_struct_flags" {
        /// See [`TtyFlag::OtherClosed`].
        other_closed: Raw = ?["TTY_OTHER_CLOSED"],
        /// See [`TtyFlag::Exclusive`].
        exclusive: Raw = ?["TTY_EXCLUSIVE"],
        /// See [`TtyFlag::PtyLock`].
        pty_lock: Raw = ?["TTY_PTY_LOCK"],
    }
}

/// What a bit of [`Tty::raw_flags`] says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TtyFlag {
    /// The other end was open and is closed.
    OtherClosed,
    /// Nobody else may open it (`TIOCEXCL`).
    Exclusive,
    /// Of a master, the other end may not be opened yet (`TIOCSPTLCK`).
    PtyLock,
}

/// What a terminal is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TtyKind {
    /// The end of a pseudoterminal that stands for the device.
    PtyMaster,
    /// The end that programs see as their terminal.
    PtySlave,
    /// A console, a serial line or a pseudoterminal of the old kind.
    Device,
}

impl<'k> Tty<'k> {
    /// What it is.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn kind(&self) -> Result<TtyKind, KernelError> {
        let ops = Some(self.ops()?);
        Ok(if self.kernel().symbol("ptm_unix98_ops") == ops {
            TtyKind::PtyMaster
        } else if self.kernel().symbol("pty_unix98_ops") == ops {
            TtyKind::PtySlave
        } else {
            TtyKind::Device
        })
    }

    /// Whether a bit of its flags is set.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn has(&self, flag: TtyFlag) -> Result<bool, KernelError> {
        let number = flag.number(self.kernel())?;
        Ok(self.raw_flags()?.checked_shr(number).is_some_and(|flags| flags & 1 == 1))
    }
}

impl TtyFlag {
    fn number(self, kernel: &Kernel) -> Result<u32, KernelError> {
        let named: Option<Place<'_>> = match TtyStructFlags::exists(kernel) {
            true => {
                let flags = TtyStructFlags::at(kernel, GuestVirt::NULL)?;
                match self {
                    Self::OtherClosed => flags.other_closed()?,
                    Self::Exclusive => flags.exclusive()?,
                    Self::PtyLock => flags.pty_lock()?,
                }
            }
            false => None,
        };
        // `include/linux/tty.h` as it was.
        let macros = match self {
            Self::OtherClosed => 2,
            Self::Exclusive => 3,
            Self::PtyLock => 16,
        };
        Ok(named.map_or(macros, |place| u32::try_from(place.addr().get()).unwrap_or(u32::MAX)))
    }
}

impl<'k> File<'k> {
    /// Of an open terminal, the terminal.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn tty(&self) -> Result<Option<Tty<'k>>, KernelError> {
        let private = self.private_data()?;
        if private.is_null() {
            return Ok(None);
        }
        TtyFilePrivate::at(self.kernel(), private)?.tty()
    }
}
