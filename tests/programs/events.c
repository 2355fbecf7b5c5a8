/*
 * events KIND...: makes descriptors that tell of events of these kinds, prints
 * "ready" and waits. At SIGUSR1 it looks whether all of them are as they were,
 * prints "FAIL WHAT" for each that is not, and "done, N failures". Each time it
 * leaves them as it found them. A child has the same, and is told by them.
 *
 * Of kinds "inotify" and "fanotify" it watches files of the folder it is in, which
 * are there: "directory", "directory/ignored" and "file".
 */
#include "events/base.h"
#include "events/eventfd.h"
#include "events/signalfd.h"
#include "events/timerfd.h"
#include "events/epoll.h"
#include "events/inotify.h"
#include "events/fanotify.h"

static const struct {
	const char *name;
	void (*make)(void), (*check)(void);
} kinds[] = {
	{ "eventfd", make_counters, check_counters },
	{ "signalfd", make_takers, check_takers },
	{ "timerfd", make_timers, check_timers },
	{ "epoll", make_polls, check_polls },
	{ "inotify", make_watches, check_watches },
	{ "fanotify", make_marks, check_marks },
};

static int64_t answer(char what)
{
	struct itimerspec setting = { .it_value = { 3 * FAR, 0 } };

	switch (what) {
	case 'e':
		return (int64_t)take(counters.shared);
	case 't':
		return left_is(timers.shared, FAR, 0, 0) && timerfd_settime(timers.shared, 0, &setting, NULL) == 0;
	case 'p':
		put(polls.shared_counter, 7);
		return told_of(polls.shared);
	case 'w':
		return make_and_remove("directory/of_child");
	case 'q':
		put(polls.counter, 1);
		what = (char)told_of(polls.of_child);
		return take(polls.counter) == 1 && what == 1 << COUNTER;
	}
	return -1;
}

static void make_child(void)
{
	must(pipe(child.ask), "pipe");
	must(pipe(child.answer), "pipe");
	child.pid = must(fork(), "fork");
	if (child.pid != 0)
		return;
	if (polls.instance != 0) {
		polls.of_child = must(epoll_create1(0), "epoll_create1");
		watch(polls.of_child, polls.counter, EPOLLIN, COUNTER);
	}
	for (;;) {
		char what;
		int64_t said;

		if (read(child.ask[0], &what, 1) != 1)
			continue;
		said = answer(what);
		must(write(child.answer[1], &said, sizeof(said)) == sizeof(said) ? 0 : -1, "write");
	}
}

static void ignore(int signal)
{
	(void)signal;
}

int main(int argc, char **argv)
{
	sigset_t blocked, before;

	signal(SIGUSR1, ignore);
	signal(SIGRTMIN + 7, ignore);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	sigprocmask(SIG_BLOCK, &blocked, &before);
	for (int i = 1; i < argc; i++)
		for (size_t kind = 0; kind < SIZE(kinds); kind++)
			if (strcmp(argv[i], kinds[kind].name) == 0)
				kinds[kind].make();
	make_child();
	/* Signals that are taken by descriptors have been blocked since. */
	sigprocmask(SIG_SETMASK, NULL, &before);
	sigdelset(&before, SIGUSR1);
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		sigsuspend(&before);
		for (int i = 1; i < argc; i++)
			for (size_t kind = 0; kind < SIZE(kinds); kind++)
				if (strcmp(argv[i], kinds[kind].name) == 0)
					kinds[kind].check();
		printf("done, %d failures\n", failures);
		fflush(stdout);
	}
}
