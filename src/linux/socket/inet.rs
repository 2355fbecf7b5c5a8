//! Sockets of the families of the Internet: `struct inet_sock` and what TCP and
//! UDP add to it.

use crate::kernel::KernelError;
use crate::linux::view::{Embedded, Ptr, Struct};
use crate::memory::GuestVirt;

use super::sock::Sock;

kernel_struct! {
    /// A socket over IPv4 or IPv6, which begins with its [`Sock`]:
    /// `struct inet_sock`.
    pub struct InetSock: "inet_sock" {
        /// The port that it is bound to, in network order.
        sport: u16 = ["inet_sport"],
        /// `IP_TTL`; -1 where it was not set.
        uc_ttl: i16 = ["uc_ttl"],
        /// `IP_TOS`.
        tos: u8 = ["tos"],
        /// `IP_MINTTL`.
        min_ttl: u8 = ["min_ttl"],
        /// `IP_MULTICAST_TTL`.
        mc_ttl: u8 = ["mc_ttl"],
        /// `IP_MTU_DISCOVER`.
        pmtudisc: u8 = ["pmtudisc"],
        /// `IP_UNICAST_IF`.
        uc_index: i32 = ["uc_index"],
        /// `IP_MULTICAST_IF`: a device's index.
        mc_index: i32 = ["mc_index"],
        /// `IP_OPTIONS`.
        options: GuestVirt = ["inet_opt"],
        /// `IP_ADD_MEMBERSHIP`.
        mc_list: GuestVirt = ["mc_list"],
        /// What IPv6 adds; null in a socket over IPv4.
        ipv6: Ptr<Ipv6Pinfo<'k>> = ["pinet6"],
        /// Bits that [`InetFlags`] names, since 6.6.
        inet_flags: u64 = ?["inet_flags"],
        /// Before: what comes with messages, with the first nine of these bits.
        cmsg_flags: u16 = ?["cmsg_flags"],
        /// Labels of `IPV6_FLOWLABEL_MGR`, on 6.12 and later; before, see
        /// [`Ipv6Pinfo::flow_labels`].
        flow_labels: GuestVirt = ?["ipv6_fl_list"],
        /// `IP_LOCAL_PORT_RANGE`, since 6.3.
        local_port_range: u32 = ?["local_port_range"],
        /// `IP_RECVERR`, up to 6.5, as all that follow.
        recverr: bool = ?["recverr"],
        /// `IP_RECVERR_RFC4884`.
        recverr_rfc4884: bool = ?["recverr_rfc4884"],
        /// `IP_FREEBIND`.
        freebind: bool = ?["freebind"],
        /// `IP_TRANSPARENT`.
        transparent: bool = ?["transparent"],
        /// `IP_MULTICAST_LOOP`.
        mc_loop: bool = ?["mc_loop"],
        /// `IP_MULTICAST_ALL`.
        mc_all: bool = ?["mc_all"],
        /// `IP_BIND_ADDRESS_NO_PORT`.
        bind_address_no_port: bool = ?["bind_address_no_port"],
        /// `IP_HDRINCL` of a raw socket.
        hdrincl: bool = ?["hdrincl"],
        /// `IP_NODEFRAG` of a raw socket.
        nodefrag: bool = ?["nodefrag"],
    }
}

kernel_struct! {
    /// What IPv6 adds to a socket: `struct ipv6_pinfo`.
    pub struct Ipv6Pinfo: "ipv6_pinfo" {
        /// `IPV6_RECVPKTINFO` and the like, with the bits of `rxopt`.
        received: u16 = ["rxopt.all"],
        /// `IPV6_TCLASS`.
        tclass: u8 = ["tclass"],
        /// `IPV6_JOIN_GROUP`.
        mc_list: GuestVirt = ["ipv6_mc_list"],
        /// `IPV6_JOIN_ANYCAST`.
        ac_list: GuestVirt = ["ipv6_ac_list"],
        /// Extension headers to be sent.
        options: GuestVirt = ["opt"],
        /// `IPV6_UNICAST_HOPS`, 9 bits; -1 for the system's default.
        hop_limit: i32 = ["hop_limit"],
        /// `IPV6_MULTICAST_HOPS`.
        mcast_hops: i32 = ["mcast_hops"],
        /// `IPV6_UNICAST_IF`.
        ucast_oif: i32 = ["ucast_oif"],
        /// `IPV6_MULTICAST_IF`.
        mcast_oif: i32 = ["mcast_oif"],
        /// `IPV6_MTU_DISCOVER`.
        pmtudisc: u8 = ["pmtudisc"],
        /// `IPV6_MTU`.
        frag_size: u32 = ["frag_size"],
        /// `IPV6_ADDR_PREFERENCES`.
        srcprefs: u8 = ["srcprefs"],
        /// `IPV6_MINHOPCOUNT`.
        min_hopcount: u8 = ["min_hopcount"],
        /// The device of `IPV6_PKTINFO`.
        sticky_device: i32 = ["sticky_pktinfo.ipi6_ifindex"],
        /// Labels of `IPV6_FLOWLABEL_MGR`, up to 6.1; later, see
        /// [`InetSock::flow_labels`].
        flow_labels: GuestVirt = ?["ipv6_fl_list"],
        /// `IPV6_RECVERR`, up to 6.5, as what follows up to 6.6.
        recverr: bool = ?["recverr"],
        /// `IPV6_RECVERR_RFC4884`.
        recverr_rfc4884: bool = ?["recverr_rfc4884"],
        /// `IPV6_MULTICAST_LOOP`.
        mc_loop: bool = ?["mc_loop"],
        /// `IPV6_MULTICAST_ALL`.
        mc_all: bool = ?["mc_all"],
        /// `IPV6_AUTOFLOWLABEL` was set.
        autoflowlabel_set: bool = ?["autoflowlabel_set"],
        /// `IPV6_DONTFRAG`.
        dontfrag: bool = ?["dontfrag"],
        /// `IPV6_FLOWINFO_SEND`.
        sndflow: bool = ?["sndflow"],
    }
}

kernel_struct! {
    /// A socket that makes connections: `struct inet_connection_sock`.
    pub struct InetConnectionSock: "inet_connection_sock" {
        /// Connections that are being made (`qlen`).
        being_made: u32 = ["icsk_accept_queue.qlen.counter"],
        /// `TCP_DEFER_ACCEPT`.
        defer_accept: u8 = ["icsk_accept_queue.rskq_defer_accept"],
        /// `TCP_FASTOPEN` of a listener.
        fastopen: u32 = ["icsk_accept_queue.fastopenq.max_qlen"],
        /// `TCP_USER_TIMEOUT`.
        user_timeout: u32 = ["icsk_user_timeout"],
        /// `TCP_SYNCNT`.
        syn_retries: u8 = ["icsk_syn_retries"],
        /// `TCP_CONGESTION` was set.
        ca_setsockopt: bool = ["icsk_ca_setsockopt"],
        /// `TCP_ULP`, such as TLS.
        ulp: GuestVirt = ["icsk_ulp_ops"],
    }
}

kernel_struct! {
    /// A TCP socket: `struct tcp_sock`.
    pub struct TcpSock: "tcp_sock" {
        /// `TCP_NODELAY` is 1, `TCP_CORK` 2.
        nonagle: u8 = ["nonagle"],
        /// `TCP_KEEPIDLE` in jiffies; 0 for the system's default.
        keepalive_time: u32 = ["keepalive_time"],
        /// `TCP_KEEPINTVL` in jiffies; 0 for the system's default.
        keepalive_intvl: u32 = ["keepalive_intvl"],
        /// `TCP_KEEPCNT`; 0 for the system's default.
        keepalive_probes: u8 = ["keepalive_probes"],
        /// `TCP_WINDOW_CLAMP`, or the size that a connection has found.
        window_clamp: u32 = ["window_clamp"],
        /// Number of the next byte to be sent; 0 where it never was connected.
        write_seq: u32 = ["write_seq"],
        /// `TCP_MAXSEG`.
        user_mss: u16 = ["rx_opt.user_mss"],
        /// `TCP_NOTSENT_LOWAT`.
        notsent_lowat: u32 = ["notsent_lowat"],
        /// `TCP_LINGER2` in jiffies.
        linger2: i32 = ["linger2"],
        /// `TCP_SAVE_SYN`.
        save_syn: u8 = ["save_syn"],
        /// Keys of `TCP_MD5SIG`.
        md5sig_info: GuestVirt = ?["md5sig_info"],
        /// Keys of `TCP_AO_ADD_KEY`, since 6.7.
        ao_info: GuestVirt = ?["ao_info"],
        /// `TCP_INQ`.
        recvmsg_inq: bool = ?["recvmsg_inq"],
        /// `TCP_THIN_LINEAR_TIMEOUTS`.
        thin_lto: bool = ?["thin_lto"],
        /// `TCP_TX_DELAY`.
        tx_delay: u32 = ?["tcp_tx_delay"],
        /// `TCP_FASTOPEN_CONNECT`.
        fastopen_connect: bool = ?["fastopen_connect"],
        /// `TCP_FASTOPEN_NO_COOKIE`.
        fastopen_no_cookie: bool = ?["fastopen_no_cookie"],
    }
}

kernel_struct! {
    /// A UDP socket: `struct udp_sock`.
    pub struct UdpSock: "udp_sock" {
        /// The family of what is being put together (`MSG_MORE`).
        pending: i32 = ["pending"],
        /// `UDP_ENCAP`.
        encap_type: u8 = ["encap_type"],
        /// `UDP_SEGMENT`.
        gso_size: u16 = ["gso_size"],
        /// What was received and is being taken.
        reader_queue: Embedded<super::sk_buff::SkBuffHead<'k>> = ["reader_queue"],
        /// `UDP_CORK`, up to 5.10.
        corkflag: u32 = ?["corkflag"],
        /// `UDP_GRO`, up to 6.5, as those that follow.
        gro_enabled: bool = ?["gro_enabled"],
        /// `UDP_NO_CHECK6_TX`.
        no_check6_tx: bool = ?["no_check6_tx"],
        /// `UDP_NO_CHECK6_RX`.
        no_check6_rx: bool = ?["no_check6_rx"],
        /// Bits of `UDP_FLAGS_*`, later.
        udp_flags: u64 = ?["udp_flags"],
    }
}

kernel_struct! {
    /// Sockets that share a port (`SO_REUSEPORT`): `struct sock_reuseport`.
    pub struct SockReuseport: "sock_reuseport" {
        /// What chooses among them (`SO_ATTACH_REUSEPORT_CBPF`).
        prog: GuestVirt = ["prog"],
    }
}

bitflags::bitflags! {
    /// `INET_FLAGS_*` (`include/net/inet_sock.h`, 6.6), an enumeration without a
    /// name.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct InetFlags: u64 {
        /// `IP_PKTINFO`.
        const PKTINFO = 1;
        /// `IP_RECVTTL`, `IP_RECVTOS`, `IP_RECVOPTS` and the like.
        const RECEIVED = 0x1fe;
        /// `IP_RECVERR`.
        const RECVERR = 1 << 9;
        /// `IP_RECVERR_RFC4884`.
        const RECVERR_RFC4884 = 1 << 10;
        /// `IP_FREEBIND`.
        const FREEBIND = 1 << 11;
        /// `IP_HDRINCL`, `IPV6_HDRINCL`.
        const HDRINCL = 1 << 12;
        /// `IP_MULTICAST_LOOP`.
        const MC_LOOP = 1 << 13;
        /// `IP_MULTICAST_ALL`.
        const MC_ALL = 1 << 14;
        /// `IP_TRANSPARENT`.
        const TRANSPARENT = 1 << 15;
        /// `IP_NODEFRAG`.
        const NODEFRAG = 1 << 17;
        /// `IP_BIND_ADDRESS_NO_PORT`.
        const BIND_ADDRESS_NO_PORT = 1 << 18;
        /// `IPV6_MULTICAST_LOOP`, since 6.7, as those that follow.
        const MC6_LOOP = 1 << 20;
        /// `IPV6_RECVERR_RFC4884`.
        const RECVERR6_RFC4884 = 1 << 21;
        /// `IPV6_MULTICAST_ALL`.
        const MC6_ALL = 1 << 22;
        /// `IPV6_AUTOFLOWLABEL` was set.
        const AUTOFLOWLABEL_SET = 1 << 23;
        /// `IPV6_DONTFRAG`.
        const DONTFRAG = 1 << 25;
        /// `IPV6_RECVERR`.
        const RECVERR6 = 1 << 26;
        /// `IPV6_FLOWINFO_SEND`.
        const SNDFLOW = 1 << 29;
        const _ = !0;
    }
}

impl<'k> InetSock<'k> {
    /// The socket that `sock` is the beginning of: `inet_sk()`.
    ///
    /// # Errors
    ///
    /// [`KernelError::MissingStruct`].
    pub fn of(sock: &Sock<'k>) -> Result<Self, KernelError> {
        Self::at(sock.kernel(), sock.addr())
    }

    /// What is set of it, by the numbers of 6.7 and later.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn options_set(&self) -> Result<InetFlags, KernelError> {
        let flags = match self.inet_flags()? {
            Some(flags) => flags,
            None => self.cmsg_flags()?.unwrap_or(0).into(),
        };
        let mut flags = InetFlags::from_bits_retain(flags);
        // A field of its own is of a kernel that has no such bit.
        if let Some(ipv6) = self.ipv6()? {
            for (is_set, flag) in [
                (ipv6.recverr()?, InetFlags::RECVERR6),
                (ipv6.recverr_rfc4884()?, InetFlags::RECVERR6_RFC4884),
                (ipv6.mc_loop()?, InetFlags::MC6_LOOP),
                (ipv6.mc_all()?, InetFlags::MC6_ALL),
                (ipv6.autoflowlabel_set()?, InetFlags::AUTOFLOWLABEL_SET),
                (ipv6.dontfrag()?, InetFlags::DONTFRAG),
                (ipv6.sndflow()?, InetFlags::SNDFLOW),
            ] {
                flags.set(flag, is_set.unwrap_or(flags.contains(flag)));
            }
        }
        for (is_set, flag) in [
            (self.recverr()?, InetFlags::RECVERR),
            (self.recverr_rfc4884()?, InetFlags::RECVERR_RFC4884),
            (self.freebind()?, InetFlags::FREEBIND),
            (self.transparent()?, InetFlags::TRANSPARENT),
            (self.mc_loop()?, InetFlags::MC_LOOP),
            (self.mc_all()?, InetFlags::MC_ALL),
            (self.bind_address_no_port()?, InetFlags::BIND_ADDRESS_NO_PORT),
            (self.hdrincl()?, InetFlags::HDRINCL),
            (self.nodefrag()?, InetFlags::NODEFRAG),
        ] {
            flags.set(flag, is_set.unwrap_or(flags.contains(flag)));
        }
        Ok(flags)
    }
}

impl UdpSock<'_> {
    /// Whether datagrams are being put together: `UDP_CORK`, `MSG_MORE`.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn is_corked(&self) -> Result<bool, KernelError> {
        // `UDP_FLAGS_CORK` is 0 (`include/linux/udp.h`).
        let flag = self.udp_flags()?.unwrap_or(0) & 1 | u64::from(self.corkflag()?.unwrap_or(0));
        Ok(self.pending()? != 0 || flag != 0)
    }

    /// Whether datagrams come joined: `UDP_GRO`.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn joins_datagrams(&self) -> Result<bool, KernelError> {
        // `UDP_FLAGS_GRO_ENABLED`
        let flag = self.udp_flags()?.unwrap_or(0) >> 3 & 1;
        Ok(flag == 1 || self.gro_enabled()?.unwrap_or(false))
    }

    /// Whether datagrams over IPv6 go or come without checksums: `UDP_NO_CHECK6_TX`,
    /// `UDP_NO_CHECK6_RX`.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn omits_checksums(&self) -> Result<bool, KernelError> {
        // `UDP_FLAGS_NO_CHECK6_TX`, `UDP_FLAGS_NO_CHECK6_RX`
        let flags = self.udp_flags()?.unwrap_or(0) & 6;
        let omits = |field: Option<bool>| field.unwrap_or(false);
        Ok(flags != 0 || omits(self.no_check6_tx()?) || omits(self.no_check6_rx()?))
    }
}
