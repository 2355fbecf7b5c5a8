/*
 * Has signals pending for itself and for a thread of its own, of each origin,
 * and waits in a handler on an alternate stack. At SIGUSR1 it takes and prints
 * them all, leaves the handler, prints "done" and begins anew.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define FIRST (SIGRTMIN + 1)
#define SECOND (SIGRTMIN + 7)

static pthread_t other;
static pid_t other_tid;
static pthread_barrier_t barrier;
static char stack[256 * 1024];
static int timer;

static void send(int signal, int value)
{
	if (sigqueue(getpid(), signal, (union sigval){ .sival_int = value }) != 0)
		perror("sigqueue");
}

static void send_other(int signal, int value)
{
	if (pthread_sigqueue(other, signal, (union sigval){ .sival_int = value }) != 0)
		perror("pthread_sigqueue");
}

/* With a code and a payload of our own. */
static void send_made_up(int signal, int code)
{
	siginfo_t info = { .si_signo = signal, .si_code = code };

	memset((char *)&info + 16, 0xa5, 48 - 16);
	if (syscall(SYS_rt_sigqueueinfo, getpid(), signal, &info) != 0)
		perror("rt_sigqueueinfo");
}

/* Its queue entry is one too many: the kernel keeps the number alone. */
static void send_without_entry(int signal)
{
	struct rlimit limit, nothing;

	getrlimit(RLIMIT_SIGPENDING, &limit);
	nothing = (struct rlimit){ 0, limit.rlim_max };
	setrlimit(RLIMIT_SIGPENDING, &nothing);
	send(signal, 1);
	setrlimit(RLIMIT_SIGPENDING, &limit);
}

static void wait_for_pending(int signal)
{
	sigset_t set;

	do
		sigpending(&set);
	while (!sigismember(&set, signal));
}

static void queue_all(void)
{
	const struct itimerspec soon = { .it_value = { 0, 1000000 } };

	send(SECOND, 1);
	send(FIRST, 2);
	send(SECOND, 3);
	send(FIRST, 4);
	send(FIRST, 5);
	send_made_up(SECOND, SI_MESGQ);
	send_made_up(SIGIO, SI_ASYNCIO);
	kill(getpid(), SIGHUP);
	send(SIGTERM, 6);
	send_without_entry(SIGUSR2);
	syscall(SYS_timer_settime, timer, 0, &soon, NULL);
	wait_for_pending(SIGVTALRM);
	/* For threads: this one, and the other. */
	raise(SIGQUIT);
	send_other(FIRST, 7);
	send_other(SECOND, 8);
	send_other(FIRST, 9);
	pthread_kill(other, SIGHUP);
	/* Ignored unless it is blocked. */
	pthread_kill(other, SIGURG);
}

static void take_all(const char *who)
{
	const struct timespec now = { 0, 0 };
	siginfo_t info;
	sigset_t set;

	sigfillset(&set);
	sigdelset(&set, SIGUSR1);
	memset(&info, 0, sizeof(info));
	while (sigtimedwait(&set, &info, &now) > 0) {
		const uint32_t *words = (const uint32_t *)&info;

		printf("%s: signal %d code %d errno %d:", who, info.si_signo, info.si_code,
		       info.si_errno);
		/* Behind what the kernel keeps there is nothing. */
		for (int word = 4; word < 12; word++)
			printf(" %x", words[word]);
		printf("\n");
		memset(&info, 0, sizeof(info));
	}
}

static void *be_other(void *unused)
{
	other_tid = gettid();
	pthread_barrier_wait(&barrier);
	for (;;) {
		pthread_barrier_wait(&barrier);
		/* Those of the process are taken by then. */
		take_all("other");
		pthread_barrier_wait(&barrier);
	}
	return unused;
}

static void in_handler(int signal)
{
	stack_t now;
	sigset_t set;

	sigaltstack(NULL, &now);
	printf("signal %d, on the stack %d, of ours %d\n", signal, now.ss_flags == SS_ONSTACK,
	       (char *)&now >= stack && (char *)&now < stack + sizeof(stack));
	fflush(stdout);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	while (sigwait(&set, &signal) != 0)
		;
	sigaltstack(NULL, &now);
	printf("on the stack %d, size %zu, flags %x\n", now.ss_flags == SS_ONSTACK, now.ss_size,
	       now.ss_flags);
	take_all("process");
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
}

int main(void)
{
	struct sigaction action = { .sa_handler = in_handler, .sa_flags = SA_ONSTACK };
	stack_t alternate = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGVTALRM };
	sigset_t all;

	event.sigev_value.sival_int = 42;
	syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer);
	sigaltstack(&alternate, NULL);
	sigaction(SIGWINCH, &action, NULL);
	sigfillset(&all);
	sigdelset(&all, SIGWINCH);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	pthread_barrier_init(&barrier, NULL, 2);
	pthread_create(&other, NULL, be_other, NULL);
	pthread_barrier_wait(&barrier);
	for (;;) {
		queue_all();
		printf("ready\n");
		raise(SIGWINCH);
		sigaltstack(NULL, &alternate);
		printf("done, on the stack %d\n", alternate.ss_flags == SS_ONSTACK);
		fflush(stdout);
	}
}
