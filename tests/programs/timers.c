/*
 * Makes a timer of timer_create() of each kind and waits. At SIGUSR1 it prints
 * what each timer is like, and whether it does what it is for, as lines that
 * must be the same before a save and after a restore, then "done".
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define FAR 100000L
#define ONE_SHOT (SIGRTMIN + 1)
#define OVERRUN (SIGRTMIN + 2)
#define TO_THREAD (SIGRTMIN + 3)
#define CPU_TIME (SIGRTMIN + 4)
#define NEVER (SIGRTMIN + 5)

/* The kernel's own: libc hides threads and numbers behind its timers. */
static int create(clockid_t clock, int notify, int signal, void *value, pid_t tid)
{
	struct sigevent event = { .sigev_notify = notify, .sigev_signo = signal };
	int id = -1;

	event.sigev_value.sival_ptr = value;
	event._sigev_un._tid = tid;
	if (syscall(SYS_timer_create, clock, &event, &id) != 0) {
		fprintf(stderr, "clock %d, notify %d: ", clock, notify);
		perror("timer_create");
		exit(1);
	}
	return id;
}

static void set(int id, int flags, struct timespec value, struct timespec interval)
{
	struct itimerspec setting = { .it_value = value, .it_interval = interval };

	if (syscall(SYS_timer_settime, id, flags, &setting, NULL) != 0) {
		perror("timer_settime");
		exit(1);
	}
}

static struct itimerspec get(int id)
{
	struct itimerspec setting;

	if (syscall(SYS_timer_gettime, id, &setting) != 0) {
		perror("timer_gettime");
		exit(1);
	}
	return setting;
}

static const struct timespec none, far = { FAR, 0 }, farther = { 2 * FAR, 5 };
static const struct timespec often = { 0, 50000000 };

static pid_t second_tid;
static int second_clock_timer, main_clock_timer, process_clock_timer;
static int pending_timer, overrun_timer, thread_timer, cpu_timer, tick_timer, off[3];
static _Atomic long to_second, to_wrong, cpu_ticks;
static pthread_barrier_t barrier;

static void count(int signal, siginfo_t *info, void *context)
{
	(void)context;
	if (signal == CPU_TIME)
		cpu_ticks++;
	else if (gettid() == second_tid && info->si_code == SI_TIMER &&
		 info->si_timerid == thread_timer && info->si_value.sival_ptr == &thread_timer)
		to_second++;
	else
		to_wrong++;
}

static int64_t nanoseconds(struct timespec time)
{
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void burn(int64_t span)
{
	struct timespec begin, now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
	do
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	while (nanoseconds(now) - nanoseconds(begin) < span);
}

static void *second(void *unused)
{
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &mask, NULL);
	second_tid = gettid();
	second_clock_timer = create(CLOCK_THREAD_CPUTIME_ID, SIGEV_SIGNAL, NEVER, NULL, 0);
	set(second_clock_timer, 0, far, none);
	pthread_barrier_wait(&barrier);
	for (;;) {
		pthread_barrier_wait(&barrier);
		burn(100000000);
		pthread_barrier_wait(&barrier);
	}
	return unused;
}

static void make(void)
{
	static const clockid_t clocks[] = { CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME,
		CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM, CLOCK_TAI };
	static const int notify[] = { SIGEV_SIGNAL, SIGEV_NONE, SIGEV_THREAD };
	/* User and kernel time, and user time, of the calling process. */
	static const clockid_t other_cpu_clocks[] = { ~0u << 3 | 0, ~0u << 3 | 1 };
	int unused = create(CLOCK_MONOTONIC, SIGEV_SIGNAL, NEVER, NULL, 0);

	/* A number that no timer has. */
	syscall(SYS_timer_delete, unused);
	for (size_t i = 0; i < sizeof(clocks) / sizeof(clocks[0]); i++)
		for (int kind = 0; kind < 3; kind++) {
			int once = create(clocks[i], notify[kind], NEVER, &off[kind], 0);
			int again = create(clocks[i], notify[kind], NEVER, NULL, 0);
			struct timespec until;

			set(once, 0, far, none);
			clock_gettime(clocks[i], &until);
			until.tv_sec += FAR;
			/* Of such a one with an interval Linux 5.10 tells nonsense. */
			set(again, TIMER_ABSTIME, until,
			    clocks[i] == CLOCK_BOOTTIME_ALARM && notify[kind] == SIGEV_NONE ? none : farther);
		}
	for (size_t i = 0; i < 2; i++)
		set(create(other_cpu_clocks[i], SIGEV_SIGNAL, NEVER, NULL, 0), 0, far, farther);
	main_clock_timer = create(CLOCK_THREAD_CPUTIME_ID, SIGEV_SIGNAL, NEVER, NULL, 0);
	set(main_clock_timer, 0, far, none);
	process_clock_timer = create(CLOCK_PROCESS_CPUTIME_ID, SIGEV_NONE, 0, NULL, 0);
	set(process_clock_timer, 0, far, farther);

	off[0] = create(CLOCK_MONOTONIC, SIGEV_SIGNAL, NEVER, NULL, 0);
	off[1] = create(CLOCK_REALTIME, SIGEV_SIGNAL, NEVER, NULL, 0);
	set(off[1], 0, far, farther);
	set(off[1], 0, none, none);
	/* CPU timers keep the interval. */
	off[2] = create(CLOCK_PROCESS_CPUTIME_ID, SIGEV_SIGNAL, NEVER, NULL, 0);
	set(off[2], 0, none, farther);

	thread_timer = create(CLOCK_MONOTONIC, SIGEV_THREAD_ID, TO_THREAD, &thread_timer, second_tid);
	set(thread_timer, 0, often, often);
	cpu_timer = create(CLOCK_PROCESS_CPUTIME_ID, SIGEV_SIGNAL, CPU_TIME, NULL, 0);
	set(cpu_timer, 0, often, often);
	/* Their signals are blocked. */
	pending_timer = create(CLOCK_MONOTONIC, SIGEV_SIGNAL, ONE_SHOT, (void *)4711, 0);
	set(pending_timer, 0, often, none);
	overrun_timer = create(CLOCK_BOOTTIME, SIGEV_SIGNAL, OVERRUN, (void *)815, 0);
	set(overrun_timer, 0, often, often);
	/* Likewise the one of setitimer(), which waits until SIGALRM is taken. */
	setitimer(ITIMER_REAL, &(struct itimerval){ { 0, 50000 }, { 0, 50000 } }, NULL);
	tick_timer = create(CLOCK_MONOTONIC, SIGEV_NONE, 0, NULL, 0);
	set(tick_timer, 0, often, often);
}

/* What the kernel says of all, but for the clock that is a thread's. */
static void show_timers(void)
{
	FILE *timers = fopen("/proc/self/timers", "r");
	char line[256];
	int id = -1;

	while (timers && fgets(line, sizeof(line), timers)) {
		sscanf(line, "ID: %d", &id);
		if (id != second_clock_timer)
			fputs(line, stdout);
	}
	if (timers)
		fclose(timers);
	for (id = 0; id < 100; id++) {
		struct itimerspec setting;
		long left;

		if (id == thread_timer || id == cpu_timer || id == overrun_timer || id == tick_timer ||
		    syscall(SYS_timer_gettime, id, &setting) != 0)
			continue;
		left = setting.it_value.tv_sec;
		printf("timer %d left %s interval %ld.%09ld\n", id,
		       left == 0 ? "0" : left > FAR - 1000 && left <= FAR ? "most" : "WRONG",
		       id == off[2] ? 0 : setting.it_interval.tv_sec,
		       id == off[2] ? 0 : setting.it_interval.tv_nsec);
	}
}

static void wait_for_more(const char *what, _Atomic long *counter, int busily)
{
	long before = *counter;

	while (*counter < before + 3)
		if (busily)
			burn(10000000);
		else
			usleep(10000);
	printf("%s fires\n", what);
}

/* Each measures the CPU time of what it was made for. */
static void check_cpu_clocks(void)
{
	int64_t of_second = nanoseconds(get(second_clock_timer).it_value);
	int64_t of_main = nanoseconds(get(main_clock_timer).it_value);
	int64_t of_process = nanoseconds(get(process_clock_timer).it_value);

	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	of_second -= nanoseconds(get(second_clock_timer).it_value);
	of_main -= nanoseconds(get(main_clock_timer).it_value);
	of_process -= nanoseconds(get(process_clock_timer).it_value);
	/* On a busy host waiting takes CPU time, too, but less. */
	printf("CPU clocks: second %d main %d process %d\n", of_second >= 100000000,
	       of_main >= of_second, of_process >= of_second);
}

/* Takes the signals of a timer that are pending: how often it fired. */
static long fired(int signal, int timer, long value)
{
	const struct timespec now = { 0, 0 };
	siginfo_t info;
	sigset_t set;
	long count = 0;

	sigemptyset(&set);
	sigaddset(&set, signal);
	while (sigtimedwait(&set, &info, &now) == signal) {
		if (info.si_code != SI_TIMER || info.si_timerid != timer ||
		    info.si_value.sival_ptr != (void *)value)
			printf("FAIL: signal %d has code %d, timer %d, value %p\n", signal, info.si_code,
			       info.si_timerid, info.si_value.sival_ptr);
		count += 1 + info.si_overrun;
		/* A timer that runs on may fire meanwhile. */
		if (count >= 4)
			break;
	}
	return count;
}

static int wait_for_signal(int signal)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signal);
	while (sigwaitinfo(&set, NULL) != signal)
		;
	return signal;
}

static void pend(void)
{
	const struct timespec while_it_fires = { 0, 400000000 };

	set(pending_timer, 0, often, none);
	while (nanosleep(&while_it_fires, NULL) != 0)
		;
}

static void check(void)
{
	printf("fired once %ld\n", fired(ONE_SHOT, pending_timer, 4711));
	printf("fired often, the overruns too %d\n", fired(OVERRUN, overrun_timer, 815) >= 4);
	/* The one that is pending, and one after it. */
	printf("SIGALRM %d", wait_for_signal(SIGALRM));
	printf(" and %d\n", wait_for_signal(SIGALRM));
	show_timers();
	wait_for_more("to the second thread", &to_second, 0);
	wait_for_more("on CPU time", &cpu_ticks, 1);
	printf("to a wrong thread %ld\n", to_wrong);
	check_cpu_clocks();
	pend();
}

int main(void)
{
	struct sigaction action = { .sa_sigaction = count, .sa_flags = SA_SIGINFO | SA_RESTART };
	pthread_t thread;
	sigset_t mask;
	int signal;

	sigaction(TO_THREAD, &action, NULL);
	sigaction(CPU_TIME, &action, NULL);
	sigemptyset(&mask);
	sigaddset(&mask, ONE_SHOT);
	sigaddset(&mask, OVERRUN);
	sigaddset(&mask, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &mask, NULL);
	pthread_barrier_init(&barrier, NULL, 2);
	pthread_create(&thread, NULL, second, NULL);
	pthread_barrier_wait(&barrier);
	make();
	pend();
	/* What is to be asked is taken here, however it comes. */
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &mask, NULL);
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		if (sigwait(&mask, &signal) != 0)
			continue;
		check();
		printf("done\n");
		fflush(stdout);
	}
}
