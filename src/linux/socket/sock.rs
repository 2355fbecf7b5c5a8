//! Sockets of any family: `struct socket` and `struct sock`.

use crate::kernel::KernelError;
use crate::linux::file::File;
use crate::linux::view::{Embedded, Place, Ptr, Raw, Struct};
use crate::memory::GuestVirt;

use super::filter::SkFilter;
use super::inet::SockReuseport;
use super::sk_buff::SkBuffHead;

kernel_struct! {
    /// A socket as files know it: `struct socket`.
    pub struct Socket: "socket" {
        /// `SOCK_PASSCRED` and the like, by number; see [`Sock`] for those
        /// that newer kernels keep there.
        flags: u64 = ["flags"],
        /// Its file.
        file: Ptr<File<'k>> = ["file"],
        /// What the network knows of it.
        sk: Ptr<Sock<'k>> = ["sk"],
    }
}

kernel_struct! {
    /// A socket as its protocol knows it: `struct sock`.
    pub struct Sock: "sock" {
        /// `AF_*`.
        family: u16 = ["__sk_common.skc_family"],
        /// `SOCK_STREAM` and the like.
        kind: u16 = ["sk_type"],
        /// `IPPROTO_*`, or what the family has instead.
        protocol: u16 = ["sk_protocol"],
        /// `TCP_*` states, which all families use.
        state: u8 = ["__sk_common.skc_state"],
        /// IPv4: where it is bound, in network order.
        rcv_saddr: u32 = ["__sk_common.skc_rcv_saddr"],
        /// IPv4: what it is connected to.
        daddr: u32 = ["__sk_common.skc_daddr"],
        /// The port that it is connected to, in network order.
        dport: u16 = ["__sk_common.skc_dport"],
        /// IPv6: where it is bound.
        v6_rcv_saddr: [u8; 16] = ["__sk_common.skc_v6_rcv_saddr"],
        /// IPv6: what it is connected to.
        v6_daddr: [u8; 16] = ["__sk_common.skc_v6_daddr"],
        /// `IPV6_V6ONLY`.
        ipv6only: bool = ["__sk_common.skc_ipv6only"],
        /// Those that it shares its port with; null for none.
        reuseport_cb: Ptr<SockReuseport<'k>> = ["sk_reuseport_cb"],
        /// The network namespace.
        net: GuestVirt = ["__sk_common.skc_net.net"],
        /// Its socket; null once it was closed, or before it was accepted.
        socket: Ptr<Socket<'k>> = ["sk_socket"],
        /// Bits that [`SockFlags`] numbers.
        flags: u64 = ["__sk_common.skc_flags"],
        /// Which directions were shut down: 1 receiving, 2 sending.
        shutdown: u8 = ["sk_shutdown"],
        /// An error that the next call returns, as a number.
        err: i32 = ["sk_err"],
        /// One that only `SO_ERROR` and timeouts tell.
        err_soft: i32 = ["sk_err_soft"],
        /// What waits to be received; of a listener of the Unix family, to be
        /// accepted.
        receive_queue: Embedded<SkBuffHead<'k>> = ["sk_receive_queue"],
        /// What waits to be sent.
        write_queue: Embedded<SkBuffHead<'k>> = ["sk_write_queue"],
        /// Messages of `MSG_ERRQUEUE`.
        error_queue: Embedded<SkBuffHead<'k>> = ["sk_error_queue"],
        /// Memory of what was sent and not received yet, in bytes, plus 1.
        wmem_alloc: u32 = ["sk_wmem_alloc.refs.counter"],
        /// Connections that may wait to be accepted (`listen()`).
        max_ack_backlog: u32 = ["sk_max_ack_backlog"],
        /// Those that wait.
        ack_backlog: u32 = ["sk_ack_backlog"],
        /// `SO_SNDBUF`, in bytes.
        sndbuf: u32 = ["sk_sndbuf"],
        /// `SO_RCVBUF`, in bytes.
        rcvbuf: u32 = ["sk_rcvbuf"],
        /// `SO_BUF_LOCK` and other things that programs have set: `SOCK_*_LOCK`.
        userlocks: u8 = ["sk_userlocks"],
        /// `SO_SNDTIMEO` in jiffies.
        sndtimeo: i64 = ["sk_sndtimeo"],
        /// `SO_RCVTIMEO` in jiffies.
        rcvtimeo: i64 = ["sk_rcvtimeo"],
        /// `SO_LINGER` in jiffies.
        lingertime: u64 = ["sk_lingertime"],
        /// `SO_RCVLOWAT`, in bytes.
        rcvlowat: u32 = ["sk_rcvlowat"],
        /// `SO_PRIORITY`.
        priority: u32 = ["sk_priority"],
        /// `SO_MARK`.
        mark: u32 = ["sk_mark"],
        /// `SO_REUSEADDR`: 1, or 2 where TCP was repaired.
        reuse: u8 = ["__sk_common.skc_reuse"],
        /// `SO_REUSEPORT`.
        reuseport: bool = ["__sk_common.skc_reuseport"],
        /// `SO_NO_CHECK`.
        no_check_tx: bool = ["sk_no_check_tx"],
        /// `SO_BINDTODEVICE`: the device's index; 0 for none.
        bound_dev_if: i32 = ["__sk_common.skc_bound_dev_if"],
        /// `SO_ATTACH_FILTER`.
        filter: Ptr<SkFilter<'k>> = ["sk_filter"],
        /// `SO_PEEK_OFF`.
        peek_off: i32 = ["sk_peek_off"],
        /// `SO_TIMESTAMPING`.
        tsflags: u32 = ["sk_tsflags"],
        /// `SO_MAX_PACING_RATE`, in bytes a second.
        max_pacing_rate: u64 = ["sk_max_pacing_rate"],
        /// `SO_BUSY_POLL`, in microseconds.
        ll_usec: u32 = ?["sk_ll_usec"],
        /// `SO_BUSY_POLL_BUDGET`, since 5.11.
        busy_poll_budget: u16 = ?["sk_busy_poll_budget"],
        /// Policies of `IP_XFRM_POLICY`, one for each direction.
        policies: [u8; 16] = ?["sk_policy"],
        /// `SO_PREFER_BUSY_POLL`, since 5.11.
        prefer_busy_poll: bool = ?["sk_prefer_busy_poll"],
        /// `SO_RESERVE_MEM`, in bytes, since 5.16.
        reserved_mem: u32 = ?["sk_reserved_mem"],
        /// `SO_TXREHASH` of TCP, since 6.0; 255 where it was not set.
        txrehash: u8 = ?["sk_txrehash"],
        /// A clock that timestamps are of. It came with 5.14, as
        /// `SO_BUF_LOCK` did.
        bind_phc: i32 = ?["sk_bind_phc"],
        /// `SO_PASSCRED`, since 6.16.
        scm_credentials: bool = ?["sk_scm_credentials"],
        /// `SO_PASSSEC`, since 6.16.
        scm_security: bool = ?["sk_scm_security"],
        /// `SO_PASSPIDFD`, since 6.16.
        scm_pidfd: bool = ?["sk_scm_pidfd"],
        /// `SO_PASSRIGHTS`, since 6.16, when it came.
        scm_rights: bool = ?["sk_scm_rights"],
    }
}

kernel_struct! {
    /// The numbers of bits in [`Sock::flags`]: `enum sock_flags`, each the
    /// place of a member.
    pub struct SockFlags: "sock_flags" {
        /// It was closed.
        dead: Raw = ["SOCK_DEAD"],
        /// `SO_OOBINLINE`.
        urginline: Raw = ["SOCK_URGINLINE"],
        /// `SO_KEEPALIVE`.
        keepopen: Raw = ["SOCK_KEEPOPEN"],
        /// `SO_LINGER`.
        linger: Raw = ["SOCK_LINGER"],
        /// `SO_BROADCAST`.
        broadcast: Raw = ["SOCK_BROADCAST"],
        /// `SO_DONTROUTE`.
        localroute: Raw = ["SOCK_LOCALROUTE"],
        /// `SO_DEBUG`.
        dbg: Raw = ["SOCK_DBG"],
        /// `SO_TIMESTAMP`.
        rcvtstamp: Raw = ["SOCK_RCVTSTAMP"],
        /// `SO_TIMESTAMPNS`.
        rcvtstampns: Raw = ["SOCK_RCVTSTAMPNS"],
        /// `SO_RXQ_OVFL`.
        rxq_ovfl: Raw = ["SOCK_RXQ_OVFL"],
        /// `SO_ZEROCOPY`.
        zerocopy: Raw = ["SOCK_ZEROCOPY"],
        /// `SO_WIFI_STATUS`.
        wifi_status: Raw = ["SOCK_WIFI_STATUS"],
        /// `SO_NOFCS`.
        nofcs: Raw = ["SOCK_NOFCS"],
        /// `SO_LOCK_FILTER`.
        filter_locked: Raw = ["SOCK_FILTER_LOCKED"],
        /// `SO_SELECT_ERR_QUEUE`.
        select_err_queue: Raw = ["SOCK_SELECT_ERR_QUEUE"],
        /// `SO_TXTIME`.
        txtime: Raw = ["SOCK_TXTIME"],
        /// `SO_RCVMARK`, since 6.0.
        rcvmark: Raw = ?["SOCK_RCVMARK"],
        /// `SO_RCVPRIORITY`, since 6.14.
        rcvpriority: Raw = ?["SOCK_RCVPRIORITY"],
    }
}

/// `include/linux/socket.h`
const AF_UNIX: u16 = 1;
const AF_NETLINK: u16 = 16;

/// Bits of [`Socket::flags`] (`include/linux/net.h`).
mod socket_flag {
    pub const PASSCRED: u32 = 3;
    pub const PASSSEC: u32 = 4;
    pub const PASSPIDFD: u32 = 7;
}

impl<'k> Sock<'k> {
    /// Of the open file of a socket, the socket: `sock_from_file()`.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn of_file(file: &File<'k>) -> Result<Option<Self>, KernelError> {
        let is_socket = file.kernel().symbol("socket_file_ops") == Some(file.op()?);
        match file.private_data()? {
            socket if is_socket && !socket.is_null() => Socket::at(file.kernel(), socket)?.sk(),
            _ => Ok(None),
        }
    }

    /// Whether it is of the Unix family.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn is_unix(&self) -> Result<bool, KernelError> {
        Ok(self.family()? == AF_UNIX)
    }

    /// The numbers of its flags.
    ///
    /// # Errors
    ///
    /// [`KernelError::MissingStruct`].
    pub fn flag_numbers(&self) -> Result<SockFlags<'k>, KernelError> {
        SockFlags::at(self.kernel(), GuestVirt::NULL)
    }

    /// `flag` is a member of [`SockFlags`], whose place is its number.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn has_flag(&self, flag: Place<'k>) -> Result<bool, KernelError> {
        let number = u32::try_from(flag.addr().get()).unwrap_or(u32::MAX);
        Ok(self.flags()?.checked_shr(number).is_some_and(|flags| flags & 1 == 1))
    }

    /// `SO_PASSCRED`.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn passes_credentials(&self) -> Result<bool, KernelError> {
        self.scm_flag(self.scm_credentials()?, socket_flag::PASSCRED)
    }

    /// `SO_PASSSEC`.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn passes_security(&self) -> Result<bool, KernelError> {
        self.scm_flag(self.scm_security()?, socket_flag::PASSSEC)
    }

    /// `SO_PASSPIDFD`, which came with 6.5.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn passes_pidfd(&self) -> Result<bool, KernelError> {
        self.scm_flag(self.scm_pidfd()?, socket_flag::PASSPIDFD)
    }

    /// `newer` is the flag in the kernels that have it in the socket itself. There
    /// it lies where TCP has something else (`sk_may_scm_recv()`,
    /// `include/net/sock.h`).
    fn scm_flag(&self, newer: Option<bool>, number: u32) -> Result<bool, KernelError> {
        match newer {
            Some(flag) => Ok(flag && [AF_UNIX, AF_NETLINK].contains(&self.family()?)),
            None => self.socket_flag(number),
        }
    }

    fn socket_flag(&self, number: u32) -> Result<bool, KernelError> {
        Ok(self.socket()?.map_or(Ok(0), |socket| socket.flags())? >> number & 1 == 1)
    }
}
