//! Sockets over IPv4 and IPv6: TCP that is not connected, and UDP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::kernel::KernelError;
use crate::linux::{
    InetConnectionSock, InetFlags, InetSock, NetNamespace, Sock, Struct, TcpSock, UdpSock,
};
use crate::memory::GuestVirt;
use crate::snapshot::{InetSocket, SocketKind, SocketState, TcpOptions};

use super::super::super::obstacle::Obstacles;
use super::{AF_INET6, raw};

/// `IPPROTO_*` (`include/uapi/linux/in.h`).
const IPPROTO_TCP: u16 = 6;
const IPPROTO_UDP: u16 = 17;
/// TCP over several paths: CRIU has no field for what it consists of.
const IPPROTO_MPTCP: u16 = 262;
/// `rxinfo` in `ipv6_pinfo.rxopt`, behind `srcrt` and `osrcrt`
/// (`include/linux/ipv6.h`): `IPV6_RECVPKTINFO`.
const RXINFO: u16 = 1 << 2;
/// `IP_PMTUDISC_WANT` (`include/uapi/linux/in.h`); what is above was asked for.
const PMTUDISC_WANT: u8 = 1;
/// `TCP_NAGLE_OFF` and `TCP_NAGLE_CORK` (`include/net/tcp.h`).
const NAGLE_OFF: u8 = 1;
const NAGLE_CORK: u8 = 2;

/// Reads sockets of these families.
pub(super) struct Reader<'k> {
    pub sock: Sock<'k>,
    /// Jiffies in a second.
    pub hz: u64,
    /// Whether TCP connections come back closed.
    pub tcp_close: bool,
}

impl Reader<'_> {
    /// Whether it is a TCP connection that comes back closed: as CRIU has it with
    /// `--tcp-close`, a socket that is bound and connected to nothing and is shut
    /// down (`restore_one_tcp()`, `criu/sk-tcp.c`).
    pub(super) fn is_to_be_closed(&self) -> Result<bool, KernelError> {
        Ok(self.tcp_close && self.is_connection()?)
    }

    fn is_connection(&self) -> Result<bool, KernelError> {
        let is_tcp =
            self.sock.protocol()? == IPPROTO_TCP && self.sock.kind()? == SocketKind::STREAM;
        let is_idle = [SocketState::CLOSE, SocketState::LISTEN].contains(&self.sock.state()?);
        Ok(is_tcp && (self.sock.dport()? != 0 || !is_idle))
    }

    /// Options of TCP and IP mean nothing to it any more.
    fn closed(&self) -> Result<InetSocket, KernelError> {
        let nowhere: SocketAddr = match self.sock.family()? {
            AF_INET6 => (Ipv6Addr::UNSPECIFIED, 0).into(),
            _ => (Ipv4Addr::UNSPECIFIED, 0).into(),
        };
        Ok(InetSocket {
            protocol: IPPROTO_TCP,
            source: nowhere,
            destination: nowhere,
            backlog: 0,
            v6only: self.sock.ipv6only()?,
            freebind: false,
            pktinfo: false,
            tos: 0,
            ttl: None,
            tcp: TcpOptions::default(),
            raw: None,
        })
    }

    /// What the family keeps of a socket; `None` with an obstacle where it cannot
    /// be saved.
    pub(super) fn read(
        &self,
        holder: &str,
        obstacles: &mut Obstacles,
    ) -> Result<Option<InetSocket>, KernelError> {
        let sock = &self.sock;
        let (kind, protocol, state) = (sock.kind()?, sock.protocol()?, sock.state()?);
        if self.is_to_be_closed()? {
            return Ok(Some(self.closed()?));
        }
        if self.is_connection()? {
            let what = "is a TCP connection that is not to come back closed (--tcp-close)";
            obstacles.add(format!("{holder} {what}"));
            return Ok(None);
        }
        let inet = InetSock::of(sock)?;
        let found = match (kind, protocol) {
            (SocketKind::STREAM, IPPROTO_TCP) => tcp_in_no_image(sock, self.tcp_close)?,
            (SocketKind::DGRAM, IPPROTO_UDP) => udp_in_no_image(sock)?,
            (SocketKind::STREAM, IPPROTO_MPTCP) => {
                obstacles.add(format!("{holder} is a socket of Multipath TCP (MPTCP)"));
                return Ok(None);
            }
            (SocketKind::RAW, _) => raw::in_no_image(sock)?,
            _ => {
                obstacles.add(format!(
                    "{holder} is a socket of the Internet of type {kind} and protocol {protocol}"
                ));
                return Ok(None);
            }
        };
        for name in found.into_iter().chain(in_no_image(sock, &inet)?) {
            obstacles.add(format!("{holder} is a socket with {name}"));
        }
        let flags = inet.options_set()?;
        let ipv6 = inet.ipv6()?.filter(|_| sock.family().is_ok_and(|family| family == AF_INET6));
        let v6_pktinfo = ipv6.map_or(Ok(0), |ipv6| ipv6.received())? & RXINFO != 0;
        let source = address(sock, inet.sport()?, true)?;
        if let IpAddr::V6(ip) = source.ip() {
            // CRIU binds it by the name of a device.
            let is_of_device = ip.is_unicast_link_local() || ip.is_multicast();
            let what = "is a socket that is bound to an address of a device";
            obstacles.add_if(is_of_device, format!("{holder} {what}"));
        }
        let is_tcp = kind == SocketKind::STREAM;
        let is_raw = kind == SocketKind::RAW;
        Ok(Some(InetSocket {
            protocol,
            source,
            destination: address(sock, sock.dport()?, false)?,
            backlog: if state == SocketState::LISTEN { sock.max_ack_backlog()? } else { 0 },
            v6only: sock.ipv6only()?,
            freebind: flags.contains(InetFlags::FREEBIND),
            pktinfo: if ipv6.is_some() { v6_pktinfo } else { flags.contains(InetFlags::PKTINFO) },
            tos: inet.tos()?,
            ttl: u8::try_from(inet.uc_ttl()?).ok().filter(|ttl| *ttl != 0),
            tcp: if is_tcp { tcp_options(sock, self.hz)? } else { TcpOptions::default() },
            raw: is_raw.then(|| raw::options(sock, &inet)).transpose()?,
        }))
    }
}

fn address(sock: &Sock<'_>, port: u16, is_own: bool) -> Result<SocketAddr, KernelError> {
    let ip: IpAddr = match sock.family()? {
        AF_INET6 if is_own => Ipv6Addr::from(sock.v6_rcv_saddr()?).into(),
        AF_INET6 => Ipv6Addr::from(sock.v6_daddr()?).into(),
        _ if is_own => Ipv4Addr::from(sock.rcv_saddr()?.to_le_bytes()).into(),
        _ => Ipv4Addr::from(sock.daddr()?.to_le_bytes()).into(),
    };
    Ok(SocketAddr::new(ip, u16::from_be(port)))
}

fn tcp_options(sock: &Sock<'_>, hz: u64) -> Result<TcpOptions, KernelError> {
    let tcp = TcpSock::at(sock.kernel(), sock.addr())?;
    let seconds = |jiffies: u32| {
        let seconds = u64::from(jiffies).checked_div(hz).filter(|seconds| *seconds != 0);
        seconds.map(|seconds| seconds as u32)
    };
    Ok(TcpOptions {
        nodelay: tcp.nonagle()? & NAGLE_OFF != 0,
        cork: tcp.nonagle()? & NAGLE_CORK != 0,
        keepcnt: Some(tcp.keepalive_probes()?.into()).filter(|count| *count != 0),
        keepidle: seconds(tcp.keepalive_time()?),
        keepintvl: seconds(tcp.keepalive_intvl()?),
    })
}

type Names = Vec<&'static str>;

fn names(set: &[(bool, &'static str)]) -> Names {
    set.iter().filter(|(is_set, _)| *is_set).map(|(_, name)| *name).collect()
}

fn is_there(pointer: Option<GuestVirt>) -> bool {
    pointer.is_some_and(|pointer| !pointer.is_null())
}

/// What is set that no image of CRIU holds.
fn in_no_image(sock: &Sock<'_>, inet: &InetSock<'_>) -> Result<Names, KernelError> {
    let flags = inet.options_set()?;
    let is_ipv6 = sock.family()? == AF_INET6;
    let mut set = vec![
        (flags.intersects(InetFlags::RECEIVED), "IP_RECVTTL, IP_RECVTOS or the like"),
        (flags.contains(InetFlags::RECVERR), "IP_RECVERR"),
        (flags.contains(InetFlags::RECVERR_RFC4884), "IP_RECVERR_RFC4884"),
        (flags.contains(InetFlags::TRANSPARENT), "IP_TRANSPARENT"),
        (flags.contains(InetFlags::BIND_ADDRESS_NO_PORT), "IP_BIND_ADDRESS_NO_PORT"),
        (flags.contains(InetFlags::RECVERR6), "IPV6_RECVERR"),
        (!flags.contains(InetFlags::MC_LOOP), "IP_MULTICAST_LOOP"),
        (!is_ipv6 && !flags.contains(InetFlags::MC_ALL), "IP_MULTICAST_ALL"),
        (inet.min_ttl()? != 0, "IP_MINTTL"),
        (inet.mc_ttl()? != 1, "IP_MULTICAST_TTL"),
        (inet.pmtudisc()? != PMTUDISC_WANT, "IP_MTU_DISCOVER"),
        (inet.local_port_range()?.unwrap_or(0) != 0, "IP_LOCAL_PORT_RANGE"),
        (inet.uc_index()? != 0, "IP_UNICAST_IF"),
        (inet.mc_index()? != 0, "IP_MULTICAST_IF"),
        (!inet.options()?.is_null(), "IP_OPTIONS"),
        (!inet.mc_list()?.is_null(), "a membership (IP_ADD_MEMBERSHIP)"),
        (is_ipv6 && inet.tos()? != 0, "IP_TOS over IPv6"),
        (is_ipv6 && inet.uc_ttl()? > 0, "IP_TTL over IPv6"),
    ];
    if let Some(ipv6) = inet.ipv6()?.filter(|_| is_ipv6) {
        set.extend([
            (ipv6.received()? & !RXINFO != 0, "IPV6_RECVTCLASS, IPV6_RECVHOPLIMIT or the like"),
            (ipv6.tclass()? != 0, "IPV6_TCLASS"),
            (!ipv6.mc_list()?.is_null(), "a membership (IPV6_JOIN_GROUP)"),
            (!ipv6.ac_list()?.is_null(), "a membership (IPV6_JOIN_ANYCAST)"),
            (!ipv6.options()?.is_null(), "headers to be sent (IPV6_RTHDR and the like)"),
            // -1 in the nine bits that it has on some kernels.
            (ipv6.hop_limit()? & 0x1ff != 0x1ff, "IPV6_UNICAST_HOPS"),
            (ipv6.mcast_hops()? != 1, "IPV6_MULTICAST_HOPS"),
            (ipv6.ucast_oif()? != 0, "IPV6_UNICAST_IF"),
            (ipv6.mcast_oif()? != 0, "IPV6_MULTICAST_IF"),
            (ipv6.pmtudisc()? != PMTUDISC_WANT, "IPV6_MTU_DISCOVER"),
            (ipv6.frag_size()? != 0, "IPV6_MTU"),
            (ipv6.srcprefs()? != 0, "IPV6_ADDR_PREFERENCES"),
            (ipv6.min_hopcount()? != 0, "IPV6_MINHOPCOUNT"),
            (ipv6.sticky_device()? != 0, "IPV6_PKTINFO"),
            (
                is_there(inet.flow_labels()?) || is_there(ipv6.flow_labels()?),
                "labels of flows (IPV6_FLOWLABEL_MGR)",
            ),
            (flags.contains(InetFlags::RECVERR6_RFC4884), "IPV6_RECVERR_RFC4884"),
            (!flags.contains(InetFlags::MC6_LOOP), "IPV6_MULTICAST_LOOP"),
            (!flags.contains(InetFlags::MC6_ALL), "IPV6_MULTICAST_ALL"),
            (flags.contains(InetFlags::AUTOFLOWLABEL_SET), "IPV6_AUTOFLOWLABEL"),
            (flags.contains(InetFlags::DONTFRAG), "IPV6_DONTFRAG"),
            (flags.contains(InetFlags::SNDFLOW), "IPV6_FLOWINFO_SEND"),
        ]);
    }
    let chooses = match sock.reuseport_cb()? {
        Some(group) => !group.prog()?.is_null(),
        None => false,
    };
    set.push((chooses, "a program that chooses among several (SO_ATTACH_REUSEPORT_CBPF)"));
    Ok(names(&set))
}

fn tcp_in_no_image(sock: &Sock<'_>, tcp_close: bool) -> Result<Names, KernelError> {
    let connections = InetConnectionSock::at(sock.kernel(), sock.addr())?;
    let tcp = TcpSock::at(sock.kernel(), sock.addr())?;
    // `SO_RCVLOWAT` sets it as well, and again when it is restored
    // (`tcp_set_rcvlowat()`, `net/ipv4/tcp.c`), and so does a connection.
    let was_set = sock.rcvlowat()? <= 1 && tcp.write_seq()? == 0;
    // They do not come back, as those that were accepted do not.
    let is_listening = sock.state()? == SocketState::LISTEN && !tcp_close;
    Ok(names(&[
        (
            is_listening && sock.ack_backlog()? != 0,
            "connections that were not accepted yet and are not to be closed (--tcp-close)",
        ),
        (
            is_listening && connections.being_made()? != 0,
            "connections that are being made and are not to be closed (--tcp-close)",
        ),
        (connections.defer_accept()? != 0, "TCP_DEFER_ACCEPT"),
        (connections.fastopen()? != 0, "TCP_FASTOPEN"),
        (connections.user_timeout()? != 0, "TCP_USER_TIMEOUT"),
        (connections.syn_retries()? != 0, "TCP_SYNCNT"),
        (connections.ca_setsockopt()?, "TCP_CONGESTION"),
        (!connections.ulp()?.is_null(), "TCP_ULP"),
        (rehashes_otherwise(sock)?, "SO_TXREHASH"),
        (tcp.user_mss()? != 0, "TCP_MAXSEG"),
        (was_set && tcp.window_clamp()? != 0, "TCP_WINDOW_CLAMP"),
        (tcp.notsent_lowat()? != 0, "TCP_NOTSENT_LOWAT"),
        (tcp.linger2()? != 0, "TCP_LINGER2"),
        (tcp.save_syn()? != 0, "TCP_SAVE_SYN"),
        (is_there(tcp.md5sig_info()?), "keys of TCP_MD5SIG"),
        (is_there(tcp.ao_info()?), "keys of TCP-AO"),
        (tcp.recvmsg_inq()?.unwrap_or(false), "TCP_INQ"),
        (tcp.thin_lto()?.unwrap_or(false), "TCP_THIN_LINEAR_TIMEOUTS"),
        (tcp.tx_delay()?.unwrap_or(0) != 0, "TCP_TX_DELAY"),
        (tcp.fastopen_connect()?.unwrap_or(false), "TCP_FASTOPEN_CONNECT"),
        (tcp.fastopen_no_cookie()?.unwrap_or(false), "TCP_FASTOPEN_NO_COOKIE"),
    ]))
}

/// Whether a socket was told to look for another route, or not to, unlike others.
fn rehashes_otherwise(sock: &Sock<'_>) -> Result<bool, KernelError> {
    // `SOCK_TXREHASH_DEFAULT` (`include/uapi/linux/socket.h`), for which a socket
    // that listens or connects gets what is usual (`inet_listen()`).
    const UNSET: u8 = u8::MAX;
    let Some(own) = sock.txrehash()?.filter(|own| *own != UNSET) else { return Ok(false) };
    let usual = NetNamespace::at(sock.kernel(), sock.net()?)?.txrehash()?;
    Ok(usual.is_some_and(|usual| usual != own))
}

fn udp_in_no_image(sock: &Sock<'_>) -> Result<Names, KernelError> {
    let udp = UdpSock::at(sock.kernel(), sock.addr())?;
    let is_empty = sock.receive_queue()?.is_empty()? && udp.reader_queue()?.is_empty()?;
    Ok(names(&[
        (!is_empty, "datagrams that were not received yet, which CRIU drops"),
        (udp.is_corked()?, "a datagram that is put together (UDP_CORK)"),
        (udp.encap_type()? != 0, "UDP_ENCAP"),
        (udp.gso_size()? != 0, "UDP_SEGMENT"),
        (udp.joins_datagrams()?, "UDP_GRO"),
        (udp.omits_checksums()?, "UDP_NO_CHECK6_TX or UDP_NO_CHECK6_RX"),
    ]))
}
