/*
 * pairs KIND...: makes sockets of the Unix family of these kinds that are
 * connected to each other, or to nothing, prints "ready" and waits. At SIGUSR1 it
 * looks whether all of them are as they were, which uses up what is in them,
 * prints "FAIL WHAT" for each that is not, and "done, N failures".
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/filter.h>
#include <poll.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "asked.h"
#include "check.h"
#include "fds.h"
#include "kinds.h"

static const int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET };
static const char *const names[] = { "stream", "dgram", "seqpacket" };

static void pair_of(int type, int fds[2])
{
	must(socketpair(AF_UNIX, type, 0, fds), "socketpair");
}

static int option(int fd, int name)
{
	int value = -1;
	socklen_t length = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &length) == 0 ? value : -1;
}

static void set(int fd, int name, int value)
{
	must(setsockopt(fd, SOL_SOCKET, name, &value, sizeof(value)), "setsockopt");
}

/* What is in queues. */

#define LARGE 150000

static struct {
	int stream[2], large[2], spliced[2], dgram[2], seqpacket[2], both[2], full[2];
	size_t in_full;
} data;
static char file_data[30000];

static void make_messages(int fds[2])
{
	put(fds[0], 10, 0, 100);
	put(fds[0], 10, 100, 60000);
	put(fds[0], 10, 60100, 1);
}

static void make_data(void)
{
	char byte = 0;
	int file, pipe_fds[2];
	ssize_t part;

	pair_of(SOCK_STREAM, data.stream);
	put(data.stream[0], 1, 0, 1000);
	put(data.stream[0], 1, 1000, 3000);
	get(data.stream[1], 1, 0, 1500);
	/* In fragments of several pages. */
	pair_of(SOCK_STREAM, data.large);
	set(data.large[0], SO_SNDBUF, 1 << 20);
	put(data.large[0], 2, 0, LARGE);
	/* Frames of the page cache. */
	pair_of(SOCK_STREAM, data.spliced);
	must(pipe(pipe_fds), "pipe");
	file = must(open("/proc/self/exe", O_RDONLY), "open");
	must((int)pread(file, file_data, sizeof(file_data), 0), "pread");
	for (size_t at = 0; at < sizeof(file_data); at += (size_t)part) {
		part = splice(file, NULL, pipe_fds[1], NULL, sizeof(file_data) - at, 0);
		must((int)part, "splice");
		must((int)splice(pipe_fds[0], NULL, data.spliced[0], NULL, (size_t)part, 0), "splice");
	}
	close(file);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	pair_of(SOCK_DGRAM, data.dgram);
	make_messages(data.dgram);
	pair_of(SOCK_SEQPACKET, data.seqpacket);
	make_messages(data.seqpacket);
	pair_of(SOCK_STREAM, data.both);
	put(data.both[0], 3, 0, 700);
	put(data.both[1], 4, 0, 900);
	pair_of(SOCK_STREAM | SOCK_NONBLOCK, data.full);
	while (write(data.full[0], &byte, 1) == 1)
		data.in_full++;
}

static void check_messages(const char *what, int fds[2])
{
	char bytes[61000];
	const ssize_t lengths[] = { 100, 60000, 1 };
	size_t at = 0;

	for (size_t i = 0; i < SIZE(lengths); i++) {
		ssize_t got = recv(fds[1], bytes, sizeof(bytes), MSG_DONTWAIT);

		expect(got == lengths[i], "%s: message %zu of %zd bytes", what, i, got);
		expect(holds(bytes, 10, at, (size_t)lengths[i]), "%s: content of message %zu", what, i);
		at += (size_t)lengths[i];
	}
	expect(recv(fds[1], bytes, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN, "%s: no more", what);
	put(fds[1], 10, 0, 9);
	expect(recv(fds[0], bytes, 100, MSG_DONTWAIT) == 9, "%s: the way back", what);
}

static void check_data(void)
{
	static char bytes[sizeof(file_data)];
	char byte;

	expect(waiting(data.stream[1]) == 2500, "stream: %d bytes left", waiting(data.stream[1]));
	expect(get(data.stream[1], 1, 1500, 2500), "stream: data");
	put(data.stream[1], 1, 0, 10);
	expect(get(data.stream[0], 1, 0, 10), "stream: the way back");
	expect(waiting(data.large[1]) == LARGE && get(data.large[1], 2, 0, LARGE), "large: data");
	expect(recv(data.spliced[1], bytes, sizeof(bytes), MSG_WAITALL) == sizeof(bytes) &&
	       memcmp(bytes, file_data, sizeof(bytes)) == 0, "spliced data");
	check_messages("dgram", data.dgram);
	check_messages("seqpacket", data.seqpacket);
	expect(get(data.both[1], 3, 0, 700) && get(data.both[0], 4, 0, 900), "both ways: data");
	expect((size_t)waiting(data.full[1]) == data.in_full, "full: %d bytes instead of %zu",
	       waiting(data.full[1]), data.in_full);
	while (read(data.full[1], &byte, 1) == 1)
		;
	expect(errno == EAGAIN && write(data.full[0], &byte, 1) == 1, "full: room again");
}

/* Messages without a byte, which CRIU itself takes for the end of a queue. */

static int empty[2][2];

static void make_empty(void)
{
	for (int i = 0; i < 2; i++) {
		pair_of(types[i + 1], empty[i]);
		for (size_t length = 0; length < 4; length++)
			put(empty[i][0], 11, 0, length % 2 * length);
	}
}

static void check_empty(void)
{
	char bytes[10];

	for (int i = 0; i < 2; i++) {
		for (size_t length = 0; length < 4; length++) {
			ssize_t wanted = (ssize_t)(length % 2 * length);

			expect(recv(empty[i][1], bytes, 10, MSG_DONTWAIT) == wanted,
			       "%s: message %zu among empty ones", names[i + 1], length);
		}
		expect(recv(empty[i][1], bytes, 10, MSG_DONTWAIT) == -1 && errno == EAGAIN,
		       "%s: no more empty ones", names[i + 1]);
	}
}

/* What is shut down or closed. */

static struct {
	int writes[2], reads[2], both[2], closed[3], fresh[3], shut_fresh;
} ends;

static void make_ends(void)
{
	int fds[2];

	pair_of(SOCK_STREAM, ends.writes);
	put(ends.writes[0], 20, 0, 300);
	must(shutdown(ends.writes[0], SHUT_WR), "shutdown");
	pair_of(SOCK_SEQPACKET, ends.reads);
	must(shutdown(ends.reads[0], SHUT_RD), "shutdown");
	pair_of(SOCK_STREAM, ends.both);
	put(ends.both[0], 20, 0, 5);
	must(shutdown(ends.both[1], SHUT_RDWR), "shutdown");
	for (int i = 0; i < 3; i++) {
		pair_of(types[i], fds);
		put(fds[1], 21, 0, 400);
		close(fds[1]);
		ends.closed[i] = fds[0];
		ends.fresh[i] = must(socket(AF_UNIX, types[i], 0), "socket");
	}
	ends.shut_fresh = must(socket(AF_UNIX, SOCK_STREAM, 0), "socket");
	must(shutdown(ends.shut_fresh, SHUT_RD), "shutdown");
}

static void check_ends(void)
{
	struct pollfd entry = { ends.shut_fresh, POLLRDHUP, 0 };
	char bytes[500];

	expect(get(ends.writes[1], 20, 0, 300) && read(ends.writes[1], bytes, 1) == 0,
	       "shut down for sending: data and end");
	expect(write(ends.writes[0], "", 1) == -1 && errno == EPIPE, "shut down for sending: EPIPE");
	put(ends.writes[1], 20, 0, 9);
	expect(get(ends.writes[0], 20, 0, 9), "shut down for sending: the other way");
	expect(read(ends.reads[0], bytes, 1) == 0, "shut down for receiving: end");
	expect(write(ends.reads[1], "x", 1) == -1 && errno == EPIPE, "shut down for receiving: EPIPE");
	expect(write(ends.reads[0], "x", 1) == 1 && read(ends.reads[1], bytes, 9) == 1,
	       "shut down for receiving: the other way");
	expect(get(ends.both[1], 20, 0, 5) && read(ends.both[1], bytes, 1) == 0 &&
	       read(ends.both[0], bytes, 1) == 0, "shut down: end");
	for (int i = 0; i < 3; i++) {
		int type = types[i], fd = ends.closed[i];

		expect(recv(fd, bytes, 400, MSG_DONTWAIT) == 400 && holds(bytes, 21, 0, 400),
		       "peer of a %s closed: data", names[i]);
		if (type == SOCK_DGRAM) {
			expect(write(fd, "x", 1) == -1 && (errno == ECONNREFUSED || errno == ENOTCONN),
			       "peer of a dgram closed: sending");
		} else {
			expect(read(fd, bytes, 1) == 0, "peer of a %s closed: end", names[i]);
			expect(write(fd, "x", 1) == -1 && errno == EPIPE, "peer of a %s closed: EPIPE",
			       names[i]);
		}
		expect(option(ends.fresh[i], SO_TYPE) == type, "fresh %s: type", names[i]);
		expect(write(ends.fresh[i], "x", 1) == -1 && errno == ENOTCONN, "fresh %s", names[i]);
	}
	expect(poll(&entry, 1, 0) == 1 && (entry.revents & POLLRDHUP), "shut down, not connected");
}

/* Options. */

static struct {
	int fd[2], other[2], telling[2], filtered[2], duplicate;
} options;
static struct sock_filter instructions[] = {
	/* Packets are cut to their first 5 bytes. */
	BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
	BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 5, 0, 1),
	BPF_STMT(BPF_RET | BPF_K, 5),
	BPF_STMT(BPF_RET | BPF_A, 0),
};

static void make_options(void)
{
	struct f_owner_ex owner = { F_OWNER_PID, getpid() };
	struct timeval receive = { 7, 500000 }, send = { 3, 4000 };
	struct sock_fprog program = { SIZE(instructions), instructions };
	struct linger linger = { 1, 77 };
	int *fd = options.fd;

	pair_of(SOCK_STREAM, fd);
	set(fd[0], SO_SNDBUF, 50000);
	set(fd[0], SO_RCVBUF, 60000);
	must(setsockopt(fd[0], SOL_SOCKET, SO_RCVTIMEO, &receive, sizeof(receive)), "SO_RCVTIMEO");
	must(setsockopt(fd[0], SOL_SOCKET, SO_SNDTIMEO, &send, sizeof(send)), "SO_SNDTIMEO");
	must(setsockopt(fd[0], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), "SO_LINGER");
	set(fd[0], SO_PRIORITY, 3);
	set(fd[0], SO_RCVLOWAT, 9);
	set(fd[0], SO_MARK, 0x1234);
	set(fd[0], SO_PASSCRED, 1);
	set(fd[0], SO_KEEPALIVE, 1);
	set(fd[0], SO_BROADCAST, 1);
	set(fd[0], SO_DONTROUTE, 1);
	set(fd[0], SO_OOBINLINE, 1);
	set(fd[0], SO_NO_CHECK, 1);
	must(fcntl(fd[1], F_SETFD, FD_CLOEXEC), "F_SETFD");
	must(fcntl(fd[1], F_SETFL, O_NONBLOCK), "F_SETFL");
	options.duplicate = must(dup(fd[1]), "dup");
	pair_of(SOCK_DGRAM, options.other);
	pair_of(SOCK_STREAM, options.telling);
	must(fcntl(options.telling[0], F_SETOWN_EX, &owner), "F_SETOWN_EX");
	must(fcntl(options.telling[0], F_SETSIG, SIGRTMIN + 1), "F_SETSIG");
	must(fcntl(options.telling[0], F_SETFL, O_ASYNC), "F_SETFL");
	pair_of(SOCK_DGRAM, options.filtered);
	must(setsockopt(options.filtered[0], SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)),
	     "SO_ATTACH_FILTER");
}

static volatile sig_atomic_t told;

static void tell(int signal)
{
	(void)signal;
	told = 1;
}

static void check_time(int name, long seconds, long microseconds)
{
	struct timeval time = { -1, -1 };
	socklen_t length = sizeof(time);

	getsockopt(options.fd[0], SOL_SOCKET, name, &time, &length);
	expect(time.tv_sec == seconds && time.tv_usec == microseconds, "option %d: %ld.%06ld", name,
	       (long)time.tv_sec, (long)time.tv_usec);
}

static void check_option(int name, int value)
{
	expect(option(options.fd[0], name) == value, "option %d: %d instead of %d", name,
	       option(options.fd[0], name), value);
}

static void check_options(void)
{
	struct f_owner_ex owner = { -1, -1 };
	struct linger linger = { 0, 0 };
	struct ucred peer = { -1, 9, 9 };
	socklen_t length = sizeof(linger);
	char bytes[100];

	check_option(SO_SNDBUF, 100000);
	check_option(SO_RCVBUF, 120000);
	check_option(SO_PRIORITY, 3);
	check_option(SO_RCVLOWAT, 9);
	check_option(SO_MARK, 0x1234);
	check_option(SO_PASSCRED, 1);
	check_option(SO_KEEPALIVE, 1);
	check_option(SO_BROADCAST, 1);
	check_option(SO_DONTROUTE, 1);
	check_option(SO_OOBINLINE, 1);
	check_option(SO_NO_CHECK, 1);
	check_time(SO_RCVTIMEO, 7, 500000);
	check_time(SO_SNDTIMEO, 3, 4000);
	expect(getsockopt(options.fd[0], SOL_SOCKET, SO_LINGER, &linger, &length) == 0 &&
	       linger.l_onoff == 1 && linger.l_linger == 77, "SO_LINGER");
	expect(fcntl(options.fd[1], F_GETFD) == FD_CLOEXEC && fcntl(options.duplicate, F_GETFD) == 0,
	       "close-on-exec");
	expect(read(options.fd[1], bytes, 1) == -1 && errno == EAGAIN, "non-blocking");
	expect(fcntl(options.fd[0], F_GETFL) == O_RDWR, "blocking");
	fcntl(options.fd[1], F_SETFL, 0);
	expect((fcntl(options.duplicate, F_GETFL) & O_NONBLOCK) == 0, "duplicate");
	expect(option(options.other[0], SO_SNDBUF) == 212992 && option(options.other[0], SO_PASSCRED) == 0 &&
	       option(options.other[0], SO_RCVLOWAT) == 1, "what was not set");
	length = sizeof(peer);
	expect(getsockopt(options.other[0], SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 &&
	       peer.pid == getpid() && peer.uid == 0, "SO_PEERCRED: %d, %d", peer.pid, peer.uid);

	expect(fcntl(options.telling[0], F_GETOWN_EX, &owner) == 0 && owner.type == F_OWNER_PID &&
	       owner.pid == getpid(), "F_GETOWN_EX");
	expect(fcntl(options.telling[0], F_GETFL) & O_ASYNC, "O_ASYNC");
	expect(write(options.telling[1], "x", 1) == 1 && told == 1, "a signal for what was sent");
	length = 0;
	expect(getsockopt(options.filtered[0], SOL_SOCKET, SO_ATTACH_FILTER, NULL, &length) == 0 &&
	       length == SIZE(instructions), "filter: %d instructions", length);
	put(options.filtered[1], 1, 0, 20);
	expect(read(options.filtered[0], bytes, 100) == 5, "filter: what it cuts");
}

/* Descriptors in flight. */

static struct {
	int stream[2], dgram[2], closed, inner[2], held, gone_end;
} flight;

static void make_flight(void)
{
	int fds[2], pair[2], file, memory;

	pair_of(SOCK_STREAM, flight.stream);
	pair_of(SOCK_DGRAM, flight.dgram);
	/* A file that nothing else refers to, and one that is open as well. */
	file = must(open("/bin/sh", O_RDONLY), "open");
	lseek(file, 123, SEEK_SET);
	flight.held = must(open("/dev/zero", O_RDWR), "open");
	must(fcntl(flight.held, F_SETFL, O_APPEND), "F_SETFL");
	put(flight.stream[0], 30, 0, 50);
	send_fds(flight.stream[0], "ab", (int[]){ file, flight.held }, 2);
	put(flight.stream[0], 30, 50, 50);
	close(file);
	/* Both ends of a pipe with something in it, and one end of another. */
	must(pipe(fds), "pipe");
	put(fds[1], 31, 0, 600);
	send_fds(flight.dgram[0], "c", (int[]){ fds[0], fds[1] }, 2);
	close(fds[0]);
	close(fds[1]);
	must(pipe(fds), "pipe");
	send_fds(flight.dgram[1], "d", (int[]){ fds[0] }, 1);
	close(fds[0]);
	flight.gone_end = fds[1];
	/* Sockets with something in them, and with a descriptor of their own in flight. */
	pair_of(SOCK_SEQPACKET, flight.inner);
	pair_of(SOCK_STREAM, pair);
	put(pair[0], 32, 0, 70);
	memory = must(memfd_create("in flight", 0), "memfd_create");
	put(memory, 33, 0, 5000);
	send_fds(pair[0], "e", (int[]){ memory }, 1);
	close(memory);
	send_fds(flight.inner[0], "f", (int[]){ pair[0], pair[1] }, 2);
	close(pair[0]);
	close(pair[1]);
}

static void make_closed_flight(void)
{
	int fds[2], file = must(open("/dev/zero", O_RDONLY), "open");

	pair_of(SOCK_SEQPACKET, fds);
	send_fds(fds[0], "g", (int[]){ file }, 1);
	close(file);
	close(fds[0]);
	flight.closed = fds[1];
}

static void check_flight(void)
{
	char bytes[100];
	int got[4], inner[4];

	expect(get(flight.stream[1], 30, 0, 50), "in flight: data before");
	expect(receive_fds(flight.stream[1], bytes, 2, got) == 2 && memcmp(bytes, "ab", 2) == 0,
	       "in flight: two files");
	expect(lseek(got[0], 0, SEEK_CUR) == 123, "in flight: offset");
	fcntl(got[1], F_SETFL, 0);
	expect((fcntl(flight.held, F_GETFL) & O_APPEND) == 0, "in flight: the same open file");
	expect(get(flight.stream[1], 30, 50, 50), "in flight: data behind");
	expect(receive_fds(flight.dgram[1], bytes, 1, got) == 2, "in flight: ends of a pipe");
	expect(waiting(got[0]) == 600 && get(got[0], 31, 0, 600), "in flight: data of a pipe");
	put(got[1], 31, 0, 7);
	expect(get(got[0], 31, 0, 7), "in flight: ends belong together");
	expect(receive_fds(flight.dgram[0], bytes, 1, got) == 1, "in flight: an end of a pipe");
	put(flight.gone_end, 31, 0, 8);
	expect(get(got[0], 31, 0, 8), "in flight: it belongs to the other end");
	expect(receive_fds(flight.inner[1], bytes, 1, got) == 2, "in flight: sockets");
	expect(get(got[1], 32, 0, 70), "in flight: data of a socket");
	expect(receive_fds(got[1], bytes, 1, inner) == 1 && lseek(inner[0], 0, SEEK_SET) == 0 &&
	       get(inner[0], 33, 0, 5000), "in flight in flight");
}

static void check_closed_flight(void)
{
	char bytes[9];
	int got[4];

	expect(receive_fds(flight.closed, bytes, 1, got) == 1 && read(got[0], bytes, 5) == 5 &&
	       bytes[4] == 0, "in flight, the sender closed");
	expect(read(flight.closed, bytes, 1) == 0, "in flight, the sender closed: end");
}

/* With a child, which has the other end of some and has closed it of others. */

static struct {
	pid_t child;
	int to_child[2], dgram[2], shared[2], fd_to_child[2];
} kin;

static void serve(void)
{
	char bytes[10];
	int got[4];

	for (;;) {
		int fine = read(kin.to_child[1], bytes, 1) == 1 && bytes[0] == 'q';

		fine &= recv(kin.dgram[1], bytes, 10, MSG_DONTWAIT) == 3;
		fine &= receive_fds(kin.fd_to_child[1], bytes, 1, got) == 1 &&
			lseek(got[0], 0, SEEK_CUR) == 77;
		bytes[0] = fine ? 'y' : 'n';
		must((int)write(kin.to_child[1], bytes, 1), "write");
	}
}

static void be_child(void)
{
	close(kin.to_child[0]);
	close(kin.dgram[0]);
	close(kin.fd_to_child[0]);
	put(kin.to_child[1], 41, 0, 300);
	put(kin.shared[1], 42, 0, 10);
	must(read(kin.to_child[1], &(char){ 0 }, 1) == 1 ? 0 : -1, "read");
	put(kin.to_child[1], 41, 300, 1);
	signal(SIGUSR2, SIG_DFL);
	serve();
}

static void make_kin(void)
{
	int file;

	pair_of(SOCK_STREAM, kin.to_child);
	pair_of(SOCK_DGRAM, kin.dgram);
	pair_of(SOCK_STREAM, kin.shared);
	pair_of(SOCK_STREAM, kin.fd_to_child);
	kin.child = must(fork(), "fork");
	if (kin.child == 0)
		be_child();
	close(kin.to_child[1]);
	close(kin.dgram[1]);
	close(kin.fd_to_child[1]);
	put(kin.to_child[0], 0, 0, 1);
	while (waiting(kin.to_child[0]) < 301)
		usleep(1000);
	put(kin.dgram[0], 40, 0, 3);
	file = must(open("/bin/sh", O_RDONLY), "open");
	lseek(file, 77, SEEK_SET);
	send_fds(kin.fd_to_child[0], "h", (int[]){ file }, 1);
	close(file);
}

static void check_kin(void)
{
	char answer = 0;

	expect(get(kin.to_child[0], 41, 0, 301), "from the child: data");
	expect(get(kin.shared[0], 42, 0, 10), "shared with the child: data");
	must((int)write(kin.to_child[0], "q", 1), "write");
	expect(read(kin.to_child[0], &answer, 1) == 1 && answer == 'y', "the child says %c", answer);
	put(kin.shared[1], 42, 0, 10);
	expect(get(kin.shared[0], 42, 0, 10), "shared with the child: both ends");
	kill(kin.child, SIGKILL);
	waitpid(kin.child, NULL, 0);
}

static const struct kind kinds[] = {
	{ "data", make_data, check_data },
	{ "empty", make_empty, check_empty },
	{ "ends", make_ends, check_ends },
	{ "options", make_options, check_options },
	{ "flight", make_flight, check_flight },
	{ "closed_flight", make_closed_flight, check_closed_flight },
	{ "kin", make_kin, check_kin },
};

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	signal(SIGRTMIN + 1, tell);
	make_and_check(kinds, SIZE(kinds), argc, argv);
}
