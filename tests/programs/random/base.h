/*
 * What all parts of `random` use: numbers that follow from the seed, what a
 * member tells the root, and the things that it looks at when it is asked.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_MEMBERS 12
#define MAX_THINGS 96
#define MAX_PAGES 64

/* Signals, and what each is for. */
#define ASK SIGUSR1
#define WAKE (SIGRTMIN + 1)
#define ON_STACK (SIGRTMIN + 2)
#define TICK (SIGRTMIN + 3)
#define HELD (SIGRTMIN + 4) /* by a timer whose signal stays pending */
/* Three that are pending for processes, three for threads, and those that nobody sends. */
#define PENDING (SIGRTMIN + 5)
#define PENDING_OF_THREAD (SIGRTMIN + 8)
#define FREE (SIGRTMIN + 11)
#define FREE_COUNT 9
/* Taken by a descriptor. */
#define TAKEN (SIGRTMIN + 20)

/* Told to the root through one pipe, in one write of less than PIPE_BUF. */
struct message {
	int member;
	enum { READY, LOST, DONE } kind;
	pid_t pid;
	char text[200];
};

/* Which of the members this process is, and how often it was asked. */
static struct {
	int member;
	pid_t pid, parent, session, group;
	int asked;
	/* Its descriptor table is its parent's, or a child's too. */
	int shares_files, is_shared;
} self;
static uint64_t seed;
static int root_pipe[2];
/* What the members make lies here. */
static char folder[200];

static void tell(int kind, const char *text)
{
	struct message message = { .member = self.member, .kind = kind, .pid = getpid() };

	snprintf(message.text, sizeof(message.text), "%s", text);
	if (write(root_pipe[1], &message, sizeof(message)) != sizeof(message))
		_exit(101);
}

/* How much is said to be lost in one answer, which is to go into the pipe. */
#define MOST_LOST 30
static int said;

/* Something is not as it was. */
static void lost(const char *format, ...)
{
	char text[200];
	va_list args;

	if (__atomic_fetch_add(&said, 1, __ATOMIC_SEQ_CST) >= MOST_LOST)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	tell(LOST, text);
}

static void expect(const char *what, long is, long was)
{
	if (is != was)
		lost("%s: %ld instead of %ld", what, is, was);
}

/* For what is done before the tree is saved. */
static long must(long result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "member %d: %s: %s\n", self.member, what, strerror(errno));
		_exit(100);
	}
	return result;
}

/* splitmix64 */
static uint64_t mixed(uint64_t value)
{
	value += 0x9e3779b97f4a7c15;
	value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
	value = (value ^ value >> 27) * 0x94d049bb133111eb;
	return value ^ value >> 31;
}

static uint64_t drawn;

static void draw_for(uint64_t who)
{
	drawn = mixed(seed * 1000003 + who);
}

/* A number below `limit`. */
static unsigned draw(unsigned limit)
{
	drawn = mixed(drawn);
	return (unsigned)(drawn >> 33) % limit;
}

static int chance(int percent)
{
	return draw(100) < (unsigned)percent;
}

/* Content that is told from any other. */
static uint8_t pattern(uint32_t of, size_t at)
{
	return (uint8_t)(mixed((uint64_t)of << 32 | at >> 3) >> (at & 7) * 8);
}

static void fill(void *memory, uint32_t of, size_t from, size_t count)
{
	for (size_t i = 0; i < count; i++)
		((uint8_t *)memory)[i] = pattern(of, from + i);
}

static int holds(const void *memory, uint32_t of, size_t from, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (((const uint8_t *)memory)[i] != pattern(of, from + i))
			return 0;
	return 1;
}

static int64_t nanoseconds(struct timespec time)
{
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int64_t now(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return nanoseconds(time);
}

/* Whether `condition` comes true within a time that no load uses up. */
#define COMES_TRUE(condition, meanwhile)                                   \
	({                                                                  \
		int64_t until_ = now(CLOCK_MONOTONIC) + 30000000000LL;      \
		while (!(condition) && now(CLOCK_MONOTONIC) < until_)       \
			meanwhile;                                          \
		(condition);                                                \
	})

/* A thing that a member has; each kind uses the fields that it needs. */
struct thing {
	const char *kind;
	void (*check)(struct thing *thing);
	/* Makes it the child's after a fork, in which it is looked at only then. */
	int (*adopt)(struct thing *thing);
	/* After all children have been forked. */
	void (*part)(struct thing *thing);
	uint32_t pattern;
	int fd[2], flags[2], number, is_named, has_file;
	long size, at;
	char *memory;
	char path[240];
	/* Of each page: what it holds, 0 if it was never written. */
	uint8_t stamps[MAX_PAGES];
};

static struct thing things[MAX_THINGS];
static int thing_count;
/* Of `things`: what has lost them is not to take itself for whole. */
static uint64_t things_sum;

static struct thing *add(const char *kind, void (*check)(struct thing *))
{
	struct thing *thing = &things[thing_count];

	must(thing_count < MAX_THINGS ? 0 : -1, "room for things");
	*thing = (struct thing){ .kind = kind, .check = check, .number = thing_count, .fd = { -1, -1 } };
	thing->pattern = (uint32_t)(self.member * MAX_THINGS + thing_count) * 977 + (uint32_t)seed;
	snprintf(thing->path, sizeof(thing->path), "%s/%d.%d", folder, self.member, thing_count);
	thing_count++;
	return thing;
}

static uint64_t sum_of_things(void)
{
	uint64_t sum = seed;

	for (size_t i = 0; i < sizeof(things) / 8; i++)
		sum = mixed(sum ^ ((uint64_t *)things)[i]);
	return sum;
}

static void check_things(void)
{
	if (sum_of_things() != things_sum)
		lost("its own memory is not as it was");
	for (int i = 0; i < thing_count; i++)
		things[i].check(&things[i]);
	things_sum = sum_of_things();
}

/* Keeps those of the parent's things that are this process's, too. */
static void adopt_things(void)
{
	int kept = 0;

	for (int i = 0; i < thing_count; i++)
		if (things[i].adopt && things[i].adopt(&things[i]))
			things[kept++] = things[i];
	thing_count = kept;
}

static void part_things(void)
{
	for (int i = 0; i < thing_count; i++)
		if (things[i].part)
			things[i].part(&things[i]);
}
