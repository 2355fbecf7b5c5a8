/* Connections that were not accepted yet. */
#define QUEUE PATH("/run/" PREFIX "queue")
#define FULL PATH("/run/" PREFIX "full")
#define FLIGHT PATH("/run/" PREFIX "flight")

static struct {
	int listener, clients[3], full, of_full[3], packets, packet_client, flights, flight_client;
} pending;

static void make_pending(void)
{
	pending.listener = listening(SOCK_STREAM, QUEUE, 5);
	for (int i = 0; i < 3; i++)
		pending.clients[i] = connected(SOCK_STREAM, QUEUE);
}

static void check_pending(void)
{
	for (int i = 0; i < 3; i++) {
		int fd = accepted(pending.listener);

		expect(fd >= 0 && is_named(fd, QUEUE) && has_peer(pending.clients[i], QUEUE) &&
		       waiting(fd) == 0, "connection %d waits", i);
		expect(are_connected(pending.clients[i], fd), "connection %d is accepted", i);
	}
	expect(accepted(pending.listener) == -1, "no more connections");
}

/* Something came over them already. CRIU's own dump does not take that. */

static void make_pending_data(void)
{
	pending.full = listening(SOCK_STREAM, FULL, 5);
	for (int i = 0; i < 3; i++)
		pending.of_full[i] = connected(SOCK_STREAM, FULL);
	put(pending.of_full[1], 50, 0, 3000);
	put(pending.of_full[1], 50, 3000, 40000);
	pending.packets = listening(SOCK_SEQPACKET, ABSTRACT("queue"), 0);
	pending.packet_client = bound(SOCK_SEQPACKET, ABSTRACT("waits"));
	must(connect_to(pending.packet_client, ABSTRACT("queue")), "connect");
	say(pending.packet_client, "one");
	say(pending.packet_client, "two");
}

static void make_pending_flight(void)
{
	int file = must(open("/bin/sh", O_RDONLY), "open");

	pending.flights = listening(SOCK_STREAM, FLIGHT, 5);
	pending.flight_client = connected(SOCK_STREAM, FLIGHT);
	lseek(file, 55, SEEK_SET);
	send_fds(pending.flight_client, "x", &file, 1);
	close(file);
}

static void check_pending_data(void)
{
	int fd;

	for (int i = 0; i < 3; i++) {
		fd = accepted(pending.full);
		expect(waiting(fd) == (i == 1 ? 43000 : 0), "what came over %d: %d bytes", i, waiting(fd));
		expect(i != 1 || get(fd, 50, 0, 43000), "data that came over %d", i);
		expect(are_connected(pending.of_full[i], fd), "connection %d is accepted", i);
	}
	expect(is_named(pending.packet_client, ABSTRACT("waits")), "name of one that waits");
	fd = accepted(pending.packets);
	expect(comes_from(fd, "one", ABSTRACT("waits")) && comes_from(fd, "two", ABSTRACT("waits")) &&
	       are_connected(pending.packet_client, fd), "packets of one that waits");
}

static void check_pending_flight(void)
{
	int fd = accepted(pending.flights), got[4];
	char byte;

	expect(receive_fds(fd, &byte, 1, got) == 1 && lseek(got[0], 0, SEEK_CUR) == 55,
	       "a descriptor that came over one that waits");
	expect(are_connected(pending.flight_client, fd), "it is accepted");
}
