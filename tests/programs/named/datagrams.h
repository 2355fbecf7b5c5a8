/* Datagrams. */
#define LOG PATH("/run/" PREFIX "log")
#define TELLER PATH("/run/" PREFIX "teller")
#define LEFT PATH("/run/" PREFIX "left")
#define RIGHT PATH("/run/" PREFIX "right")
#define ECHO PATH("/run/" PREFIX "echo")
#define ORPHAN PATH("/run/" PREFIX "orphan")

static struct {
	int log, unnamed, teller, open, left, right, echo, automatic, orphan, to_orphan;
} datagrams;
static struct sockaddr_un automatic;
static socklen_t automatic_length;

static void make_datagrams(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd;

	datagrams.log = bound(SOCK_DGRAM, LOG);
	datagrams.unnamed = connected(SOCK_DGRAM, LOG);
	datagrams.teller = bound(SOCK_DGRAM, TELLER);
	must(connect_to(datagrams.teller, LOG), "connect");
	say(datagrams.teller, "first");
	say(datagrams.teller, "second");
	/* From who has closed since. */
	datagrams.open = bound(SOCK_DGRAM, ABSTRACT("open"));
	fd = connected(SOCK_DGRAM, ABSTRACT("open"));
	say(fd, "gone");
	close(fd);
	datagrams.left = bound(SOCK_DGRAM, LEFT);
	datagrams.right = bound(SOCK_DGRAM, RIGHT);
	must(connect_to(datagrams.left, RIGHT), "connect");
	must(connect_to(datagrams.right, LEFT), "connect");
	say(datagrams.left, "to the right");
	datagrams.echo = bound(SOCK_DGRAM, ECHO);
	must(connect_to(datagrams.echo, ECHO), "connect");
	say(datagrams.echo, "to itself");
	datagrams.automatic = must(socket(AF_UNIX, SOCK_DGRAM, 0), "socket");
	must(bind(datagrams.automatic, (struct sockaddr *)&address, sizeof(address.sun_family)), "bind");
	automatic_length = sizeof(automatic);
	must(getsockname(datagrams.automatic, (struct sockaddr *)&automatic, &automatic_length), "name");
	datagrams.orphan = bound(SOCK_DGRAM, ORPHAN);
	datagrams.to_orphan = connected(SOCK_DGRAM, ORPHAN);
	must(unlink(ORPHAN.bytes), "unlink");
}

static void check_datagrams(void)
{
	struct name own = { automatic.sun_path,
			    automatic_length - offsetof(struct sockaddr_un, sun_path) };
	int fd;

	expect(comes_from(datagrams.log, "first", TELLER) && comes_from(datagrams.log, "second", TELLER),
	       "datagrams and who has sent them");
	say(datagrams.unnamed, "third");
	say(datagrams.teller, "fourth");
	expect(comes_from(datagrams.log, "third", NONE) && comes_from(datagrams.log, "fourth", TELLER),
	       "more of them");
	expect(has_peer(datagrams.unnamed, LOG) && has_peer(datagrams.teller, LOG) &&
	       is_named(datagrams.teller, TELLER), "their names");
	expect(is_named(datagrams.open, ABSTRACT("open")) && comes_from(datagrams.open, "gone", NONE),
	       "a datagram of who has closed");
	fd = connected(SOCK_DGRAM, ABSTRACT("open"));
	say(fd, "new");
	expect(comes_from(datagrams.open, "new", NONE), "a datagram of a new one");
	close(fd);
	expect(comes_from(datagrams.right, "to the right", LEFT) && is_named(datagrams.right, RIGHT) &&
	       are_connected(datagrams.left, datagrams.right), "connected to each other");
	expect(comes_from(datagrams.echo, "to itself", ECHO) && has_peer(datagrams.echo, ECHO),
	       "connected to itself");
	expect(is_named(datagrams.automatic, own), "a name that the kernel has chosen");
	say(datagrams.to_orphan, "found");
	expect(comes_from(datagrams.orphan, "found", NONE) && is_named(datagrams.orphan, ORPHAN) &&
	       access(ORPHAN.bytes, F_OK) != 0, "connected by a path that was deleted");
}
