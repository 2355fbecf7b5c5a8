/* Pipes and FIFOs: of one member, and between a member and its child. */
#include <sys/ioctl.h>
#include <sys/socket.h>

static int waiting(int fd)
{
	int bytes = -1;

	ioctl(fd, FIONREAD, &bytes);
	return bytes;
}

/* Writes at most `count` bytes of the pattern and returns how many went in. */
static long put(int fd, uint32_t of, long from, long count)
{
	int flags = fcntl(fd, F_GETFL);
	char bytes[4096];
	long put = 0;

	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	while (put < count) {
		long part = count - put < 4096 ? count - put : 4096;

		fill(bytes, of, (size_t)(from + put), (size_t)part);
		part = write(fd, bytes, (size_t)part);
		if (part <= 0)
			break;
		put += part;
	}
	fcntl(fd, F_SETFL, flags);
	return put;
}

/* Whether the next `count` bytes are those of the pattern. */
static int get(int fd, uint32_t of, long from, long count)
{
	char bytes[4096];

	while (count > 0) {
		long part = read(fd, bytes, count < 4096 ? (size_t)count : 4096);

		if (part <= 0 || !holds(bytes, of, (size_t)from, (size_t)part))
			return 0;
		from += part;
		count -= part;
	}
	return 1;
}

/* Without what matters to open() alone, and is gone after a restore. */
static int flags_of(int fd)
{
	return fcntl(fd, F_GETFL) & ~O_TMPFILE;
}

static void check_flags(const struct thing *thing)
{
	for (int end = 0; end < 2; end++)
		if (thing->fd[end] >= 0)
			expect(thing->kind, flags_of(thing->fd[end]), thing->flags[end]);
}

static void keep_flags(struct thing *thing)
{
	for (int end = 0; end < 2; end++)
		if (thing->fd[end] >= 0)
			thing->flags[end] = flags_of(thing->fd[end]);
}

/* `at` bytes have been read of it, `size` are in it. */
static void check_pipe(struct thing *thing)
{
	char byte;

	check_flags(thing);
	if (waiting(thing->fd[0]) != thing->size) {
		lost("%s: %d bytes in it instead of %ld", thing->kind, waiting(thing->fd[0]), thing->size);
		return;
	}
	if (!get(thing->fd[0], thing->pattern, thing->at, thing->size))
		lost("%s: what is in it", thing->kind);
	thing->at += thing->size;
	if (thing->fd[1] < 0) {
		thing->size = 0;
		if (read(thing->fd[0], &byte, 1) != 0)
			lost("%s: it has no end", thing->kind);
		return;
	}
	expect("size of a pipe", fcntl(thing->fd[1], F_GETPIPE_SZ), thing->number);
	thing->size = put(thing->fd[1], thing->pattern, thing->at, thing->size);
}

static void fill_pipe(struct thing *thing)
{
	long size;

	if (chance(50))
		must(fcntl(thing->fd[1], F_SETPIPE_SZ, 4096 << draw(6)), "F_SETPIPE_SZ");
	thing->number = fcntl(thing->fd[1], F_GETPIPE_SZ);
	if (chance(50)) {
		/* The ring has gone around. */
		for (int i = 0; i < (int)draw(20); i++) {
			size = put(thing->fd[1], thing->pattern, thing->at, 1 + draw(9000));
			get(thing->fd[0], thing->pattern, thing->at, size);
			thing->at += size;
		}
	}
	for (int i = draw(4); i >= 0; i--) {
		size = chance(20) ? thing->number : (long)draw(6000);
		thing->size += put(thing->fd[1], thing->pattern, thing->at + thing->size, size);
	}
}

static void make_pipe(void)
{
	struct thing *thing = add("pipe", check_pipe);

	must(pipe2(thing->fd, (chance(30) ? O_CLOEXEC : 0) | (chance(30) ? O_NONBLOCK : 0)), "pipe2");
	fill_pipe(thing);
	if (chance(25)) {
		close(thing->fd[1]);
		thing->fd[1] = -1;
	}
	keep_flags(thing);
}

static void make_fifo(void)
{
	struct thing *thing = add("FIFO", check_pipe);

	must(mkfifo(thing->path, 0644), thing->path);
	thing->fd[0] = (int)must(open(thing->path, O_RDONLY | O_NONBLOCK), thing->path);
	thing->fd[1] = (int)must(open(thing->path, chance(50) ? O_WRONLY : O_RDWR), thing->path);
	fill_pipe(thing);
	keep_flags(thing);
}

/*
 * Between a member and the child that it will have next: one writes `at` bytes
 * when it is asked, the other reads them. A member is asked before its child.
 */
#define CHUNK 700

static void check_writer(struct thing *thing)
{
	check_flags(thing);
	expect("what goes into a pipe to another", put(thing->fd[1], thing->pattern, thing->at, CHUNK), CHUNK);
	thing->at += CHUNK;
}

static void check_reader(struct thing *thing)
{
	check_flags(thing);
	if (waiting(thing->fd[0]) != thing->size || !get(thing->fd[0], thing->pattern, thing->at, CHUNK))
		lost("pipe from another: %d bytes in it instead of %ld, or what they are",
		     waiting(thing->fd[0]), thing->size);
	thing->at += CHUNK;
}

static void take_end(struct thing *thing, int end, int may_close)
{
	thing->check = end ? check_writer : check_reader;
	thing->adopt = NULL;
	thing->part = NULL;
	/* Where its next byte is in all that goes through. */
	thing->at = end ? thing->size : 0;
	if (may_close) {
		close(thing->fd[!end]);
		thing->fd[!end] = -1;
	}
}

/* `number`: which end is the child's. */
static int adopt_pair(struct thing *thing)
{
	take_end(thing, thing->number, !self.shares_files);
	/* Its parent has written when it reads. */
	if (thing->number == 0)
		thing->size += CHUNK;
	return 1;
}

/* The parent's part, right after the fork. */
static void part_pair(struct thing *thing)
{
	take_end(thing, !thing->number, !self.is_shared);
}

static void make_pair(void)
{
	struct thing *thing = add("pipe to another", check_pipe);

	/* A pair of sockets is used in one direction. */
	if (chance(40))
		must(socketpair(AF_UNIX, SOCK_STREAM | (chance(30) ? SOCK_CLOEXEC : 0), 0, thing->fd), "socketpair");
	else
		must(pipe2(thing->fd, chance(30) ? O_CLOEXEC : 0), "pipe2");
	thing->size = put(thing->fd[1], thing->pattern, 0, CHUNK + draw(8000));
	thing->number = (int)draw(2);
	keep_flags(thing);
	thing->adopt = adopt_pair;
	thing->part = part_pair;
}
