//! Sockets of the Unix family: `struct unix_sock`.

use crate::kernel::KernelError;
use crate::linux::file::File;
use crate::linux::path::{Dentry, Path};
use crate::linux::pid::Pid;
use crate::linux::view::{Embedded, Ptr, Raw, Struct};
use crate::memory::GuestVirt;

use super::sk_buff::SkBuff;
use super::sock::Sock;

/// Most descriptors in one message (`SCM_MAX_FD`, `include/net/scm.h`).
const MAX_RIGHTS: i16 = 253;
/// Where `sockaddr_un.sun_path` begins, behind the family.
const FAMILY: u64 = 2;
/// Longest name: `sun_path` with a zero behind it (`unix_mkname_bsd()`,
/// `net/unix/af_unix.c`).
const MAX_SUN_PATH: u64 = 109;

kernel_struct! {
    /// A socket of the Unix family, which begins with its [`Sock`]:
    /// `struct unix_sock`.
    pub struct UnixSock: "unix_sock" {
        /// Its name; null for none.
        address: Ptr<UnixAddress<'k>> = ["addr"],
        /// Where the name lies, if it is a path.
        path: Embedded<Path<'k>> = ["path"],
        /// What it is connected to: also a socket that was closed since.
        peer: Ptr<Sock<'k>> = ["peer"],
        /// A byte of `MSG_OOB` that was not received, since 5.15.
        oob_skb: GuestVirt = ?["oob_skb"],
    }
}

kernel_struct! {
    /// The name of a socket: `struct unix_address`.
    pub struct UnixAddress: "unix_address" {
        /// Bytes of `name`, the family included.
        len: i32 = ["len"],
        /// `struct sockaddr_un`.
        name: Raw = ["name"],
    }
}

kernel_struct! {
    /// What the family keeps with a buffer: `struct unix_skb_parms`.
    pub struct UnixSkbParms: "unix_skb_parms" {
        /// Whose process sent it, where anyone was to be told.
        pid: Ptr<Pid<'k>> = ["pid"],
        /// Descriptors that were sent with it.
        fp: Ptr<ScmFpList<'k>> = ["fp"],
        /// Bytes that were received already.
        consumed: u32 = ["consumed"],
    }
}

kernel_struct! {
    /// Descriptors in flight: `struct scm_fp_list`.
    pub struct ScmFpList: "scm_fp_list" {
        /// How many.
        count: i16 = ["count"],
        /// The files, as pointers.
        fp: Raw = ["fp"],
    }
}

impl UnixAddress<'_> {
    /// The name without the family, as `getsockname()` gives it: an abstract one
    /// begins with a zero, and a path ends with one.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for one that is longer than a kernel allows.
    pub fn sun_path(&self) -> Result<Vec<u8>, KernelError> {
        let len = u64::try_from(self.len()?).ok().and_then(|len| len.checked_sub(FAMILY));
        let Some(len) = len.filter(|len| *len <= MAX_SUN_PATH) else {
            let why = format!("it has {} bytes", self.len()?);
            return Err(KernelError::Corrupt {
                what: "unix_address".into(),
                addr: self.addr(),
                why,
            });
        };
        let mut name = vec![0; len as usize];
        self.kernel().read(self.name()?.addr().wrapping_add(FAMILY), &mut name)?;
        Ok(name)
    }
}

impl<'k> UnixSock<'k> {
    /// The socket that `sock` is the beginning of: `unix_sk()`.
    ///
    /// # Errors
    ///
    /// [`KernelError::MissingStruct`].
    pub fn of(sock: &Sock<'k>) -> Result<Self, KernelError> {
        Self::at(sock.kernel(), sock.addr())
    }

    /// Its name, as [`UnixAddress::sun_path`]; empty for none.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn sun_path(&self) -> Result<Vec<u8>, KernelError> {
        self.address()?.map_or(Ok(Vec::new()), |address| address.sun_path())
    }

    /// The file that it is bound to; `None` where its name is no path.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn bound_to(&self) -> Result<Option<Dentry<'k>>, KernelError> {
        self.path()?.dentry()
    }

    /// What it is connected to, unless that was closed.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn live_peer(&self) -> Result<Option<Sock<'k>>, KernelError> {
        let Some(peer) = self.peer()? else { return Ok(None) };
        Ok((!peer.has_flag(peer.flag_numbers()?.dead()?)?).then_some(peer))
    }
}

impl<'k> UnixSkbParms<'k> {
    /// What the family keeps with `buffer`: `UNIXCB()`.
    ///
    /// # Errors
    ///
    /// [`KernelError::MissingStruct`].
    pub fn of(buffer: &SkBuff<'k>) -> Result<Self, KernelError> {
        Self::at(buffer.kernel(), buffer.cb()?.addr())
    }
}

impl<'k> ScmFpList<'k> {
    /// The files.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for more than a message can have.
    pub fn files(&self) -> Result<Vec<File<'k>>, KernelError> {
        let (count, place) = (self.count()?, self.fp()?);
        let bytes = i64::from(count) * 8;
        if !(0..=MAX_RIGHTS).contains(&count) || bytes.cast_unsigned() > place.size() {
            return Err(place.corrupt(format!("it has {count} files")));
        }
        let mut pointers = vec![[0; 8]; count as usize];
        self.kernel().read(place.addr(), pointers.as_flattened_mut())?;
        let file = |bytes| File::at(self.kernel(), GuestVirt::new(u64::from_le_bytes(bytes)));
        pointers.into_iter().map(file).collect()
    }
}
