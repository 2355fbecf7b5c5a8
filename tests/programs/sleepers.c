/*
 * Sleeps in one system call again and again and says what each call returned.
 *
 * Usage: sleepers MODE SECONDS
 *
 * Prints "N begin" before call N and "N returned RESULT ERRNO" after it.
 * SIGUSR1 ends a call that has no time limit (its handler does not restart
 * calls).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long seconds;
static uint32_t word;

static void on_signal(int signal)
{
	(void)signal;
}

static long sleep_relative(void)
{
	struct timespec span = { seconds, 0 };

	return syscall(SYS_nanosleep, &span, NULL);
}

/* On the clock that two machines share. */
static long sleep_absolute(void)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += seconds;
	return syscall(SYS_clock_nanosleep, CLOCK_REALTIME, TIMER_ABSTIME, &until, NULL);
}

static long wait_futex(void)
{
	return syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0);
}

static long wait_futex_limited(void)
{
	struct timespec span = { seconds, 0 };

	return syscall(SYS_futex, &word, FUTEX_WAIT, 0, &span, NULL, 0);
}

static long poll_nothing(void)
{
	return syscall(SYS_poll, NULL, 0, seconds * 1000);
}

static long wait_signal(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	return sigwaitinfo(&set, NULL);
}

static long suspend_until_signal(void)
{
	sigset_t none;

	sigemptyset(&none);
	return sigsuspend(&none);
}

static long pause_until_signal(void)
{
	return pause();
}

static const struct {
	const char *name;
	long (*call)(void);
} modes[] = {
	{ "nanosleep", sleep_relative },
	{ "clock_nanosleep", sleep_absolute },
	{ "futex", wait_futex },
	{ "futex_timeout", wait_futex_limited },
	{ "poll", poll_nothing },
	{ "sigwaitinfo", wait_signal },
	{ "sigsuspend", suspend_until_signal },
	{ "pause", pause_until_signal },
};

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_signal };
	long (*call)(void) = NULL;
	sigset_t usr2;

	for (size_t i = 0; argc == 3 && i < sizeof(modes) / sizeof(modes[0]); i++)
		if (strcmp(argv[1], modes[i].name) == 0)
			call = modes[i].call;
	if (!call) {
		fprintf(stderr, "usage: sleepers MODE SECONDS\n");
		return 2;
	}
	seconds = atol(argv[2]);
	sigaction(SIGUSR1, &action, NULL);
	sigemptyset(&usr2);
	sigaddset(&usr2, SIGUSR2);
	sigprocmask(SIG_BLOCK, &usr2, NULL);
	for (long n = 1;; n++) {
		long result;

		printf("%ld begin\n", n);
		fflush(stdout);
		errno = 0;
		result = call();
		printf("%ld returned %ld %s\n", n, result, result < 0 ? strerrorname_np(errno) : "-");
		fflush(stdout);
	}
}
