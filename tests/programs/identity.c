/*
 * Changes who it is and what it may do, each thread in its own way, and waits.
 * At SIGUSR1 it prints all of it, then "done". The lines before a save and after
 * a restore must be the same.
 *
 * Usage: identity plain|all
 *
 * "all" adds what only newer versions of CRIU know: no_new_privs and ambient
 * capabilities.
 */
#define _GNU_SOURCE
#include <linux/capability.h>
#include <linux/securebits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define GROUPS 100
#define THREADS 5

static pthread_barrier_t barrier;
static int with_all;

static void must(const char *what, long result)
{
	if (result != 0) {
		perror(what);
		exit(1);
	}
}

static uint64_t bit(int capability)
{
	return 1ULL << capability;
}

static void set_capabilities(uint64_t permitted, uint64_t effective, uint64_t inheritable)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];

	for (int word = 0; word < 2; word++) {
		data[word].permitted = permitted >> 32 * word;
		data[word].effective = effective >> 32 * word;
		data[word].inheritable = inheritable >> 32 * word;
	}
	must("capset", syscall(SYS_capset, &header, data));
}

/* Without libc, which would do it to all threads. */
static void become(int id)
{
	gid_t groups[GROUPS];

	for (int group = 0; group < GROUPS; group++)
		groups[group] = id + 7 * group;
	must("setgroups", syscall(SYS_setgroups, GROUPS, groups));
	must("setresgid", syscall(SYS_setresgid, id + 1, id + 2, id + 3));
	must("setresuid", syscall(SYS_setresuid, id + 4, id + 5, id + 6));
	syscall(SYS_setfsgid, id + 1);
	syscall(SYS_setfsuid, id + 6);
}

/* A thread of each scheduling policy, with a name and a user. */
static const struct {
	const char *name;
	int policy, priority, nice, user;
} kinds[THREADS] = {
	{ "main \xff\\ \n", SCHED_OTHER, 0, 5, 3000 },
	{ "first in", SCHED_FIFO, 11, 0, 0 },
	{ "fifteen letters", SCHED_RR, 99, 0, 4000 },
	{ "", SCHED_BATCH, 0, -7, 0 },
	{ "idle", SCHED_IDLE, 0, 19, 5000 },
};

static void set_up(int kind)
{
	struct sched_param param = { kinds[kind].priority };

	must("sched_setscheduler", sched_setscheduler(0, kinds[kind].policy, &param));
	must("setpriority", setpriority(PRIO_PROCESS, gettid(), kinds[kind].nice));
	must("PR_SET_NAME", prctl(PR_SET_NAME, kinds[kind].name, 0, 0, 0));
	/* What changes users leaves the capabilities. */
	must("PR_SET_SECUREBITS", prctl(PR_SET_SECUREBITS,
					SECBIT_NO_SETUID_FIXUP | SECBIT_KEEP_CAPS |
						SECBIT_NOROOT | SECBIT_NOROOT_LOCKED, 0, 0, 0));
	must("PR_CAPBSET_DROP", prctl(PR_CAPBSET_DROP, CAP_SYS_BOOT, 0, 0, 0));
	must("PR_CAPBSET_DROP", prctl(PR_CAPBSET_DROP, CAP_MAC_ADMIN, 0, 0, 0));
	if (kinds[kind].user != 0)
		become(kinds[kind].user);
	/* On both sides of 32. */
	set_capabilities(bit(CAP_KILL) | bit(CAP_SYS_NICE) | bit(CAP_WAKE_ALARM) | bit(kind),
			 bit(CAP_KILL) | bit(CAP_SYS_NICE),
			 bit(CAP_WAKE_ALARM) | bit(CAP_NET_RAW) | bit(kind));
	if (with_all) {
		must("PR_CAP_AMBIENT",
		     prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_WAKE_ALARM, 0, 0));
		must("PR_CAP_AMBIENT", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, kind, 0, 0));
		if (kind % 2 == 0)
			must("PR_SET_NO_NEW_PRIVS", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	}
}

static void show(int kind)
{
	static const char *const wanted[] = { "Name:", "Uid:", "Gid:", "Groups:", "CapInh:", "CapPrm:",
		"CapEff:", "CapBnd:", "CapAmb:", "NoNewPrivs:" };
	struct sched_param param;
	char line[4096];
	FILE *status;

	snprintf(line, sizeof(line), "/proc/self/task/%d/status", gettid());
	status = fopen(line, "r");
	while (status && fgets(line, sizeof(line), status))
		for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
			if (strncmp(line, wanted[i], strlen(wanted[i])) == 0)
				printf("%d %s", kind, line);
	if (status)
		fclose(status);
	else
		printf("FAIL: no status\n");
	sched_getparam(0, &param);
	printf("%d policy %d priority %d nice %d\n", kind, sched_getscheduler(0), param.sched_priority,
	       getpriority(PRIO_PROCESS, gettid()));
	printf("%d securebits %x\n", kind, prctl(PR_GET_SECUREBITS, 0, 0, 0, 0));
}

static void show_in_turn(int kind)
{
	for (int turn = 0; turn < THREADS; turn++) {
		pthread_barrier_wait(&barrier);
		if (turn == kind)
			show(kind);
		pthread_barrier_wait(&barrier);
	}
}

static void *be(void *number)
{
	int kind = (int)(intptr_t)number;

	set_up(kind);
	pthread_barrier_wait(&barrier);
	for (;;)
		show_in_turn(kind);
	return NULL;
}

/* Soft and hard limits, none the same. */
static void set_limits(void)
{
	static const rlim_t soft[RLIM_NLIMITS] = {
		[RLIMIT_CPU] = 100000, [RLIMIT_FSIZE] = 1 << 30, [RLIMIT_DATA] = 1 << 30,
		[RLIMIT_STACK] = 9 << 20, [RLIMIT_CORE] = 111, [RLIMIT_RSS] = 222222,
		[RLIMIT_NPROC] = 5555, [RLIMIT_NOFILE] = 333, [RLIMIT_MEMLOCK] = 777777,
		[RLIMIT_AS] = 1L << 40, [RLIMIT_LOCKS] = 888, [RLIMIT_SIGPENDING] = 999,
		[RLIMIT_MSGQUEUE] = 101010, [RLIMIT_NICE] = 12, [RLIMIT_RTPRIO] = 13,
		[RLIMIT_RTTIME] = 14141414,
	};

	for (int i = 0; i < RLIM_NLIMITS; i++) {
		struct rlimit limit = { soft[i], i % 3 == 0 ? RLIM_INFINITY : soft[i] + i };

		must("setrlimit", setrlimit(i, &limit));
	}
}

int main(int argc, char **argv)
{
	pthread_t thread;
	sigset_t set;
	int signal;

	with_all = argc == 2 && strcmp(argv[1], "all") == 0;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	set_limits();
	pthread_barrier_init(&barrier, NULL, THREADS);
	for (int kind = 1; kind < THREADS; kind++)
		pthread_create(&thread, NULL, be, (void *)(intptr_t)kind);
	set_up(0);
	pthread_barrier_wait(&barrier);
	/* Not what a change of user makes of it. */
	must("PR_SET_DUMPABLE", prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		if (sigwait(&set, &signal) != 0)
			continue;
		show_in_turn(0);
		for (int i = 0; i < RLIM_NLIMITS; i++) {
			struct rlimit limit;

			getrlimit(i, &limit);
			printf("limit %d %lu %lu\n", i, limit.rlim_cur, limit.rlim_max);
		}
		printf("dumpable %d\n", prctl(PR_GET_DUMPABLE, 0, 0, 0, 0));
		printf("done\n");
		fflush(stdout);
	}
}
