/* With a child, which connects to its parent. */
#define PARENT PATH("/run/" PREFIX "parent")
#define MESSAGES PATH("/run/" PREFIX "messages")
#define ONE PATH("/run/" PREFIX "one")

static struct {
	pid_t child;
	int parent, of_child, messages, one;
} kin;

static void be_child(void)
{
	int connection = connected(SOCK_STREAM, PARENT), messages = connected(SOCK_DGRAM, MESSAGES);
	int waits = connected(SOCK_STREAM, ONE);
	char bytes[10];

	close(kin.parent);
	close(kin.messages);
	close(kin.one);
	say(messages, "message");
	say(connection, "child");
	while (read(connection, bytes, 1) == 1) {
		int fine = has_peer(connection, PARENT) && send(messages, "again", 5, MSG_DONTWAIT) == 5 &&
			   send(waits, "late", 4, MSG_DONTWAIT) == 4;

		say(connection, fine ? "y" : "n");
	}
	for (;;)
		pause();
}

static void make_kin(void)
{
	kin.parent = listening(SOCK_STREAM, PARENT, 5);
	kin.messages = bound(SOCK_DGRAM, MESSAGES);
	kin.one = listening(SOCK_STREAM, ONE, 5);
	kin.child = must(fork(), "fork");
	if (kin.child == 0)
		be_child();
	kin.of_child = must(accept(kin.parent, NULL, NULL), "accept");
	/* The last that it does. */
	while (waiting(kin.of_child) < 5)
		usleep(1000);
}

static void check_kin(void)
{
	char answer = 0;
	int fd;

	expect(is_named(kin.of_child, PARENT) && comes_from(kin.of_child, "child", NONE),
	       "connection of a child");
	expect(comes_from(kin.messages, "message", NONE), "message of a child");
	must((int)write(kin.of_child, "q", 1), "write");
	expect(read(kin.of_child, &answer, 1) == 1 && answer == 'y', "the child says %c", answer);
	expect(comes_from(kin.messages, "again", NONE), "another message of a child");
	fd = accepted(kin.one);
	expect(is_named(fd, ONE) && comes_from(fd, "late", NONE), "a child that waits");
	expect(is_reached(kin.parent, SOCK_STREAM, PARENT), "another child");
	kill(kin.child, SIGKILL);
	waitpid(kin.child, NULL, 0);
}
