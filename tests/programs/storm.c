/*
 * A tree that forks all the time: workers start children that exit, that leave
 * an orphan, and that execute this program again after vfork(). At any moment
 * there is a bounded number of processes. Each worker prints a line after every
 * tenth round.
 *
 * Usage: storm WORKERS [adopt]
 *
 * With "adopt" the root adopts orphans, else they leave the tree.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void end(const char *what)
{
	perror(what);
	_exit(1);
}

static void reap(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) != pid)
		;
	if (status != 0) {
		printf("FAIL: %d ended with %#x\n", pid, status);
		fflush(stdout);
	}
}

/* One child of each kind. */
static void round_of_children(void)
{
	pid_t plain, mother, program;

	plain = fork();
	if (plain == 0) {
		usleep(1000);
		_exit(0);
	}
	mother = fork();
	if (mother == 0) {
		if (fork() == 0) {
			usleep(2000);
			_exit(0);
		}
		_exit(0);
	}
	program = vfork();
	if (program == 0) {
		execl("/proc/self/exe", "storm", "leaf", NULL);
		_exit(1);
	}
	if (plain < 0 || mother < 0 || program < 0)
		end("fork");
	reap(plain);
	reap(mother);
	reap(program);
}

int main(int argc, char **argv)
{
	int workers = argc > 1 ? atoi(argv[1]) : 2;

	if (argc > 1 && strcmp(argv[1], "leaf") == 0)
		return 0;
	if (argc > 2)
		prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (int i = 0; i < workers; i++) {
		pid_t pid = fork();
		if (pid < 0)
			end("fork");
		for (int n = 1; pid == 0; n++) {
			round_of_children();
			if (n % 10 == 0) {
				printf("worker %d round %d\n", i, n);
				fflush(stdout);
			}
		}
	}
	printf("ready\n");
	fflush(stdout);
	for (;;)
		wait(NULL);
}
