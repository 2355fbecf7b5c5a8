/*
 * Sleeps in system calls and says what each call returned.
 *
 * Usage: sleepers MODE SECONDS
 *
 * Makes the call of MODE again and again. Prints "N begin" before call N and "N
 * returned RESULT ERRNO" after it. SIGUSR1 ends a call that has no time limit
 * (its handler does not restart calls).
 *
 * With MODE "all" each call is made by a thread of its own, once. It prints
 * "MODE is TID" for each, "ready" when all have begun, and "MODE returned
 * RESULT ERRNO early|late". Late is one that took no less than SECONDS. SIGUSR1
 * to the process goes to all threads that are still in their calls.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long seconds;
static uint32_t word;

static void on_signal(int signal)
{
	(void)signal;
}

static struct timespec in(clockid_t clock)
{
	struct timespec until;

	clock_gettime(clock, &until);
	until.tv_sec += seconds;
	return until;
}

static long sleep_relative(void)
{
	struct timespec span = { seconds, 0 };

	return syscall(SYS_nanosleep, &span, NULL);
}

static long sleep_with_remainder(void)
{
	struct timespec span = { seconds, 0 }, left = { 0, 0 };

	return syscall(SYS_nanosleep, &span, &left);
}

static long sleep_by_boot_time(void)
{
	struct timespec span = { seconds, 0 }, left = { 0, 0 };

	return syscall(SYS_clock_nanosleep, CLOCK_BOOTTIME, 0, &span, &left);
}

/* The same place for both times. */
static long sleep_of_libc(void)
{
	return sleep(seconds) == 0 ? 0 : -1;
}

/* On the clock that two machines share. */
static long sleep_absolute(void)
{
	struct timespec until = in(CLOCK_REALTIME);

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

/* As the functions of libc with a time limit do. */
static long wait_futex_until(void)
{
	struct timespec until = in(CLOCK_MONOTONIC);

	return syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, 0, &until, NULL,
		       FUTEX_BITSET_MATCH_ANY);
}

static long poll_nothing(void)
{
	return syscall(SYS_poll, NULL, 0, seconds * 1000);
}

static long poll_for_ever(void)
{
	return syscall(SYS_poll, NULL, 0, -1);
}

static long poll_with_mask(void)
{
	struct timespec span = { seconds, 0 };

	return syscall(SYS_ppoll, NULL, 0, &span, NULL, 8);
}

static long select_nothing(void)
{
	struct timeval span = { seconds, 0 };

	return syscall(SYS_select, 0, NULL, NULL, NULL, &span);
}

static long wait_signal(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	return sigwaitinfo(&set, NULL);
}

static long wait_signal_limited(void)
{
	struct timespec span = { seconds, 0 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	return sigtimedwait(&set, NULL, &span);
}

static long wait_for_events(void)
{
	struct epoll_event event;

	return epoll_wait(epoll_create1(0), &event, 1, (int)seconds * 1000);
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
	/* What its time is measured by: a process that is moved skips real time. */
	clockid_t clock;
} modes[] = {
	{ "nanosleep", sleep_relative, CLOCK_MONOTONIC },
	{ "nanosleep_remainder", sleep_with_remainder, CLOCK_MONOTONIC },
	{ "clock_nanosleep_boottime", sleep_by_boot_time, CLOCK_MONOTONIC },
	{ "sleep", sleep_of_libc, CLOCK_MONOTONIC },
	{ "clock_nanosleep", sleep_absolute, CLOCK_REALTIME },
	{ "futex", wait_futex, CLOCK_MONOTONIC },
	{ "futex_timeout", wait_futex_limited, CLOCK_MONOTONIC },
	{ "futex_until", wait_futex_until, CLOCK_MONOTONIC },
	{ "poll", poll_nothing, CLOCK_MONOTONIC },
	{ "poll_for_ever", poll_for_ever, CLOCK_MONOTONIC },
	{ "ppoll", poll_with_mask, CLOCK_MONOTONIC },
	{ "select", select_nothing, CLOCK_MONOTONIC },
	{ "sigwaitinfo", wait_signal, CLOCK_MONOTONIC },
	{ "sigtimedwait", wait_signal_limited, CLOCK_MONOTONIC },
	{ "epoll_wait", wait_for_events, CLOCK_MONOTONIC },
	{ "sigsuspend", suspend_until_signal, CLOCK_MONOTONIC },
	{ "pause", pause_until_signal, CLOCK_MONOTONIC },
};

#define MODES (sizeof(modes) / sizeof(modes[0]))

static pthread_t threads[MODES];
static pthread_barrier_t barrier;
static volatile int returned[MODES];

static void *call_once(void *number)
{
	size_t mode = (size_t)number;
	struct timespec begin, end;
	sigset_t usr1;
	long result;

	printf("%s is %d\n", modes[mode].name, gettid());
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
	pthread_barrier_wait(&barrier);
	clock_gettime(modes[mode].clock, &begin);
	errno = 0;
	result = modes[mode].call();
	returned[mode] = 1;
	clock_gettime(modes[mode].clock, &end);
	/* The clocks of two machines need not agree by the second. */
	printf("%s returned %ld %s %s\n", modes[mode].name, result,
	       result < 0 ? strerrorname_np(errno) : "-",
	       end.tv_sec - begin.tv_sec + 1 < seconds ? "early" : "late");
	fflush(stdout);
	return NULL;
}

static _Noreturn void call_all(void)
{
	sigset_t set;
	int signal;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	pthread_barrier_init(&barrier, NULL, MODES + 1);
	for (size_t mode = 0; mode < MODES; mode++)
		pthread_create(&threads[mode], NULL, call_once, (void *)mode);
	pthread_barrier_wait(&barrier);
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		if (sigwait(&set, &signal) != 0)
			continue;
		for (size_t mode = 0; mode < MODES; mode++)
			if (!returned[mode])
				pthread_kill(threads[mode], SIGUSR1);
	}
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_signal };
	long (*call)(void) = NULL;
	sigset_t usr2;

	if (argc != 3) {
		fprintf(stderr, "usage: sleepers MODE SECONDS\n");
		return 2;
	}
	seconds = atol(argv[2]);
	sigaction(SIGUSR1, &action, NULL);
	sigemptyset(&usr2);
	sigaddset(&usr2, SIGUSR2);
	sigprocmask(SIG_BLOCK, &usr2, NULL);
	if (strcmp(argv[1], "all") == 0)
		call_all();
	for (size_t i = 0; i < MODES; i++)
		if (strcmp(argv[1], modes[i].name) == 0)
			call = modes[i].call;
	if (!call) {
		fprintf(stderr, "there is no mode %s\n", argv[1]);
		return 2;
	}
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
