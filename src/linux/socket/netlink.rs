//! Sockets that talk to the kernel: `struct netlink_sock`.

use crate::kernel::KernelError;
use crate::linux::view::Struct;
use crate::memory::GuestVirt;

use super::sock::Sock;

/// Most groups that are read: 57 families of 64 groups at most are known.
const MAX_GROUPS: u32 = 4096;

kernel_struct! {
    /// A socket of netlink, which begins with its [`Sock`]: `struct netlink_sock`.
    pub struct NetlinkSock: "netlink_sock" {
        /// Its address: 0 until it is bound.
        portid: u32 = ["portid"],
        /// Whom it is connected to: 0 is the kernel.
        dst_portid: u32 = ["dst_portid"],
        /// The group that it is connected to.
        dst_group: u32 = ["dst_group"],
        /// `NETLINK_F_*`: options.
        flags: u64 = ["flags"],
        /// How many groups `groups` has room for.
        ngroups: u32 = ["ngroups"],
        /// The groups that it is a member of, a bit each.
        groups: GuestVirt = ["groups"],
        /// Whether it is bound.
        bound: bool = ["bound"],
        /// Whether the answer to a request is still being read.
        cb_running: bool = ["cb_running"],
    }
}

impl<'k> NetlinkSock<'k> {
    /// The socket that `sock` is the beginning of: `nlk_sk()`.
    ///
    /// # Errors
    ///
    /// [`KernelError::MissingStruct`].
    pub fn of(sock: &Sock<'k>) -> Result<Self, KernelError> {
        Self::at(sock.kernel(), sock.addr())
    }

    /// The groups that it is a member of, as words of a bit each: group 1 is the
    /// lowest bit of the first.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for more groups than any family has.
    pub fn memberships(&self) -> Result<Vec<u32>, KernelError> {
        let (count, at) = (self.ngroups()?, self.groups()?);
        if at.is_null() {
            return Ok(Vec::new());
        }
        if count > MAX_GROUPS {
            let why = format!("it has room for {count} groups");
            return Err(KernelError::Corrupt {
                what: "netlink_sock".into(),
                addr: self.addr(),
                why,
            });
        }
        let mut words = vec![[0; 4]; count.div_ceil(32) as usize];
        self.kernel().read(at, words.as_flattened_mut())?;
        Ok(words.into_iter().map(u32::from_le_bytes).collect())
    }
}
