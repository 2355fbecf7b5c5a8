/*
 * Unix sockets of one member, of any type, that are connected to each other, with
 * messages in them: pairs, or those that have found each other by a name.
 */
#include <linux/netlink.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#define MOST_MESSAGES 8
/* Bytes for each count in `stamps`, where the lengths of messages are. */
#define UNIT 24

static void send_messages(struct thing *thing)
{
	uint8_t bytes[256 * UNIT];
	long at = thing->at;

	for (int i = 0; i < thing->size; i++) {
		long length = thing->stamps[i] * UNIT;

		fill(bytes, thing->pattern, (size_t)at, (size_t)length);
		if (send(thing->fd[0], bytes, (size_t)length, MSG_DONTWAIT) != length)
			lost("%s: message %d cannot be sent", thing->kind, i);
		at += length;
	}
}

static long type_of(int fd)
{
	int type = -1;
	socklen_t length = sizeof(type);

	getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length);
	return type;
}

/* Its own name, or that of its peer, without what numbers it. */
static void name_of(int fd, int is_peer, char name[108])
{
	struct sockaddr_un address = { 0 };
	socklen_t length = sizeof(address);

	if ((is_peer ? getpeername : getsockname)(fd, (struct sockaddr *)&address, &length) != 0 ||
	    length <= offsetof(struct sockaddr_un, sun_path))
		address.sun_path[0] = 0;
	memcpy(name, address.sun_path, 108);
}

static void check_name(const char *what, int fd, int is_peer, const char *wanted)
{
	char name[108];

	name_of(fd, is_peer, name);
	if (strncmp(name, wanted, 108) != 0)
		lost("%s of a socket is %.60s instead of %.60s", what, name, wanted);
}

/* Each has a name, or the one that the other has connected to; datagrams find their way by it. */
static void check_names(struct thing *thing)
{
	struct stat found;
	int is_there = lstat(thing->path, &found) == 0;

	check_name("name", thing->fd[1], 0, thing->path);
	check_name("name of the peer", thing->fd[0], 1, thing->path);
	expect("file of a socket", is_there, thing->has_file);
}

/* `at` bytes have been received of it, `size` messages are in it, `number` is its type. */
static void check_sockets(struct thing *thing)
{
	int has_end = thing->fd[0] < 0 && thing->number != SOCK_DGRAM;
	uint8_t bytes[256 * UNIT];

	check_flags(thing);
	if (thing->is_named)
		check_names(thing);
	expect("type of a socket", type_of(thing->fd[1]), thing->number);
	for (int i = 0; i < thing->size; i++) {
		long length = thing->stamps[i] * UNIT;
		long got = recv(thing->fd[1], bytes, (size_t)length, MSG_DONTWAIT);

		if (got != length || !holds(bytes, thing->pattern, (size_t)thing->at, (size_t)length))
			lost("%s: message %d of %ld bytes: %ld, or what they are", thing->kind, i, length, got);
		thing->at += length;
	}
	expect("what comes behind messages", recv(thing->fd[1], bytes, 1, MSG_DONTWAIT), has_end ? 0 : -1);
	if (thing->fd[0] < 0)
		thing->size = 0;
	else
		send_messages(thing);
}

/* Of a connection the listener goes, its file stays or goes, too. */
static void connect_by_name(struct thing *thing, int flags)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int server = (int)must(socket(AF_UNIX, thing->number | flags, 0), "socket");

	must(strlen(thing->path) < sizeof(address.sun_path) ? 0 : -1, thing->path);
	memcpy(address.sun_path, thing->path, strlen(thing->path));
	thing->is_named = 1;
	thing->has_file = chance(70);
	must(bind(server, (struct sockaddr *)&address, sizeof(address)), "bind");
	thing->fd[0] = (int)must(socket(AF_UNIX, thing->number | flags, 0), "socket");
	if (thing->number == SOCK_DGRAM) {
		thing->fd[1] = server;
		must(connect(thing->fd[0], (struct sockaddr *)&address, sizeof(address)), "connect");
	} else {
		must(listen(server, 1), "listen");
		must(connect(thing->fd[0], (struct sockaddr *)&address, sizeof(address)), "connect");
		thing->fd[1] = (int)must(accept4(server, NULL, NULL, flags), "accept4");
		close(server);
	}
	if (!thing->has_file)
		must(unlink(thing->path), "unlink");
}

static void make_sockets(void)
{
	static const int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET };
	struct thing *thing = add("sockets", check_sockets);
	int flags;

	thing->number = types[draw(3)];
	flags = (chance(30) ? SOCK_CLOEXEC : 0) | (chance(30) ? SOCK_NONBLOCK : 0);
	if (chance(40))
		connect_by_name(thing, flags);
	else
		must(socketpair(AF_UNIX, thing->number | flags, 0, thing->fd), "socketpair");
	thing->size = draw(MOST_MESSAGES + 1);
	for (int i = 0; i < thing->size; i++)
		thing->stamps[i] = (uint8_t)(1 + draw(chance(20) ? 255 : 10));
	send_messages(thing);
	if (!thing->is_named && chance(25)) {
		close(thing->fd[0]);
		thing->fd[0] = -1;
	}
	keep_flags(thing);
}

/* Bound to an address of its own, and in `at` as a mask of groups in which nobody says anything. */
static void check_netlink(struct thing *thing)
{
	struct sockaddr_nl address = { 0 };
	socklen_t length = sizeof(address);

	check_flags(thing);
	expect("type of a socket of netlink", type_of(thing->fd[0]), SOCK_RAW);
	getsockname(thing->fd[0], (struct sockaddr *)&address, &length);
	expect("port of netlink", address.nl_pid, thing->size);
	expect("groups of netlink", address.nl_groups, thing->at);
}

static void make_netlink(void)
{
	struct thing *thing = add("netlink", check_netlink);
	struct sockaddr_nl address = { .nl_family = AF_NETLINK };

	thing->fd[0] = (int)must(socket(AF_NETLINK, SOCK_RAW | (chance(50) ? SOCK_CLOEXEC : 0) |
					(chance(30) ? SOCK_NONBLOCK : 0), NETLINK_USERSOCK), "netlink");
	if (chance(80)) {
		/* Another process has another PID, here and there. */
		thing->size = (thing->number + 1) << 22 | getpid();
		thing->at = chance(50) ? draw(1 << 16) : 0;
		address.nl_pid = (unsigned)thing->size;
		address.nl_groups = (unsigned)thing->at;
		must(bind(thing->fd[0], (struct sockaddr *)&address, sizeof(address)), "bind");
	}
	keep_flags(thing);
}
