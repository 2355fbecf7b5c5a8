//! Sockets that are not supported.

use super::Case;

pub const UNSUPPORTED: &[Case] = &[
    (
        "a socket of netlink with an option that CRIU loses",
        "x = socket.socket(socket.AF_NETLINK, 3); x.setsockopt(270, 11, 1)",
        "is a socket of netlink with NETLINK_EXT_ACK",
    ),
    (
        "a socket of netlink that holds messages",
        "x = socket.socket(socket.AF_NETLINK, 3); \
         x.send(b'\\x14\\0\\0\\0\\x12\\0\\1\\3' + bytes(12))",
        "is a socket of netlink with messages that were not received yet",
    ),
    (
        "a socket of netlink of a protocol of which the kernel may keep more",
        "x = socket.socket(socket.AF_NETLINK, 3, 16)",
        "of the protocol 16, of which the kernel may keep more",
    ),
    (
        "a socket of packets with PACKET_QDISC_BYPASS",
        "x = socket.socket(socket.AF_PACKET, 3, 0); x.setsockopt(263, 20, 1)",
        "is a socket of packets with PACKET_QDISC_BYPASS",
    ),
    (
        "a socket of packets that shares them with others (PACKET_FANOUT)",
        "x = socket.socket(socket.AF_PACKET, 3, 0xb588); x.setsockopt(263, 18, 7)",
        "that are shared with others (PACKET_FANOUT)",
    ),
    (
        "a socket of packets with a ring",
        "import struct; x = socket.socket(socket.AF_PACKET, 3, 0); \
         x.setsockopt(263, 5, struct.pack('IIII', 4096, 1, 2048, 2))",
        "in a ring, whose place CRIU loses (PACKET_RX_RING)",
    ),
    (
        "an established TCP connection",
        "l = socket.create_server(('127.0.0.1', 0)); a = socket.create_connection(l.getsockname()); \
         b = l.accept()",
        "is a TCP connection",
    ),
    (
        "a TCP connection that was not accepted",
        "l = socket.create_server(('127.0.0.1', 0)); a = socket.create_connection(l.getsockname()); \
         a.close()",
        "connections that were not accepted yet",
    ),
    (
        "a UDP socket with datagrams, or with IP_RECVERR",
        "a = socket.socket(type=2); a.bind(('127.0.0.1', 0)); a.setsockopt(0, 11, 1); \
         a.sendto(b'x', a.getsockname())",
        "is a socket with datagrams that were not received yet",
    ),
    (
        "a UDP socket that is corked",
        "x = socket.socket(type=2); x.connect(('127.0.0.1', 9)); x.setsockopt(17, 1, 1); \
         x.send(b'x')",
        "that is put together (UDP_CORK)",
    ),
    (
        "a socket that is bound to a device",
        "x = socket.socket(); x.setsockopt(1, 25, b'lo')",
        "bound to a device (SO_BINDTODEVICE)",
    ),
    (
        "a socket that tells when packets came (SO_TIMESTAMP)",
        "x = socket.socket(type=2); x.setsockopt(1, 29, 1)",
        "is a socket with SO_TIMESTAMP",
    ),
    (
        "a listening socket that waits for data (TCP_DEFER_ACCEPT)",
        "x = socket.socket(); x.setsockopt(6, 9, 5); x.bind(('127.0.0.1', 0)); x.listen()",
        "is a socket with TCP_DEFER_ACCEPT",
    ),
    (
        "a socket over IPv6 with a limit of hops",
        "x = socket.socket(socket.AF_INET6); x.setsockopt(41, 16, 5)",
        "is a socket with IPV6_UNICAST_HOPS",
    ),
    (
        "a socket over IPv6 whose multicasts do not come back to it",
        "x = socket.socket(socket.AF_INET6, 2); x.setsockopt(41, 19, 0)",
        "is a socket with IPV6_MULTICAST_LOOP",
    ),
    (
        "a socket over IPv6 whose packets are not split",
        "x = socket.socket(socket.AF_INET6, 2); x.setsockopt(41, 62, 1)",
        "is a socket with IPV6_DONTFRAG",
    ),
    (
        "a listening socket with keys (TCP_MD5SIG)",
        "import struct; x = socket.create_server(('127.0.0.1', 0)); \
         x.setsockopt(6, 14, struct.pack('HH4s120xBBHi80s', 2, 0, bytes([127, 0, 0, 1]), 0, 0, 3, 0, b'key'))",
        "is a socket with keys of TCP_MD5SIG",
    ),
    (
        "a raw socket that holds packets",
        "x = socket.socket(socket.AF_INET, 3, 253); x.sendto(b'x', ('127.0.0.1', 0))",
        "is a socket with packets that were not received yet",
    ),
    (
        "a raw socket of ICMP that is bound to an address",
        "x = socket.socket(socket.AF_INET, 3, 1); x.bind(('127.0.0.1', 0))",
        "an address for ICMP, which CRIU 4.2 does not bind",
    ),
    (
        "a raw socket that is connected without a port",
        "x = socket.socket(socket.AF_INET, 3, 253); x.connect(('127.0.0.1', 0))",
        "is a socket with a connection without a port",
    ),
    (
        "a socket for echoes (ping)",
        "open('/proc/sys/net/ipv4/ping_group_range', 'w').write('0 0'); \
         x = socket.socket(socket.AF_INET, 2, 1)",
        "of type 2 and protocol 1",
    ),
    (
        "a Unix socket that is connected to others",
        "a, b = socket.socketpair(); b.set_inheritable(True); os.system('sleep 99 &'); b.close()",
        "is a socket that process",
    ),
    (
        "a Unix socket that others have, too",
        "a = socket.socket(socket.AF_UNIX); a.set_inheritable(True); os.system('sleep 99 &')",
        "is a socket that process",
    ),
    (
        "a Unix connection with an abstract name that another socket has",
        "l = socket.socket(socket.AF_UNIX); l.bind('\\0' + F); l.listen(); \
         a = socket.socket(socket.AF_UNIX); a.connect('\\0' + F); b = l.accept()",
        "of another one, which CRIU loses",
    ),
    (
        "a Unix connection that was closed before it was accepted",
        "l = socket.socket(socket.AF_UNIX); l.bind(F); l.listen(); \
         a = socket.socket(socket.AF_UNIX); a.connect(F); a.close()",
        "with a connection that was closed before it was accepted",
    ),
    (
        "several Unix connections with data that were not accepted",
        "l = socket.socket(socket.AF_UNIX); l.bind(F); l.listen(); x = []\n\
         for i in 0, 1: x.append(socket.socket(socket.AF_UNIX)); x[i].connect(F); x[i].send(b'x')",
        "with data of several connections that were not accepted yet",
    ),
    (
        "Unix connections of several processes that were not accepted",
        "l = socket.socket(socket.AF_UNIX); l.bind(F); l.listen(); r, w = os.pipe(); \
         a = socket.socket(socket.AF_UNIX); b = socket.socket(socket.AF_UNIX)\n\
         if os.fork() == 0:\n    a.connect(F); b.close(); os.write(w, b'x')\n    \
         while True: signal.pause()\n\
         os.read(r, 1); a.close(); b.connect(F)",
        "with connections that CRIU would not have accepted in order",
    ),
    (
        "a Unix connection whose peer was closed, and one of both has a name",
        "l = socket.socket(socket.AF_UNIX); l.bind(F); l.listen(); \
         a = socket.socket(socket.AF_UNIX); a.connect(F); l.accept()[0].close(); \
         b = socket.socket(socket.AF_UNIX); b.connect(F); c = l.accept()[0]; b.close(); l.close()",
        "whose peer had a name and was closed",
    ),
    (
        "a Unix connection whose listener a process outside has",
        "l = socket.socket(socket.AF_UNIX); l.bind(F); l.listen(); l.set_inheritable(True); \
         a = socket.socket(socket.AF_UNIX); a.connect(F); b = l.accept()[0]; \
         os.system('sleep 99 &'); l.close()",
        "has the name of a socket that process",
    ),
    (
        "a Unix connection that a process outside has not accepted",
        "l = socket.socket(socket.AF_UNIX); l.bind(F); l.listen(); l.set_inheritable(True); \
         a = socket.socket(socket.AF_UNIX); a.connect(F); os.system('sleep 99 &'); l.close()",
        "whose connection to a process outside was not accepted yet",
    ),
    (
        "a datagram socket that is connected to one of a process outside",
        "l = socket.socket(socket.AF_UNIX, 2); l.bind(F); l.set_inheritable(True); \
         a = socket.socket(socket.AF_UNIX, 2); a.connect(F); os.system('sleep 99 &'); l.close()",
        "is a socket that process",
    ),
    (
        "datagrams of several Unix sockets with names",
        "l = socket.socket(socket.AF_UNIX, 2); l.bind(F); x = []\n\
         for i in '12': a = socket.socket(socket.AF_UNIX, 2); a.bind('\\0' + F + i); \
         a.connect(F); a.send(b'x'); x.append(a)",
        "holds data of senders whose names CRIU loses",
    ),
    (
        "a datagram socket that is connected one way and holds datagrams",
        "l = socket.socket(socket.AF_UNIX, 2); l.bind(F); a = socket.socket(socket.AF_UNIX, 2); \
         a.bind('\\0' + F); a.connect(F); l.sendto(b'x', '\\0' + F)",
        "connected one way and holds datagrams",
    ),
    (
        "a Unix socket whose file was renamed",
        "l = socket.socket(socket.AF_UNIX); l.bind(F); os.rename(F, F + '.new')",
        "does not lead to where it lies",
    ),
    (
        "a Unix socket with a relative name that goes back",
        "l = socket.socket(socket.AF_UNIX); os.chdir('/run'); l.bind('..' + F)",
        "is relative and not the end of its path",
    ),
    (
        "a Unix socket whose deleted path another one outside has by now",
        "l = socket.socket(socket.AF_UNIX); l.bind(F); os.unlink(F); \
         x = socket.socket(socket.AF_UNIX); x.bind(F); x.set_inheritable(True); \
         os.system('sleep 99 &'); x.close()",
        "is another socket's by now",
    ),
    (
        "queued data with credentials (SO_PASSCRED)",
        "a, b = socket.socketpair(); b.setsockopt(1, 16, 1); a.send(b'x')",
        "tells who has sent what it holds (SO_PASSCRED)",
    ),
    (
        "a socket with an option that no image holds",
        "a, b = socket.socketpair(); a.setsockopt(1, 42, 0)",
        "is a socket with SO_PEEK_OFF",
    ),
    (
        "a socket with an error pending",
        "a, b = socket.socketpair(); a.send(b'x'); b.close()",
        "the error 104 pending",
    ),
    (
        "a descriptor in flight of an unsupported kind",
        "a, b = socket.socketpair(); x = open('/dev/kmsg'); \
         socket.send_fds(a, [b'x'], [x.fileno()]); x.close()",
        "is the character device 1:11",
    ),
    (
        "a lock in flight",
        "a, b = socket.socketpair(); x = open(F, 'w'); fcntl.flock(x, 2); \
         socket.send_fds(a, [b'x'], [x.fileno()]); x.close()",
        "holds a lock",
    ),
    (
        "a descriptor in flight from who does not make it again",
        "a, b = socket.socketpair(); x = open('/dev/null'); c = os.fork(); \
         c or socket.send_fds(b, [b'x'], [x.fileno()]); (b if c else a).close(); \
         c and a.recv(1, socket.MSG_PEEK)",
        "a descriptor in flight that process",
    ),
    (
        "TCP_WINDOW_CLAMP",
        "l = socket.socket(); l.setsockopt(6, 10, 8192); l.listen()",
        "is a socket with TCP_WINDOW_CLAMP",
    ),
    (
        "labels of flows",
        // IPV6_FLOWLABEL_MGR: IPV6_FL_A_GET, IPV6_FL_S_ANY, IPV6_FL_F_CREATE
        "import struct; s = socket.socket(socket.AF_INET6, 2); s.setsockopt(41, 32, \
         struct.pack('!15xB4xBB2s8x', 1, 0, 255, b'\\1\\0'))",
        "is a socket with labels of flows (IPV6_FLOWLABEL_MGR)",
    ),
];
