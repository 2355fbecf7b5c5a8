/*
 * Changes what a process has besides memory and registers, and waits. At
 * SIGUSR1 it prints what it has as "NAME VALUE" lines, then "done". The lines
 * before a save and after a restore must be the same.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

static void ignore(int signal)
{
	(void)signal;
}

static void with_info(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)info;
	(void)context;
}

static void change(void)
{
	struct sigaction action = { .sa_sigaction = with_info, .sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER };
	struct rlimit limit = { 333, 444 };
	struct itimerval timer = { { 200000, 0 }, { 100000, 0 } };
	struct itimerval once = { { 0, 0 }, { 100000, 0 } };
	union sigval value = { .sival_int = 4711 };
	sigset_t blocked;

	sigaddset(&action.sa_mask, SIGHUP);
	sigaction(SIGWINCH, &action, NULL);
	signal(SIGTTIN, SIG_IGN);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR2);
	sigaddset(&blocked, SIGRTMIN + 3);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	raise(SIGUSR2);
	/* Two in the queue, with values. */
	sigqueue(getpid(), SIGRTMIN + 3, value);
	value.sival_int++;
	sigqueue(getpid(), SIGRTMIN + 3, value);
	setrlimit(RLIMIT_NOFILE, &limit);
	setitimer(ITIMER_VIRTUAL, &timer, NULL);
	setitimer(ITIMER_PROF, &once, NULL);
	prctl(PR_SET_NAME, "odd (name) \\ x", 0, 0, 0);
	setpriority(PRIO_PROCESS, 0, 7);
	umask(037);
	if (chdir("/var/tmp") != 0 || setgroups(2, (gid_t[]){ 12, 34 }) != 0 ||
	    setresgid(100, 101, 102) != 0 || setresuid(1000, 1001, 0) != 0) {
		perror("attributes");
		exit(1);
	}
	/* A change of credentials cleared it. */
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static void show_status(void)
{
	static const char *const wanted[] = { "Name:", "Umask:", "Tgid:", "Uid:", "Gid:", "Groups:",
		"NSpgid:", "NSsid:", "SigPnd:", "ShdPnd:", "SigBlk:", "SigIgn:", "SigCgt:", "CapInh:",
		"CapPrm:", "CapEff:", "CapBnd:", "CapAmb:", "NoNewPrivs:" };
	FILE *status = fopen("/proc/self/status", "r");
	char line[512];

	while (status && fgets(line, sizeof(line), status))
		for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
			if (strncmp(line, wanted[i], strlen(wanted[i])) == 0)
				fputs(line, stdout);
	if (status)
		fclose(status);
}

static void show(void)
{
	struct sigaction action;
	struct rlimit limit;
	struct itimerval timer;
	char path[512] = "";

	show_status();
	sigaction(SIGWINCH, NULL, &action);
	printf("SIGWINCH %d %x %d\n", action.sa_sigaction == with_info, action.sa_flags,
	       sigismember(&action.sa_mask, SIGHUP));
	for (int i = 0; i < RLIM_NLIMITS; i++) {
		getrlimit(i, &limit);
		printf("rlimit %d %lu %lu\n", i, limit.rlim_cur, limit.rlim_max);
	}
	getitimer(ITIMER_VIRTUAL, &timer);
	printf("timer %d %ld\n", timer.it_value.tv_sec > 99000, timer.it_interval.tv_sec);
	getitimer(ITIMER_PROF, &timer);
	printf("timer that fires once %d\n", timer.it_value.tv_sec > 99000);
	printf("nice %d\npolicy %d\n", getpriority(PRIO_PROCESS, 0), sched_getscheduler(0));
	printf("dumpable %d\n", prctl(PR_GET_DUMPABLE, 0, 0, 0, 0));
	printf("cwd %s\n", getcwd(path, sizeof(path)));
	path[readlink("/proc/self/exe", path, sizeof(path) - 1)] = 0;
	printf("exe %s\n", path);
	for (int fd = 0; fd < 3; fd++)
		printf("fd %d flags %o cloexec %d\n", fd, fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
}

int main(void)
{
	struct sigaction action = { .sa_handler = ignore };

	sigaction(SIGUSR1, &action, NULL);
	change();
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		pause();
		show();
		printf("done\n");
		fflush(stdout);
	}
}
