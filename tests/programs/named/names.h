/* Names of Unix sockets, and what they are connected to by them. */
#include <poll.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#define PREFIX "ovmigrate-named-"

/* A name with its length; an abstract one begins with a zero. */
struct name {
	const char *bytes;
	size_t length;
};

#define PATH(text) ((struct name){ text, sizeof(text) })
#define ABSTRACT(text) ((struct name){ "\0" PREFIX text, sizeof("\0" PREFIX text) - 1 })
#define NONE ((struct name){ "", 0 })

static socklen_t address_of(struct sockaddr_un *address, struct name name)
{
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	memcpy(address->sun_path, name.bytes, name.length);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + name.length);
}

static int bound(int type, struct name name)
{
	struct sockaddr_un address;
	socklen_t length = address_of(&address, name);
	int fd = must(socket(AF_UNIX, type, 0), "socket");

	if (name.bytes[0] != 0)
		unlink(name.bytes);
	must(bind(fd, (struct sockaddr *)&address, length), "bind");
	return fd;
}

static int listening(int type, struct name name, int backlog)
{
	int fd = bound(type, name);

	must(listen(fd, backlog), "listen");
	return fd;
}

static int connect_to(int fd, struct name name)
{
	struct sockaddr_un address;
	socklen_t length = address_of(&address, name);

	return connect(fd, (struct sockaddr *)&address, length);
}

static int connected(int type, struct name name)
{
	int fd = must(socket(AF_UNIX, type, 0), "socket");

	must(connect_to(fd, name), "connect");
	return fd;
}

static int same_name(const struct sockaddr_un *address, socklen_t length, struct name name)
{
	return length == offsetof(struct sockaddr_un, sun_path) + name.length &&
	       memcmp(address->sun_path, name.bytes, name.length) == 0;
}

static int is_named(int fd, struct name name)
{
	struct sockaddr_un address;
	socklen_t length = sizeof(address);

	return getsockname(fd, (struct sockaddr *)&address, &length) == 0 &&
	       same_name(&address, length, name);
}

static int has_peer(int fd, struct name name)
{
	struct sockaddr_un address;
	socklen_t length = sizeof(address);

	return getpeername(fd, (struct sockaddr *)&address, &length) == 0 &&
	       same_name(&address, length, name);
}

/* Whether the next message is `bytes`, from a socket of this name. */
static int comes_from(int fd, const char *bytes, struct name name)
{
	struct sockaddr_un address;
	socklen_t length = sizeof(address);
	char got[100];
	ssize_t count = recvfrom(fd, got, sizeof(got), MSG_DONTWAIT, (struct sockaddr *)&address,
				 &length);

	if (name.length == 0)
		length += offsetof(struct sockaddr_un, sun_path) * (length == 0);
	return count == (ssize_t)strlen(bytes) && memcmp(got, bytes, strlen(bytes)) == 0 &&
	       same_name(&address, length, name);
}

static void say(int fd, const char *bytes)
{
	must(send(fd, bytes, strlen(bytes), 0) == (ssize_t)strlen(bytes) ? 0 : -1, bytes);
}

/* Whether what is written at one end comes out at the other. */
static int are_connected(int one, int other)
{
	char byte = 0;

	return send(one, "<", 1, MSG_DONTWAIT) == 1 && recv(other, &byte, 1, MSG_DONTWAIT) == 1 &&
	       byte == '<' && send(other, ">", 1, MSG_DONTWAIT) == 1 &&
	       recv(one, &byte, 1, MSG_DONTWAIT) == 1 && byte == '>';
}

static int accepted(int fd)
{
	struct pollfd entry = { fd, POLLIN, 0 };

	return poll(&entry, 1, 0) == 1 ? accept(fd, NULL, NULL) : -1;
}

/* Whether one that connects by the name is accepted by this socket. */
static int is_reached(int fd, int type, struct name name)
{
	int client = must(socket(AF_UNIX, type | SOCK_NONBLOCK, 0), "socket"), server = -1;
	int works = connect_to(client, name) == 0 && (server = accepted(fd)) >= 0 &&
		    has_peer(client, name) && is_named(server, name) && are_connected(client, server);

	close(client);
	close(server);
	return works;
}

static int option(int fd, int name)
{
	int value = -1;
	socklen_t length = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &length) == 0 ? value : -1;
}
