/*
 * pidfds: opens descriptors of processes: of itself, of a child that lives, of
 * one that is a zombie and of two that were reaped. Prints "ready" and waits. At
 * SIGUSR1 it looks whether all of them are as they were, prints "FAIL WHAT" for
 * each that is not, and "done, N failures".
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif
#define PIDFS_MAGIC 0x50494446

static pid_t child, zombie;
static int of_self, of_child, duplicate, of_zombie, of_gone, of_gone_again, of_another;

static int pidfd_of(pid_t pid, unsigned int flags)
{
	return must((int)syscall(SYS_pidfd_open, pid, flags), "pidfd_open");
}

static pid_t start(int status)
{
	pid_t pid = must(fork(), "fork");

	if (pid == 0) {
		if (status >= 0)
			_exit(status);
		for (;;)
			pause();
	}
	return pid;
}

static int send(int pidfd, int signal)
{
	return (int)syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0);
}

/* What /proc says it is of. */
static int process_of(int pidfd)
{
	char name[64], line[128];
	int pid = -2;
	FILE *info;

	snprintf(name, sizeof(name), "/proc/self/fdinfo/%d", pidfd);
	info = fopen(name, "r");
	while (info != NULL && fgets(line, sizeof(line), info) != NULL)
		if (sscanf(line, "Pid: %d", &pid) == 1)
			break;
	if (info != NULL)
		fclose(info);
	return pid;
}

static int has_ended(int pidfd)
{
	struct pollfd poll_fd = { pidfd, POLLIN, 0 };

	return poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLIN) != 0;
}

static ino_t inode_of(int pidfd)
{
	struct stat st;

	must(fstat(pidfd, &st), "fstat");
	return st.st_ino;
}

static void make(void)
{
	pid_t gone = start(3), another = start(4);

	of_self = pidfd_of(getpid(), 0);
	must(fcntl(of_self, F_SETFD, 0), "F_SETFD");
	child = start(-1);
	of_child = pidfd_of(child, O_NONBLOCK);
	duplicate = must(dup(of_child), "dup");
	zombie = start(7);
	of_zombie = pidfd_of(zombie, 0);
	of_gone = pidfd_of(gone, 0);
	of_gone_again = pidfd_of(gone, O_NONBLOCK);
	of_another = pidfd_of(another, 0);
	must(waitpid(gone, NULL, 0), "waitpid");
	must(waitpid(another, NULL, 0), "waitpid");
	must(waitid(P_PID, (id_t)zombie, &(siginfo_t){ 0 }, WEXITED | WNOWAIT), "waitid");
}

static void check(void)
{
	siginfo_t info = { 0 };
	struct statfs fs;

	expect(process_of(of_self) == getpid() && send(of_self, 0) == 0, "of itself");
	expect(fcntl(of_self, F_GETFD) == 0 && fcntl(of_child, F_GETFD) == FD_CLOEXEC &&
	       fcntl(duplicate, F_GETFD) == 0, "close-on-exec");
	expect(process_of(of_child) == child && !has_ended(of_child), "of a child");
	expect(waitid(P_PIDFD, (id_t)of_child, &info, WEXITED) == -1 && errno == EAGAIN,
	       "of a child, non-blocking");
	/* One open file: what is changed by one descriptor, the other shows. */
	must(fcntl(duplicate, F_SETFL, 0), "F_SETFL");
	expect((fcntl(of_child, F_GETFL) & O_NONBLOCK) == 0, "duplicate");
	must(fcntl(duplicate, F_SETFL, O_NONBLOCK), "F_SETFL");
	expect(send(of_child, SIGSTOP) == 0 &&
	       waitid(P_PID, (id_t)child, &info, WSTOPPED) == 0 && info.si_pid == child &&
	       send(of_child, SIGCONT) == 0, "a signal to a child");
	expect(process_of(of_zombie) == zombie && has_ended(of_zombie), "of a zombie");
	expect(waitid(P_PIDFD, (id_t)of_zombie, &info, WEXITED | WNOWAIT) == 0 &&
	       info.si_pid == zombie && info.si_status == 7, "what a zombie ended with");
	expect(process_of(of_gone) == -1 && has_ended(of_gone), "of a process that is gone");
	expect(send(of_gone, 0) == -1 && errno == ESRCH, "a signal to a process that is gone");
	expect(fcntl(of_gone_again, F_GETFL) & O_NONBLOCK, "the same again");
	must(fstatfs(of_gone, &fs), "fstatfs");
	if (fs.f_type == PIDFS_MAGIC) {
		expect(inode_of(of_gone) == inode_of(of_gone_again), "one process that is gone");
		expect(inode_of(of_gone) != inode_of(of_another), "two processes that are gone");
	}
}

static void ignore(int signal)
{
	(void)signal;
}

int main(void)
{
	sigset_t blocked, before;

	signal(SIGUSR1, ignore);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	sigprocmask(SIG_BLOCK, &blocked, &before);
	make();
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		sigsuspend(&before);
		check();
		printf("done, %d failures\n", failures);
		fflush(stdout);
	}
}
