/*
 * seccomp: processes that seccomp restricts, each in its own way.
 *
 *   the first        two filters, which all of its threads share (TSYNC)
 *   its first child  a filter of each thread, and one that both have
 *   its second       strict mode
 *
 * A filter makes sched_yield() or another call fail with an error of its own, and
 * of two that do, the last one installed says which. At SIGUSR1 all calls are made
 * again, and it prints "FAIL WHAT" for each that does not fail as it is to, and
 * "done, N failures".
 */
#define _GNU_SOURCE
#include "check.h"
#include "asked.h"
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define FIRST 71
#define SECOND 72
#define OF_THREAD 80

/* Has a call fail with an error from now on. */
static int forbid(int call, int error, int flags)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };

	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

static int error_of(int call)
{
	errno = 0;
	syscall(call);
	return errno;
}

/* A thread that is asked through one pipe and answers through another. */
struct asked_thread {
	int question[2], answer[2], filter;
};

/* What its calls fail with: "A B C". */
static void *answer(void *argument)
{
	struct asked_thread *self = argument;
	char byte;

	if (self->filter)
		must(forbid(SYS_getppid, OF_THREAD + self->filter, 0), "seccomp");
	for (;;) {
		int errors[3];

		if (read(self->question[0], &byte, 1) != 1)
			continue;
		errors[0] = error_of(SYS_sched_yield);
		errors[1] = error_of(SYS_getppid);
		errors[2] = error_of(SYS_getpgrp);
		must(write(self->answer[1], errors, sizeof(errors)), "write");
	}
	return NULL;
}

static void ask_thread(struct asked_thread *thread, int errors[3])
{
	must(write(thread->question[1], "?", 1), "write");
	expect(read(thread->answer[0], errors, 3 * sizeof(int)) == 3 * sizeof(int), "an answer");
}

static void start_thread(struct asked_thread *thread, int filter)
{
	pthread_t id;

	thread->filter = filter;
	must(pipe(thread->question), "pipe");
	must(pipe(thread->answer), "pipe");
	must(-pthread_create(&id, NULL, answer, thread), "pthread_create");
}

/* Looked at by the first process: both pipes are its own, too. */
static struct asked_thread shared, own[2], strict;

/* Two threads with a filter each, behind one that they have from before. */
static void be_apart(void)
{
	must(forbid(SYS_sched_yield, FIRST, 0), "seccomp");
	for (int i = 0; i < 2; i++) {
		pthread_t id;

		must(-pthread_create(&id, NULL, answer, &own[i]), "pthread_create");
	}
	for (;;)
		pause();
}

/* Reads and writes, which is all that it may. */
static void be_strict(void)
{
	char byte;

	must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT), "PR_SET_SECCOMP");
	for (;;)
		if (read(strict.question[0], &byte, 1) == 1)
			syscall(SYS_write, strict.answer[1], &byte, 1);
}

static pid_t start_child(void (*be)(void))
{
	pid_t pid = must(fork(), "fork");

	if (pid == 0)
		be();
	return pid;
}

static void look_at_shared(void)
{
	int errors[3];

	ask_thread(&shared, errors);
	expect(errors[0] == SECOND && error_of(SYS_sched_yield) == SECOND,
	       "the last filter decides: %d in the thread", errors[0]);
	expect(errors[1] == FIRST && error_of(SYS_getppid) == FIRST,
	       "the filter before it holds: %d in the thread", errors[1]);
	expect(errors[2] == 0 && error_of(SYS_getpgrp) == 0, "getpgrp() may be called");
}

static void look_at_own(void)
{
	for (int i = 0; i < 2; i++) {
		int errors[3];

		ask_thread(&own[i], errors);
		expect(errors[0] == FIRST, "thread %d: what it had before: %d", i, errors[0]);
		expect(errors[1] == OF_THREAD + i + 1, "thread %d: its own: %d", i, errors[1]);
	}
}

static void look_at_strict(pid_t pid)
{
	char byte = 0, path[64], line[256];
	int mode = -1;
	FILE *status;

	must(write(strict.question[1], "x", 1), "write");
	expect(read(strict.answer[0], &byte, 1) == 1 && byte == 'x', "what is strict answers");
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	status = fopen(path, "r");
	while (status && fgets(line, sizeof(line), status))
		sscanf(line, "Seccomp: %d", &mode);
	if (status)
		fclose(status);
	expect(mode == SECCOMP_MODE_STRICT, "what is strict is so in mode %d", mode);
}

int main(void)
{
	pid_t child;
	struct asked_thread *of_children[] = { &own[0], &own[1], &strict };

	for (int i = 0; i < 3; i++) {
		must(pipe(of_children[i]->question), "pipe");
		must(pipe(of_children[i]->answer), "pipe");
		of_children[i]->filter = i + 1;
	}
	start_child(be_apart);
	child = start_child(be_strict);
	start_thread(&shared, 0);
	must(forbid(SYS_getppid, FIRST, SECCOMP_FILTER_FLAG_TSYNC), "seccomp");
	must(forbid(SYS_sched_yield, FIRST, SECCOMP_FILTER_FLAG_TSYNC), "seccomp");
	must(forbid(SYS_sched_yield, SECOND, SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_LOG),
	     "seccomp");
	look_at_shared();
	look_at_own();
	look_at_strict(child);
	must(failures ? -1 : 0, "before it is saved");
	wait_until_asked();
	look_at_shared();
	look_at_own();
	look_at_strict(child);
	/* All threads have the same filters still. */
	expect(forbid(SYS_getpgrp, FIRST, SECCOMP_FILTER_FLAG_TSYNC) == 0, "one more for all");
	{
		int errors[3];

		ask_thread(&shared, errors);
		expect(errors[2] == FIRST, "which they have: %d", errors[2]);
	}
	printf("done, %d failures\n", failures);
	fflush(stdout);
	for (;;)
		pause();
}
