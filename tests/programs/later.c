/*
 * later KIND...: has what CRIU keeps since 3.18 or 3.19: `membarrier`, that it is
 * registered; `memfd`, the permissions of a memfd; `stop`, the signal by which a
 * child is stopped, which it is told of once more after a restore.
 */
#define _GNU_SOURCE
#include "asked.h"
#include "check.h"
#include "kinds.h"
#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int memfd;
static pid_t child;

static int barrier(int command)
{
	return (int)syscall(SYS_membarrier, command, 0, 0);
}

static void make_membarrier(void)
{
	must(barrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED), "membarrier");
}

static void check_membarrier(void)
{
	expect(barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0, "it is registered");
	errno = 0;
	expect(barrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED) == 0, "what needs no registration");
	errno = 0;
	expect(barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE) != 0, "it is registered for no more");
}

static void make_memfd(void)
{
	memfd = must(memfd_create("later", 0), "memfd_create");
	must(fchmod(memfd, 0640), "fchmod");
}

static void check_memfd(void)
{
	struct stat found = { 0 };

	expect(fstat(memfd, &found) == 0 && (found.st_mode & 07777) == 0640, "permissions of a memfd");
}

static void make_stop(void)
{
	int status = 0;

	child = must(fork(), "fork");
	if (child == 0) {
		/* A group that nobody could continue is not stopped. */
		setpgid(0, 0);
		signal(SIGTSTP, SIG_DFL);
		raise(SIGTSTP);
		for (;;)
			pause();
	}
	must(waitpid(child, &status, WUNTRACED), "waitpid");
	must(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTSTP ? 0 : -1, "a stop");
}

static void check_stop(void)
{
	int status = 0;

	expect(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTSTP,
	       "the signal that has stopped a child: status %#x", (unsigned)status);
	kill(child, SIGCONT);
	expect(waitpid(child, &status, WCONTINUED) == child && WIFCONTINUED(status), "it goes on");
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
}

int main(int argc, char **argv)
{
	static const struct kind kinds[] = {
		{ "membarrier", make_membarrier, check_membarrier },
		{ "memfd", make_memfd, check_memfd },
		{ "stop", make_stop, check_stop },
	};

	make_and_check(kinds, SIZE(kinds), argc, argv);
	return 0;
}
