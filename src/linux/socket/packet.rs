//! Sockets that take what network devices send and receive: `struct packet_sock`.

use crate::kernel::KernelError;
use crate::linux::view::{Place, Ptr, Raw, Struct};
use crate::memory::GuestVirt;

use super::sock::Sock;

/// Most memberships of a socket that are read.
const MAX_MEMBERSHIPS: usize = 1000;

kernel_struct! {
    /// A socket of packets, which begins with its [`Sock`]: `struct packet_sock`.
    pub struct PacketSock: "packet_sock" {
        /// `PACKET_FANOUT`: those that it shares packets with.
        fanout: GuestVirt = ["fanout"],
        /// `PACKET_RX_RING`
        rx_ring: GuestVirt = ["rx_ring.pg_vec"],
        /// `PACKET_TX_RING`
        tx_ring: GuestVirt = ["tx_ring.pg_vec"],
        /// `PACKET_COPY_THRESH`
        copy_thresh: i32 = ["copy_thresh"],
        /// The device that it is bound to, by number; 0 for all.
        ifindex: i32 = ["ifindex"],
        /// `ETH_P_*` that it takes, in network order.
        num: u16 = ["num"],
        /// `PACKET_ADD_MEMBERSHIP`
        mclist: Ptr<PacketMclist<'k>> = ["mclist"],
        /// `PACKET_VERSION`
        tp_version: u32 = ["tp_version"],
        /// `PACKET_RESERVE`
        tp_reserve: u32 = ["tp_reserve"],
        /// `PACKET_TIMESTAMP`
        tp_tstamp: u32 = ["tp_tstamp"],
        /// Bits that [`PacketSockFlags`] numbers.
        flags: u64 = ["flags"],
        /// `PACKET_LOSS`, before it became one of them.
        tp_loss: bool = ?["tp_loss"],
        /// `PACKET_TX_HAS_OFF`, likewise.
        tp_tx_has_off: bool = ?["tp_tx_has_off"],
        /// `PACKET_VNET_HDR`, likewise.
        has_vnet_hdr: bool = ?["has_vnet_hdr"],
        /// Since 6.6: the length of that header, by `PACKET_VNET_HDR_SZ` too.
        vnet_hdr_sz: u8 = ?["vnet_hdr_sz"],
        /// What sends, before `PACKET_QDISC_BYPASS` was a flag.
        xmit: GuestVirt = ?["xmit"],
        /// `PACKET_IGNORE_OUTGOING`
        ignore_outgoing: bool = ["prot_hook.ignore_outgoing"],
    }
}

kernel_struct! {
    /// The numbers of bits in [`PacketSock::flags`]: `enum packet_sock_flags`, each
    /// the place of a member.
    (optional) pub struct PacketSockFlags: "packet_sock_flags" {
        /// `PACKET_ORIGDEV`
        origdev: Raw = ?["PACKET_SOCK_ORIGDEV"],
        /// `PACKET_AUXDATA`
        auxdata: Raw = ?["PACKET_SOCK_AUXDATA"],
        /// `PACKET_LOSS`
        tp_loss: Raw = ?["PACKET_SOCK_TP_LOSS"],
        /// `PACKET_TX_HAS_OFF`
        tx_has_off: Raw = ?["PACKET_SOCK_TX_HAS_OFF"],
        /// `PACKET_VNET_HDR`
        vnet_hdr: Raw = ?["PACKET_SOCK_HAS_VNET_HDR"],
        /// `PACKET_QDISC_BYPASS`
        qdisc_bypass: Raw = ?["PACKET_SOCK_QDISC_BYPASS"],
    }
}

kernel_struct! {
    /// What a device is asked to take besides: `struct packet_mclist`.
    pub struct PacketMclist: "packet_mclist" {
        /// The next one.
        next: Ptr<PacketMclist<'k>> = ["next"],
        /// The device's number.
        ifindex: i32 = ["ifindex"],
        /// How often it was asked for.
        count: i32 = ["count"],
        /// `PACKET_MR_*`
        kind: u16 = ["type"],
        /// Bytes of the address.
        alen: u16 = ["alen"],
        /// The address.
        addr: [u8; 32] = ["addr"],
    }
}

impl<'k> PacketSock<'k> {
    /// The socket that `sock` is the beginning of: `pkt_sk()`.
    ///
    /// # Errors
    ///
    /// [`KernelError::MissingStruct`].
    pub fn of(sock: &Sock<'k>) -> Result<Self, KernelError> {
        Self::at(sock.kernel(), sock.addr())
    }

    /// Whether the flag is set that `number` finds, where this kernel has it.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn has_flag(
        &self,
        number: fn(&PacketSockFlags<'k>) -> Result<Option<Place<'k>>, KernelError>,
    ) -> Result<bool, KernelError> {
        if !PacketSockFlags::exists(self.kernel()) {
            return Ok(false);
        }
        let numbers = PacketSockFlags::at(self.kernel(), GuestVirt::NULL)?;
        let Some(place) = number(&numbers)? else { return Ok(false) };
        let number = u32::try_from(place.addr().get()).unwrap_or(u32::MAX);
        Ok(self.flags()?.checked_shr(number).is_some_and(|flags| flags & 1 == 1))
    }

    /// What devices were asked to take besides.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] where the list does not end.
    pub fn memberships(&self) -> Result<Vec<PacketMclist<'k>>, KernelError> {
        let (mut found, mut at) = (Vec::new(), self.mclist()?);
        while let Some(membership) = at {
            if found.len() >= MAX_MEMBERSHIPS {
                return Err(KernelError::Corrupt {
                    what: "packet_sock".into(),
                    addr: self.addr(),
                    why: format!("more than {MAX_MEMBERSHIPS} memberships"),
                });
            }
            at = membership.next()?;
            found.push(membership);
        }
        Ok(found)
    }
}
