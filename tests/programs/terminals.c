/*
 * terminals KIND...: opens terminals of these kinds, prints "ready" and waits. At
 * SIGUSR1 it looks whether all of them are as they were, which uses up what waits
 * in them, prints "FAIL WHAT" for each that is not, and "done, N failures".
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "check.h"

#ifndef TIOCGPKT
#define TIOCGPKT _IOR('T', 0x38, int)
#define TIOCGPTLCK _IOR('T', 0x39, int)
#endif
#define SIZE(array) (sizeof(array) / sizeof((array)[0]))

static volatile sig_atomic_t told, interrupted;

/* A pseudoterminal: the master, the other end, and what is known of both. */
struct pair {
	int master, slave, index;
	struct termios termios;
	struct winsize size;
};

static int number_of(int master)
{
	int index = -1;

	ioctl(master, TIOCGPTN, &index);
	return index;
}

static const char *name_of(const struct pair *pair)
{
	static char name[32];

	snprintf(name, sizeof(name), "/dev/pts/%d", pair->index);
	return name;
}

/* With the other end closed and locked. */
static struct pair make_master(const char *path, int flags)
{
	struct pair pair = { .slave = -1 };

	pair.master = must(open(path, O_RDWR | O_NOCTTY | flags), path);
	pair.index = number_of(pair.master);
	return pair;
}

static void unlock(const struct pair *pair)
{
	int locked = 0;

	must(ioctl(pair->master, TIOCSPTLCK, &locked), "TIOCSPTLCK");
}

static struct pair make_pair(const char *path, int flags)
{
	struct pair pair = make_master(path, 0);

	unlock(&pair);
	pair.slave = must(open(name_of(&pair), O_RDWR | O_NOCTTY | flags), "pts");
	return pair;
}

static void set(struct pair *pair, tcflag_t iflag, tcflag_t oflag, tcflag_t lflag)
{
	must(tcgetattr(pair->slave, &pair->termios), "tcgetattr");
	pair->termios.c_iflag = iflag;
	pair->termios.c_oflag = oflag;
	pair->termios.c_lflag = lflag;
	must(tcsetattr(pair->slave, TCSANOW, &pair->termios), "tcsetattr");
	must(tcgetattr(pair->slave, &pair->termios), "tcgetattr");
}

static int same_settings(const struct termios *a, const struct termios *b)
{
	return a->c_iflag == b->c_iflag && a->c_oflag == b->c_oflag && a->c_cflag == b->c_cflag &&
	       a->c_lflag == b->c_lflag && a->c_line == b->c_line &&
	       memcmp(a->c_cc, b->c_cc, 19) == 0;
}

static void check_settings(const char *what, const struct pair *pair)
{
	struct termios termios;
	struct winsize size = { 0 };
	int fd = pair->slave >= 0 ? pair->slave : pair->master;

	expect(tcgetattr(fd, &termios) == 0 && same_settings(&termios, &pair->termios), "%s: settings", what);
	expect(ioctl(fd, TIOCGWINSZ, &size) == 0 && memcmp(&size, &pair->size, sizeof(size)) == 0,
	       "%s: window of %d x %d", what, size.ws_row, size.ws_col);
}

/* Whether just these bytes can be read now. */
static int gives(int fd, const char *bytes, size_t count)
{
	int flags = fcntl(fd, F_GETFL);
	char found[16384];
	size_t have = 0;
	ssize_t part;

	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	while (have <= count) {
		struct pollfd entry = { .fd = fd, .events = POLLIN };

		/* What was written is there in a moment, and nothing behind it. */
		do
			part = poll(&entry, 1, have < count ? 10000 : 50);
		while (part == -1 && errno == EINTR);
		if (part != 1)
			break;
		part = read(fd, found + have, sizeof(found) - have);
		if (part <= 0)
			break;
		have += (size_t)part;
	}
	fcntl(fd, F_SETFL, flags);
	if (have != count)
		printf("%zu bytes instead of %zu\n", have, count);
	return have == count && memcmp(found, bytes, count) == 0;
}

static int passes(int from, int to, const char *bytes)
{
	size_t count = strlen(bytes);

	return write(from, bytes, count) == (ssize_t)count && gives(to, bytes, count);
}

/* A process that looks at what it has when its parent asks. */
struct member {
	pid_t pid;
	int answers[2];
};

static volatile sig_atomic_t asked;

static void on_ask(int signal)
{
	(void)signal;
	asked = 1;
}

/* SIGUSR1 is blocked at any other time. */
static void wait_to_be_asked(void)
{
	sigset_t none;

	sigemptyset(&none);
	while (!asked)
		sigsuspend(&none);
	asked = 0;
}

static void serve(const struct member *member, void (*check)(void))
{
	for (;;) {
		wait_to_be_asked();
		failures = 0;
		check();
		fflush(stdout);
		if (write(member->answers[1], &failures, sizeof(failures)) != sizeof(failures))
			_exit(1);
	}
}

/* Begun with `begin`, asked to `check`. */
static struct member start(void (*begin)(void), void (*check)(void))
{
	struct member member;
	char ready;
	int begun[2];

	must(pipe(member.answers), "pipe");
	must(pipe(begun), "pipe");
	fflush(stdout);
	member.pid = must(fork(), "fork");
	if (member.pid == 0) {
		begin();
		must((int)write(begun[1], "", 1), "write");
		close(begun[0]);
		close(begun[1]);
		serve(&member, check);
	}
	must(read(begun[0], &ready, 1) == 1 ? 0 : -1, "a child that begins");
	close(begun[0]);
	close(begun[1]);
	return member;
}

static void ask(const struct member *member)
{
	int count = 0;

	kill(member->pid, SIGUSR1);
	expect(read(member->answers[0], &count, sizeof(count)) == sizeof(count), "a child's answer");
	failures += count;
}

/* Pseudoterminals with both ends open, and masters alone. */
static struct {
	struct pair plain, set, locked, shared, told, alone, shut;
	int again, duplicate;
	struct termios lock;
	struct member child;
} pairs;

static void keep_slave(void)
{
	close(pairs.shared.master);
}

static void check_slave(void)
{
	check_settings("pair with a child", &pairs.shared);
	expect(write(pairs.shared.slave, "from the child", 14) == 14, "what a child writes");
	expect(gives(pairs.shared.slave, "to the child\n", 13), "what a child reads");
}

static void make_pairs(void)
{
	struct f_owner_ex owner = { F_OWNER_PID, getpid() };
	int on = 1;

	pairs.plain = make_pair("/dev/ptmx", 0);
	must(tcgetattr(pairs.plain.slave, &pairs.plain.termios), "tcgetattr");

	pairs.set = make_pair("/dev/pts/ptmx", O_CLOEXEC);
	pairs.again = must(open(name_of(&pairs.set), O_RDONLY | O_NOCTTY | O_NONBLOCK), "pts");
	pairs.duplicate = must(fcntl(pairs.set.master, F_DUPFD_CLOEXEC, 100), "F_DUPFD_CLOEXEC");
	must(tcgetattr(pairs.set.slave, &pairs.set.termios), "tcgetattr");
	for (int i = 0; i < 17; i++)
		pairs.set.termios.c_cc[i] = (cc_t)(200 + i);
	must(cfsetspeed(&pairs.set.termios, B9600), "cfsetspeed");
	must(tcsetattr(pairs.set.slave, TCSANOW, &pairs.set.termios), "tcsetattr");
	set(&pairs.set, IGNBRK | IXOFF | IUTF8, 0, NOFLSH | TOSTOP);
	pairs.set.size = (struct winsize){ 33, 101, 808, 528 };
	must(ioctl(pairs.set.slave, TIOCSWINSZ, &pairs.set.size), "TIOCSWINSZ");
	must(ioctl(pairs.set.master, TIOCPKT, &on), "TIOCPKT");
	must(fchown(pairs.set.slave, 12, 34), "fchown");
	must(fchmod(pairs.set.slave, 0604), "fchmod");

	/* Locked when they are not what they begin with. */
	pairs.locked = make_pair("/dev/ptmx", 0);
	set(&pairs.locked, IXANY, OPOST, ISIG);
	pairs.lock.c_iflag = ICRNL | IXANY;
	pairs.lock.c_lflag = ECHO;
	pairs.lock.c_cc[VINTR] = 1;
	must(ioctl(pairs.locked.slave, TIOCSLCKTRMIOS, &pairs.lock), "TIOCSLCKTRMIOS");

	pairs.told = make_pair("/dev/ptmx", 0);
	set(&pairs.told, 0, 0, 0);
	must(fcntl(pairs.told.slave, F_SETOWN_EX, &owner), "F_SETOWN_EX");
	must(fcntl(pairs.told.slave, F_SETSIG, SIGRTMIN + 1), "F_SETSIG");

	pairs.alone = make_master("/dev/ptmx", O_NONBLOCK);
	unlock(&pairs.alone);
	pairs.shut = make_master("/dev/ptmx", O_CLOEXEC);

	pairs.shared = make_pair("/dev/ptmx", 0);
	set(&pairs.shared, ICRNL, 0, ICANON);
	pairs.child = start(keep_slave, check_slave);
	close(pairs.shared.slave);
}

static void check_pairs(void)
{
	struct f_owner_ex owner = { -1, -1 };
	struct termios lock = { 0 }, tried;
	struct stat stat = { 0 };
	int value = -1;
	char byte = 0;

	expect(number_of(pairs.plain.master) == pairs.plain.index, "number");
	check_settings("pair", &pairs.plain);
	/* The other end echoes. */
	expect(write(pairs.plain.master, "line\n", 5) == 5 && gives(pairs.plain.slave, "line\n", 5) &&
	       gives(pairs.plain.master, "line\r\n", 6), "pair: a line and its echo");
	expect(fstat(pairs.plain.slave, &stat) == 0 &&
	       stat.st_rdev == makedev(136, (unsigned)pairs.plain.index), "pair: device number");

	check_settings("pair with settings", &pairs.set);
	expect(cfgetospeed(&pairs.set.termios) == B9600, "speed");
	expect(ioctl(pairs.set.master, TIOCGPKT, &value) == 0 && value == 1, "packet mode");
	expect(write(pairs.set.slave, "out", 3) == 3 && gives(pairs.set.master, "\0out", 4),
	       "packet mode: what is read");
	expect(ioctl(pairs.plain.master, TIOCGPKT, &value) == 0 && value == 0, "no packet mode");
	expect(fstat(pairs.set.slave, &stat) == 0 && stat.st_uid == 12 && stat.st_gid == 34 &&
	       stat.st_mode == (S_IFCHR | 0604), "owner and mode: %o", stat.st_mode);
	expect(fcntl(pairs.set.slave, F_GETFD) == FD_CLOEXEC, "close-on-exec");
	expect((fcntl(pairs.again, F_GETFL) & (O_ACCMODE | O_NONBLOCK)) == (O_RDONLY | O_NONBLOCK),
	       "flags of another open file");
	expect((fcntl(pairs.set.slave, F_GETFL) & (O_ACCMODE | O_NONBLOCK)) == O_RDWR, "flags");
	expect(passes(pairs.set.master, pairs.again, "in"), "another open file of the same terminal");
	expect(passes(pairs.duplicate, pairs.set.slave, "in"), "a duplicate of a master");

	check_settings("pair with locked settings", &pairs.locked);
	expect(ioctl(pairs.locked.slave, TIOCGLCKTRMIOS, &lock) == 0 && same_settings(&lock, &pairs.lock),
	       "what is locked");
	tried = pairs.locked.termios;
	tried.c_iflag ^= IXANY;
	tried.c_lflag ^= ECHO;
	tcsetattr(pairs.locked.slave, TCSANOW, &tried);
	check_settings("pair with settings that are locked still", &pairs.locked);

	expect(fcntl(pairs.told.slave, F_GETOWN_EX, &owner) == 0 && owner.type == F_OWNER_PID &&
	       owner.pid == getpid(), "F_GETOWN_EX: %d %d", owner.type, owner.pid);
	expect(fcntl(pairs.told.slave, F_GETSIG) == SIGRTMIN + 1, "F_GETSIG");
	/* It was off: no restore turns it on. */
	expect(fcntl(pairs.told.slave, F_SETFL, O_ASYNC) == 0, "O_ASYNC");
	told = 0;
	expect(passes(pairs.told.master, pairs.told.slave, "a signal") && told >= 1, "a signal for what came");

	expect(fcntl(pairs.alone.master, F_GETFL) & O_NONBLOCK, "flags of a master");
	expect(read(pairs.alone.master, &byte, 1) == -1 && errno == EAGAIN, "master alone: nothing to read");
	expect(ioctl(pairs.alone.master, TIOCGPTLCK, &value) == 0 && value == 0, "master that is not locked");
	value = open(name_of(&pairs.alone), O_RDWR | O_NOCTTY);
	expect(value >= 0 && passes(value, pairs.alone.master, "late"), "other end that is opened later");
	pairs.alone.slave = value;
	expect(open(name_of(&pairs.shut), O_RDWR | O_NOCTTY) == -1 && errno == EIO, "locked master");
	expect(ioctl(pairs.shut.master, TIOCGPTLCK, &value) == 0 && value == 1, "lock of a master");

	expect(write(pairs.shared.master, "to the child\r", 13) == 13, "what a child is to read");
	ask(&pairs.child);
	expect(gives(pairs.shared.master, "from the child", 14), "what comes from a child");
}

/* Terminals that control a session. */
static struct {
	struct pair open, closed;
	int own, group;
	struct member leader, other;
} control = { .own = -1 };
static int opens_own;

static void note_interrupt(int signal)
{
	(void)signal;
	interrupted = 1;
}

/* In the foreground, and forked before there is a terminal. */
static void be_in_foreground(void)
{
	signal(SIGINT, note_interrupt);
	must(setpgid(0, 0), "setpgid");
}

static void check_in_foreground(void)
{
	for (int i = 0; i < 1000 && !interrupted; i++)
		usleep(10000);
	expect(interrupted, "an interrupt from the terminal");
	interrupted = 0;
}

static struct member foreground;

static void lead(void)
{
	close(control.open.master);
	close(control.closed.master);
	must(setsid(), "setsid");
	foreground = start(be_in_foreground, check_in_foreground);
	control.group = foreground.pid;
	must(ioctl(control.open.slave, TIOCSCTTY, 0), "TIOCSCTTY");
	signal(SIGTTOU, SIG_IGN);
	must(tcsetpgrp(control.open.slave, control.group), "tcsetpgrp");
	if (opens_own)
		control.own = must(open("/dev/tty", O_RDWR | O_CLOEXEC), "/dev/tty");
}

static void check_leader(void)
{
	struct stat stat = { 0 };
	int fd;

	expect(tcgetsid(control.open.slave) == getpid(), "session of the terminal");
	expect(tcgetpgrp(control.open.slave) == control.group, "group in the foreground: %d",
	       tcgetpgrp(control.open.slave));
	if (opens_own) {
		expect(fstat(control.own, &stat) == 0 && stat.st_rdev == makedev(5, 0), "/dev/tty");
		expect(fcntl(control.own, F_GETFD) == FD_CLOEXEC, "/dev/tty: close-on-exec");
		expect(tcgetsid(control.own) == getpid(), "/dev/tty: session");
	}
	expect(write(opens_own ? control.own : control.open.slave, "own", 3) == 3, "what is written");
	fd = open("/dev/tty", O_WRONLY);
	expect(fd >= 0 && write(fd, "new", 3) == 3, "/dev/tty that is opened");
	close(fd);
	ask(&foreground);
}

/* Its terminal has no open file but the master. */
static void lead_without(void)
{
	close(control.open.slave);
	close(control.open.master);
	close(control.closed.master);
	must(setsid(), "setsid");
	must(ioctl(control.closed.slave, TIOCSCTTY, 0), "TIOCSCTTY");
	close(control.closed.slave);
}

static void check_leader_without(void)
{
	int fd = open("/dev/tty", O_RDWR);

	expect(fd >= 0 && tcgetsid(fd) == getpid() && tcgetpgrp(fd) == getpgrp(),
	       "terminal of a session that has no open file");
	expect(write(fd, "more", 4) == 4, "terminal without open file: what is written");
	/* It stays open, so that it can be read. */
}

/* Without /dev/tty, of which CRIU does not dump this. */
static void make_session(void)
{
	control.open = make_pair("/dev/ptmx", 0);
	set(&control.open, 0, 0, ISIG | NOFLSH);
	control.closed = make_pair("/dev/ptmx", 0);
	set(&control.closed, 0, 0, 0);
	control.leader = start(lead, check_leader);
	control.other = start(lead_without, check_leader_without);
	close(control.open.slave);
	close(control.closed.slave);
	control.open.slave = control.closed.slave = -1;
}

static void make_control(void)
{
	opens_own = 1;
	make_session();
}

static void check_control(void)
{
	int value = 0;

	expect(ioctl(control.open.master, TIOCGSID, &value) == 0 && value == control.leader.pid,
	       "session that a master tells");
	check_settings("terminal of a session", &control.open);
	expect(write(control.open.master, "\003", 1) == 1, "an interrupt");
	ask(&control.leader);
	expect(gives(control.open.master, "ownnew", 6), "what came to the master of a session");
	expect(ioctl(control.closed.master, TIOCGSID, &value) == 0 && value == control.other.pid,
	       "session of a terminal without open file");
	ask(&control.other);
	expect(gives(control.closed.master, "more", 4), "what came to the master of another session");
}

/* A session whose leader has forked before it got its terminal, and after. */
static struct {
	struct pair pair;
	struct member leader;
} kin;
static struct member early, late;

static void be_early(void)
{
}

static void check_early(void)
{
	char byte;

	expect(open("/dev/tty", O_RDWR) == -1 && errno == ENXIO, "/dev/tty of a process without one");
	expect(tcgetsid(kin.pair.slave) == -1 && errno == ENOTTY, "a terminal that does not control");
	expect(read(kin.pair.slave, &byte, 1) == -1 && errno == EAGAIN, "it can be read from");
}

static void be_late(void)
{
	signal(SIGTTIN, SIG_IGN);
	must(setpgid(0, 0), "setpgid");
}

static void check_late(void)
{
	int fd = open("/dev/tty", O_RDWR);
	char byte;

	expect(fd >= 0 && tcgetsid(fd) == getsid(0), "/dev/tty of another than the leader");
	close(fd);
	expect(tcgetsid(kin.pair.slave) == getsid(0), "session of another than the leader");
	expect(read(kin.pair.slave, &byte, 1) == -1 && errno == EIO, "it is not read in the background");
}

static void lead_kin(void)
{
	close(kin.pair.master);
	must(setsid(), "setsid");
	early = start(be_early, check_early);
	must(ioctl(kin.pair.slave, TIOCSCTTY, 0), "TIOCSCTTY");
	late = start(be_late, check_late);
}

static void check_lead_kin(void)
{
	expect(tcgetsid(kin.pair.slave) == getpid(), "session of a terminal");
	ask(&early);
	ask(&late);
}

static void make_kin(void)
{
	kin.pair = make_pair("/dev/ptmx", 0);
	must(fcntl(kin.pair.slave, F_SETFL, O_RDWR | O_NONBLOCK), "O_NONBLOCK");
	kin.leader = start(lead_kin, check_lead_kin);
}

static void check_kin(void)
{
	ask(&kin.leader);
}

/* What waits to be read. */
static struct {
	struct pair raw, lines, both, full;
} unread;
static char every[256], much[6000];

static void put(int fd, const char *bytes, size_t count)
{
	must(write(fd, bytes, count) == (ssize_t)count ? 0 : -1, "write");
}

static void wait_for(int fd, int count)
{
	int bytes = 0;

	while (bytes < count) {
		must(ioctl(fd, FIONREAD, &bytes), "FIONREAD");
		usleep(1000);
	}
}

static void make_unread(void)
{
	for (size_t i = 0; i < sizeof(every); i++)
		every[i] = (char)i;
	for (size_t i = 0; i < sizeof(much); i++)
		much[i] = (char)(i * 2654435761u >> 13);
	unread.raw = make_pair("/dev/ptmx", 0);
	set(&unread.raw, 0, 0, 0);
	/* What is left goes around its end. */
	for (int i = 0; i < 15; i++) {
		put(unread.raw.master, every, 253);
		must(gives(unread.raw.slave, every, 253) ? 0 : -1, "what goes around");
	}
	put(unread.raw.master, every, sizeof(every));
	put(unread.raw.slave, every, sizeof(every));
	wait_for(unread.raw.slave, sizeof(every));
	wait_for(unread.raw.master, sizeof(every));

	unread.lines = make_pair("/dev/ptmx", 0);
	set(&unread.lines, 0, OPOST | ONLCR, ICANON | IEXTEN);
	put(unread.lines.master, "one\ntwo\n\004part", 13);
	wait_for(unread.lines.slave, 4);

	/* As a program on a screen has it. */
	unread.both = make_pair("/dev/ptmx", O_NONBLOCK);
	set(&unread.both, IXON, OPOST | ONLCR, ISIG | IEXTEN);
	put(unread.both.slave, "text\nin\r\nlines\tand more", 23);
	put(unread.both.master, "typed ahead\033[A", 14);
	wait_for(unread.both.master, 25);
	wait_for(unread.both.slave, 14);

	/* More than the line discipline takes. */
	unread.full = make_pair("/dev/ptmx", 0);
	set(&unread.full, 0, 0, 0);
	put(unread.full.slave, much, sizeof(much));
	wait_for(unread.full.master, 4095);
}

static void check_unread(void)
{
	char line[64];

	expect(gives(unread.raw.slave, every, sizeof(every)), "raw input");
	expect(gives(unread.raw.master, every, sizeof(every)), "raw output");
	expect(read(unread.lines.slave, line, sizeof(line)) == 4 && memcmp(line, "one\n", 4) == 0, "a line");
	expect(read(unread.lines.slave, line, sizeof(line)) == 4 && memcmp(line, "two\n", 4) == 0,
	       "another line");
	expect(read(unread.lines.slave, line, sizeof(line)) == 0, "an end of file");
	put(unread.lines.master, "ly\n", 3);
	expect(read(unread.lines.slave, line, sizeof(line)) == 7 && memcmp(line, "partly\n", 7) == 0,
	       "a line of which a part was there");
	expect(gives(unread.lines.master, "", 0), "nothing comes back");
	expect(gives(unread.both.master, "text\r\nin\r\r\nlines\tand more", 25), "lines of output");
	expect(gives(unread.both.slave, "typed ahead\033[A", 14), "what was typed ahead");
	expect(gives(unread.full.master, much, sizeof(much)), "much output");
}

/* Terminals whose master is closed. */
static struct {
	int slave, nonblocking, of_child;
	struct member child;
} hung;

static void have_slave(void)
{
}

static void check_hung_slave(void)
{
	char byte;

	expect(read(hung.of_child, &byte, 1) == 0, "a child's terminal that was hung up");
}

static void make_hung(void)
{
	struct pair pair = make_pair("/dev/ptmx", 0), other = make_pair("/dev/ptmx", 0);

	hung.slave = pair.slave;
	hung.nonblocking = must(open(name_of(&pair), O_RDONLY | O_NOCTTY | O_NONBLOCK), "pts");
	hung.of_child = other.slave;
	close(pair.master);
	close(other.master);
	hung.child = start(have_slave, check_hung_slave);
}

static void check_hung(void)
{
	struct termios termios;
	struct pollfd entry = { .fd = hung.slave, .events = POLLIN };
	char byte = 0;

	expect(read(hung.slave, &byte, 1) == 0, "terminal that was hung up: its end");
	expect(write(hung.slave, &byte, 1) == -1 && errno == EIO, "terminal that was hung up: written to");
	expect(tcgetattr(hung.slave, &termios) == -1 && errno == EIO, "terminal that was hung up: settings");
	expect(poll(&entry, 1, 0) == 1 && (entry.revents & POLLHUP), "terminal that was hung up: poll()");
	expect(read(hung.nonblocking, &byte, 1) == 0, "another of it");
	expect((fcntl(hung.nonblocking, F_GETFL) & (O_ACCMODE | O_NONBLOCK)) == (O_RDONLY | O_NONBLOCK),
	       "another of it: flags");
	ask(&hung.child);
}

static const struct {
	const char *name;
	void (*make)(void);
	void (*check)(void);
} kinds[] = {
	{ "pairs", make_pairs, check_pairs },
	{ "control", make_control, check_control },
	{ "session", make_session, check_control },
	{ "kin", make_kin, check_kin },
	{ "unread", make_unread, check_unread },
	{ "hung", make_hung, check_hung },
};

static void on_told(int signal)
{
	(void)signal;
	told++;
}

int main(int argc, char **argv)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGUSR1, on_ask);
	signal(SIGRTMIN + 1, on_told);
	for (int i = 1; i < argc; i++)
		for (size_t kind = 0; kind < SIZE(kinds); kind++)
			if (strcmp(argv[i], kinds[kind].name) == 0)
				kinds[kind].make();
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		wait_to_be_asked();
		failures = 0;
		for (int i = 1; i < argc; i++)
			for (size_t kind = 0; kind < SIZE(kinds); kind++)
				if (strcmp(argv[i], kinds[kind].name) == 0)
					kinds[kind].check();
		printf("done, %d failures\n", failures);
		fflush(stdout);
	}
}
