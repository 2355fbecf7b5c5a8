/* What all parts of `events` use. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../check.h"

#define SIZE(array) (sizeof(array) / sizeof((array)[0]))
#define FAR 100000L

/* A child that does what it is asked by a pipe, and answers by another. */
static struct {
	pid_t pid;
	int ask[2], answer[2];
} child;

static int64_t ask_child(char what)
{
	int64_t answer = -1;

	if (write(child.ask[1], &what, 1) != 1 || read(child.answer[0], &answer, sizeof(answer)) != sizeof(answer))
		return -1;
	return answer;
}

static int is_readable(int fd)
{
	struct pollfd entry = { .fd = fd, .events = POLLIN };

	return poll(&entry, 1, 0) == 1 && (entry.revents & POLLIN);
}

static uint64_t take(int fd)
{
	uint64_t count = 0;

	return read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

static int put(int fd, uint64_t count)
{
	return write(fd, &count, sizeof(count)) == sizeof(count);
}
