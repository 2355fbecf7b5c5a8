/*
 * inet KIND...: makes sockets over IPv4 and IPv6 of these kinds, prints "ready" and
 * waits. At SIGUSR1 it looks whether all of them are as they were, prints "FAIL WHAT"
 * for each that is not, and "done, N failures".
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include "asked.h"
#include "check.h"
#include "kinds.h"

/* An address of either family, as text and port. */
static socklen_t address_of(struct sockaddr_storage *address, const char *text, int port)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;

	memset(address, 0, sizeof(*address));
	if (strchr(text, ':') != NULL) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)port);
		must(inet_pton(AF_INET6, text, &v6->sin6_addr) - 1, text);
		return sizeof(*v6);
	}
	v4->sin_family = AF_INET;
	v4->sin_port = htons((uint16_t)port);
	must(inet_pton(AF_INET, text, &v4->sin_addr) - 1, text);
	return sizeof(*v4);
}

static int socket_for(const char *text, int type)
{
	return must(socket(strchr(text, ':') ? AF_INET6 : AF_INET, type, 0), "socket");
}

static void bind_to(int fd, const char *text, int port)
{
	struct sockaddr_storage address;
	socklen_t length = address_of(&address, text, port);

	must(bind(fd, (struct sockaddr *)&address, length), text);
}

static int connect_to(int fd, const char *text, int port)
{
	struct sockaddr_storage address;
	socklen_t length = address_of(&address, text, port);

	return connect(fd, (struct sockaddr *)&address, length);
}

/* Whether it is, or is connected to (`peer`), what it was. */
static int is_at(int fd, const char *text, int port, int peer)
{
	struct sockaddr_storage wanted, found;
	socklen_t length = address_of(&wanted, text, port), got = sizeof(found);
	int result;

	memset(&found, 0, sizeof(found));
	result = peer ? getpeername(fd, (struct sockaddr *)&found, &got)
		      : getsockname(fd, (struct sockaddr *)&found, &got);
	return result == 0 && got == length && memcmp(&found, &wanted, length) == 0;
}

static int option(int fd, int level, int name)
{
	int value = -1;
	socklen_t length = sizeof(value);

	return getsockopt(fd, level, name, &value, &length) == 0 ? value : -1;
}

static void set(int fd, int level, int name, int value)
{
	must(setsockopt(fd, level, name, &value, sizeof(value)), "setsockopt");
}

/* TCP that is not connected. */

static const struct {
	const char *host;
	int port, backlog, is_v6only, shares;
} places[] = {
	{ "127.0.0.1", 18081, 7, 0, 0 }, { "::1", 18082, 9, 1, 0 }, { "::", 18083, 11, 0, 0 },
	{ "0.0.0.0", 18084, 3, 0, 1 },	 { "0.0.0.0", 18084, 3, 0, 1 },
};
static int listeners[SIZE(places)], fresh, bound, fresh6;

static void make_tcp(void)
{
	for (size_t i = 0; i < SIZE(places); i++) {
		int fd = listeners[i] = socket_for(places[i].host, SOCK_STREAM | SOCK_NONBLOCK);

		if (strchr(places[i].host, ':'))
			set(fd, IPPROTO_IPV6, IPV6_V6ONLY, places[i].is_v6only);
		set(fd, SOL_SOCKET, SO_REUSEADDR, i == 0);
		set(fd, SOL_SOCKET, SO_REUSEPORT, places[i].shares);
		bind_to(fd, places[i].host, places[i].port);
		must(listen(fd, places[i].backlog), "listen");
	}
	set(listeners[0], SOL_SOCKET, SO_KEEPALIVE, 1);
	set(listeners[0], IPPROTO_TCP, TCP_KEEPIDLE, 100);
	set(listeners[0], IPPROTO_TCP, TCP_KEEPINTVL, 20);
	set(listeners[0], IPPROTO_TCP, TCP_KEEPCNT, 4);
	set(listeners[0], SOL_SOCKET, SO_RCVBUF, 30000);
	fresh = socket_for("127.0.0.1", SOCK_STREAM);
	fresh6 = socket_for("::1", SOCK_STREAM);
	bound = socket_for("127.0.0.1", SOCK_STREAM);
	bind_to(bound, "127.0.0.1", 18085);
}

/* Whether a client gets through to a listener. */
static int serves(int listener, const char *host, int port)
{
	struct pollfd entry = { listener, POLLIN, 0 };
	int client = socket_for(host, SOCK_STREAM), server, works;
	char byte = 0;

	/* The other CPU may still be at the last packet of the handshake. */
	if (connect_to(client, host, port) != 0 || poll(&entry, 1, 60000) != 1)
		return 0;
	server = accept(listener, NULL, NULL);
	works = server >= 0 && write(client, "x", 1) == 1 && read(server, &byte, 1) == 1 && byte == 'x';
	close(client);
	close(server);
	return works;
}

static void check_tcp(void)
{
	struct tcp_info info;
	socklen_t length;

	for (size_t i = 0; i < SIZE(places); i++) {
		int fd = listeners[i];

		length = sizeof(info);
		expect(is_at(fd, places[i].host, places[i].port, 0), "listener %zu: address", i);
		expect(option(fd, SOL_SOCKET, SO_ACCEPTCONN) == 1, "listener %zu: it listens", i);
		expect(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 &&
		       (int)info.tcpi_sacked == places[i].backlog, "listener %zu: backlog %d", i,
		       info.tcpi_sacked);
		expect(option(fd, SOL_SOCKET, SO_REUSEADDR) == (i == 0), "listener %zu: SO_REUSEADDR", i);
		expect(option(fd, SOL_SOCKET, SO_REUSEPORT) == places[i].shares,
		       "listener %zu: SO_REUSEPORT", i);
		expect(fcntl(fd, F_GETFL) == (O_RDWR | O_NONBLOCK), "listener %zu: flags", i);
	}
	expect(option(listeners[1], IPPROTO_IPV6, IPV6_V6ONLY) == 1 &&
	       option(listeners[2], IPPROTO_IPV6, IPV6_V6ONLY) == 0, "IPV6_V6ONLY");
	expect(option(listeners[0], IPPROTO_TCP, TCP_KEEPIDLE) == 100 &&
	       option(listeners[0], IPPROTO_TCP, TCP_KEEPINTVL) == 20 &&
	       option(listeners[0], IPPROTO_TCP, TCP_KEEPCNT) == 4 &&
	       option(listeners[0], SOL_SOCKET, SO_KEEPALIVE) == 1, "keep-alive");
	expect(option(listeners[0], SOL_SOCKET, SO_RCVBUF) == 60000, "SO_RCVBUF");
	expect(serves(listeners[0], "127.0.0.1", 18081), "IPv4: a connection");
	expect(serves(listeners[1], "::1", 18082), "IPv6: a connection");
	expect(serves(listeners[2], "127.0.0.1", 18083), "IPv6: a connection over IPv4");
	expect(accept(listeners[0], NULL, NULL) == -1 && errno == EAGAIN, "no connection");
	expect(is_at(bound, "127.0.0.1", 18085, 0) && option(bound, SOL_SOCKET, SO_ACCEPTCONN) == 0,
	       "bound, not listening");
	expect(listen(bound, 1) == 0 && fcntl(bound, F_SETFL, O_NONBLOCK) == 0 &&
	       serves(bound, "127.0.0.1", 18085), "bound: listening now");
	expect(connect_to(fresh, "127.0.0.1", 18081) == 0, "fresh");
	expect(connect_to(fresh6, "::1", 18082) == 0, "fresh over IPv6");
}

/* UDP. */

static int udp[2], udp6[2], unbound, one_way;

static void make_udp(void)
{
	udp[0] = socket_for("127.0.0.1", SOCK_DGRAM);
	bind_to(udp[0], "127.0.0.1", 18090);
	udp[1] = socket_for("127.0.0.1", SOCK_DGRAM | SOCK_CLOEXEC);
	bind_to(udp[1], "0.0.0.0", 18091);
	must(connect_to(udp[1], "127.0.0.1", 18090), "connect");
	set(udp[0], SOL_SOCKET, SO_BROADCAST, 1);
	set(udp[0], SOL_SOCKET, SO_PRIORITY, 2);
	udp6[0] = socket_for("::1", SOCK_DGRAM);
	bind_to(udp6[0], "::1", 18092);
	udp6[1] = socket_for("::1", SOCK_DGRAM);
	must(connect_to(udp6[1], "::1", 18092), "connect");
	unbound = socket_for("127.0.0.1", SOCK_DGRAM);
	one_way = socket_for("127.0.0.1", SOCK_DGRAM);
	must(connect_to(one_way, "127.0.0.1", 18090), "connect");
	must(shutdown(one_way, SHUT_WR), "shutdown");
}

static void check_udp(void)
{
	char bytes[10];

	expect(is_at(udp[0], "127.0.0.1", 18090, 0), "UDP: address");
	expect(is_at(udp[1], "127.0.0.1", 18090, 1), "UDP: what it is connected to");
	expect(option(udp[0], SOL_SOCKET, SO_BROADCAST) == 1 &&
	       option(udp[1], SOL_SOCKET, SO_BROADCAST) == 0 &&
	       option(udp[0], SOL_SOCKET, SO_PRIORITY) == 2 &&
	       option(udp[0], SOL_SOCKET, SO_REUSEADDR) == 0, "UDP: options");
	expect(fcntl(udp[1], F_GETFD) == FD_CLOEXEC, "UDP: close-on-exec");
	expect(write(udp[1], "abc", 3) == 3 && recv(udp[0], bytes, 10, MSG_DONTWAIT) == 3,
	       "UDP: a datagram");
	expect(is_at(udp6[0], "::1", 18092, 0) && is_at(udp6[1], "::1", 18092, 1), "UDP over IPv6: addresses");
	expect(write(udp6[1], "abcd", 4) == 4 && recv(udp6[0], bytes, 10, MSG_DONTWAIT) == 4,
	       "UDP over IPv6: a datagram");
	expect(connect_to(unbound, "127.0.0.1", 18090) == 0 && write(unbound, "x", 1) == 1 &&
	       recv(udp[0], bytes, 10, MSG_DONTWAIT) == 1, "UDP: one that was not bound");
	expect(write(one_way, "x", 1) == -1 && errno == EPIPE, "UDP: shut down");
}

/* What older versions of CRIU do not know. */

static int quick, marked, telling;

static void make_options(void)
{
	quick = socket_for("127.0.0.1", SOCK_STREAM);
	set(quick, IPPROTO_TCP, TCP_NODELAY, 1);
	set(quick, IPPROTO_TCP, TCP_CORK, 1);
	bind_to(quick, "127.0.0.1", 18095);
	must(listen(quick, 5), "listen");
	marked = socket_for("127.0.0.1", SOCK_DGRAM);
	set(marked, IPPROTO_IP, IP_TOS, 0x10);
	set(marked, IPPROTO_IP, IP_TTL, 77);
	set(marked, IPPROTO_IP, IP_PKTINFO, 1);
	set(marked, IPPROTO_IP, IP_FREEBIND, 1);
	bind_to(marked, "127.0.0.1", 18096);
	telling = socket_for("::1", SOCK_DGRAM);
	set(telling, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
}

static void check_options(void)
{
	expect(option(quick, IPPROTO_TCP, TCP_NODELAY) == 1, "TCP_NODELAY");
	expect(option(quick, IPPROTO_TCP, TCP_CORK) == 1, "TCP_CORK");
	expect(option(marked, IPPROTO_IP, IP_TOS) == 0x10, "IP_TOS");
	expect(option(marked, IPPROTO_IP, IP_TTL) == 77, "IP_TTL");
	expect(option(marked, IPPROTO_IP, IP_PKTINFO) == 1, "IP_PKTINFO");
	expect(option(marked, IPPROTO_IP, IP_FREEBIND) == 1, "IP_FREEBIND");
	expect(option(telling, IPPROTO_IPV6, IPV6_RECVPKTINFO) == 1, "IPV6_RECVPKTINFO");
}

/* Connections, which come back closed. */

static struct {
	int listener, client, server, client6, server6, waits, half;
} closed;

static int accepted(int listener)
{
	struct pollfd entry = { listener, POLLIN, 0 };

	must(poll(&entry, 1, 60000) - 1, "poll");
	return must(accept(listener, NULL, NULL), "accept");
}

static void make_closed(void)
{
	int listener6 = socket_for("::1", SOCK_STREAM);

	closed.listener = socket_for("127.0.0.1", SOCK_STREAM | SOCK_NONBLOCK);
	bind_to(closed.listener, "127.0.0.1", 18101);
	must(listen(closed.listener, 5), "listen");
	closed.client = socket_for("127.0.0.1", SOCK_STREAM);
	must(connect_to(closed.client, "127.0.0.1", 18101), "connect");
	closed.server = accepted(closed.listener);
	/* Both ways, and not read. */
	must((int)write(closed.client, "request", 7), "write");
	must((int)write(closed.server, "answer", 6), "write");
	set(closed.client, SOL_SOCKET, SO_KEEPALIVE, 1);
	/* Which CRIU has not known for long, or not yet. */
	set(closed.client, IPPROTO_TCP, TCP_NODELAY, 1);
	set(closed.server, IPPROTO_TCP, TCP_USER_TIMEOUT, 5000);
	bind_to(listener6, "::1", 18102);
	must(listen(listener6, 5), "listen");
	closed.client6 = socket_for("::1", SOCK_STREAM | SOCK_NONBLOCK);
	if (connect_to(closed.client6, "::1", 18102) != 0 && errno != EINPROGRESS)
		must(-1, "connect");
	closed.server6 = accepted(listener6);
	close(listener6);
	must(shutdown(closed.client6, SHUT_WR), "shutdown");
	/* One whose other end was closed, and one that nobody has accepted. */
	closed.half = socket_for("127.0.0.1", SOCK_STREAM);
	must(connect_to(closed.half, "127.0.0.1", 18101), "connect");
	close(accepted(closed.listener));
	closed.waits = socket_for("127.0.0.1", SOCK_STREAM);
	must(connect_to(closed.waits, "127.0.0.1", 18101), "connect");
}

/* As after a dump by CRIU with --tcp-close: there is nothing to read, nor anywhere to write. */
static void check_is_closed(const char *what, int fd)
{
	struct sockaddr_storage address;
	socklen_t length = sizeof(address);
	struct pollfd entry = { fd, POLLIN | POLLOUT | POLLRDHUP, 0 };
	char byte;

	expect(getpeername(fd, (struct sockaddr *)&address, &length) == -1 && errno == ENOTCONN,
	       "%s: a peer", what);
	expect(poll(&entry, 1, 0) == 1 && (entry.revents & POLLHUP) && (entry.revents & POLLRDHUP),
	       "%s: polled %#x", what, entry.revents);
	expect(read(fd, &byte, 1) == 0, "%s: its end", what);
	expect(write(fd, "x", 1) == -1 && errno == EPIPE, "%s: EPIPE", what);
}

static void check_closed(void)
{
	check_is_closed("client", closed.client);
	check_is_closed("server", closed.server);
	check_is_closed("client over IPv6", closed.client6);
	check_is_closed("server over IPv6", closed.server6);
	check_is_closed("half", closed.half);
	check_is_closed("what waited", closed.waits);
	expect(option(closed.client, SOL_SOCKET, SO_KEEPALIVE) == 1, "SO_KEEPALIVE");
	expect(fcntl(closed.client6, F_GETFL) == (O_RDWR | O_NONBLOCK), "non-blocking");
	expect(accept(closed.listener, NULL, NULL) == -1 && errno == EAGAIN, "nobody waits");
	expect(serves(closed.listener, "127.0.0.1", 18101), "a new connection");
}

static const struct kind kinds[] = {
	{ "tcp", make_tcp, check_tcp },
	{ "udp", make_udp, check_udp },
	{ "options", make_options, check_options },
	{ "closed", make_closed, check_closed },
};

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	make_and_check(kinds, SIZE(kinds), argc, argv);
}
