/*
 * Sockets over IPv4 and IPv6 of one member: listeners of TCP that answer, and those
 * of UDP that hear themselves.
 */
#include <netinet/in.h>

/* What a socket may be told, and is by `stamps`. */
static const int inet_options[] = { SO_REUSEADDR, SO_KEEPALIVE, SO_OOBINLINE, SO_DONTROUTE };
#define INET_OPTIONS (int)(sizeof(inet_options) / sizeof(inet_options[0]))

union inet_address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static union inet_address loopback(int is_v6, long port)
{
	union inet_address address = { 0 };

	if (is_v6)
		address.v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT,
						    .sin6_port = htons((uint16_t)port) };
	else
		address.v4 = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) },
						   .sin_port = htons((uint16_t)port) };
	return address;
}

/* What is sent comes back within a time that no load uses up. */
static int takes_byte(int fd, uint8_t wanted)
{
	struct pollfd readable = { .fd = fd, .events = POLLIN };
	uint8_t byte = (uint8_t)~wanted;

	return poll(&readable, 1, 30000) == 1 && recv(fd, &byte, 1, MSG_DONTWAIT) == 1 && byte == wanted;
}

/* A connection leaves nothing behind. */
static int answers(int listener, const union inet_address *address, uint8_t byte)
{
	struct pollfd readable = { .fd = listener, .events = POLLIN };
	struct linger at_once = { .l_onoff = 1 };
	int client = socket(address->any.sa_family, SOCK_STREAM, 0), accepted = -1, is_whole = 0;

	setsockopt(client, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	if (connect(client, &address->any, sizeof(*address)) == 0 && poll(&readable, 1, 30000) == 1)
		accepted = accept(listener, NULL, NULL);
	if (accepted >= 0)
		is_whole = send(client, &byte, 1, 0) == 1 && takes_byte(accepted, byte);
	close(client);
	close(accepted);
	return is_whole;
}

/* `number` is its type, `at` its port, `size` whether it is of IPv6, `stamps` are its options. */
static void check_inet(struct thing *thing)
{
	union inet_address address = { 0 }, own = loopback((int)thing->size, thing->at);
	socklen_t length = sizeof(address);
	uint8_t byte = pattern(thing->pattern, (size_t)self.asked);

	check_flags(thing);
	expect("type of a socket of the Internet", type_of(thing->fd[0]), thing->number);
	getsockname(thing->fd[0], &address.any, &length);
	expect("its address", memcmp(&address, &own, length), 0);
	for (int i = 0; i < INET_OPTIONS; i++) {
		int value = -1;

		length = sizeof(value);
		getsockopt(thing->fd[0], SOL_SOCKET, inet_options[i], &value, &length);
		expect("an option of a socket", value, thing->stamps[i]);
	}
	if (thing->number == SOCK_STREAM)
		expect("a connection", answers(thing->fd[0], &own, byte), 1);
	else if (sendto(thing->fd[0], &byte, 1, 0, &own.any, sizeof(own)) != 1 || !takes_byte(thing->fd[0], byte))
		lost("a datagram of UDP");
}

static void make_inet(void)
{
	struct thing *thing = add("inet", check_inet);
	union inet_address address;
	socklen_t length = sizeof(address);
	int flags = (chance(30) ? SOCK_CLOEXEC : 0) | (chance(30) ? SOCK_NONBLOCK : 0);

	thing->number = chance(50) ? SOCK_STREAM : SOCK_DGRAM;
	thing->size = chance(50);
	address = loopback((int)thing->size, 0);
	thing->fd[0] = (int)must(socket(address.any.sa_family, thing->number | flags, 0), "socket");
	for (int i = 0; i < INET_OPTIONS; i++) {
		int value = thing->stamps[i] = (uint8_t)chance(30);

		must(setsockopt(thing->fd[0], SOL_SOCKET, inet_options[i], &value, sizeof(value)), "setsockopt");
	}
	must(bind(thing->fd[0], &address.any, sizeof(address)), "bind");
	if (thing->number == SOCK_STREAM)
		must(listen(thing->fd[0], 1 + (int)draw(100)), "listen");
	must(getsockname(thing->fd[0], &address.any, &length), "getsockname");
	thing->at = ntohs(thing->size ? address.v6.sin6_port : address.v4.sin_port);
	keep_flags(thing);
}
