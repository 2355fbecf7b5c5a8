/*
 * A tree of processes with all that one can have between them. At SIGUSR1 the
 * root asks each member to look at itself: who its parent is, its session and
 * group, its name and what else it was given. It prints one line for each that
 * is not as it was when the tree was made, and "done, N failures".
 *
 *   root        subreaper, leads its session; adopts `orphan`
 *     worker    three threads with names of their own, a group of its own,
 *               its descriptor table shared with `sharer`
 *       sharer  CLONE_FILES; dies with its parent (PR_SET_PDEATHSIG)
 *       deep    eight generations
 *     leader    a session of its own, subreaper
 *       older   forked before setsid() of `leader`: in the session of `root`
 *       inside  in the session of `leader`, in a group whose leader has ended
 *     identity  credentials, keep-caps, securebits, no_new_privs, dumpable,
 *               oom_score_adj
 *     orphan    its parent has ended
 *     zombies   one that exited, one that a signal ended
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECBITS 0x10 /* SECBIT_KEEP_CAPS */
#define MAX_MEMBERS 32
#define GENERATIONS 8

/* What each member was when it was made; an own copy in each. */
struct being {
	const char *name;
	pid_t pid, parent, session, group;
};

static struct being self;
static pid_t members[MAX_MEMBERS];
static int member_count;
static pid_t exited, killed;
/* Copied on write: each process has its own number in the same page. */
static int stamp[4096];
static volatile sig_atomic_t asked;
/* Whether `identity` asks for it: CRIU 3.17 does not keep it. */
static int no_new_privs;
static int failures;
/* Where children tell the root who they are. */
static char folder[256];

static void fail(const char *format, ...)
{
	va_list args;

	failures++;
	printf("%s (%d): ", self.name, getpid());
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
}

static void must(int holds, const char *what)
{
	if (!holds) {
		perror(what);
		_exit(100);
	}
}

static void on_ask(int signal)
{
	(void)signal;
	asked++;
}

static void expect(const char *what, long is, long was)
{
	if (is != was)
		fail("%s is %ld instead of %ld", what, is, was);
}

static void look(void)
{
	char name[16];

	expect("PID", getpid(), self.pid);
	expect("parent", getppid(), self.parent);
	expect("session", getsid(0), self.session);
	expect("group", getpgrp(), self.group);
	prctl(PR_GET_NAME, name);
	if (strcmp(name, self.name) != 0)
		fail("its name is %s", name);
	for (int i = 0; i < 4096; i++)
		if (stamp[i] != self.pid + i) {
			fail("its memory is another's");
			break;
		}
}

/* Gives this process its name, and tells what it is from now on. */
static void be(const char *name)
{
	prctl(PR_SET_NAME, name);
	self = (struct being){ name, getpid(), getppid(), getsid(0), getpgrp() };
	for (int i = 0; i < 4096; i++)
		stamp[i] = self.pid + i;
}

/* A file that is there says: this member is ready, or has looked. */
static void tell(const char *what, int value)
{
	char path[320], fresh[330];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s.%d", folder, what, self.pid);
	snprintf(fresh, sizeof(fresh), "%s.new", path);
	file = fopen(fresh, "w");
	must(file != NULL, fresh);
	fprintf(file, "%d\n", value);
	fclose(file);
	must(rename(fresh, path) == 0, path);
}

static int told(const char *what, pid_t pid)
{
	char path[320];
	FILE *file;
	int value = -1;

	snprintf(path, sizeof(path), "%s/%s.%d", folder, what, pid);
	for (int i = 0; i < 3000; i++) {
		file = fopen(path, "r");
		if (file) {
			must(fscanf(file, "%d", &value) == 1, path);
			fclose(file);
			unlink(path);
			return value;
		}
		usleep(10000);
	}
	printf("%d does not answer\n", pid);
	return 1;
}

/* Waits to be asked, looks, and says how many things are wrong. */
static void serve(void (*also)(void))
{
	sigset_t blocked, none;

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	sigemptyset(&none);
	tell("ready", 0);
	for (;;) {
		while (!asked)
			sigsuspend(&none);
		asked = 0;
		failures = 0;
		look();
		if (also)
			also();
		fflush(stdout);
		tell("looked", failures);
	}
}

/* Forks; the child has nothing buffered. */
static pid_t start(void)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	must(pid >= 0, "fork");
	return pid;
}

static void ready(pid_t pid)
{
	must(told("ready", pid) == 0, "a member");
	must(member_count < MAX_MEMBERS, "room");
	members[member_count++] = pid;
}

/* worker: threads, a group, a shared descriptor table. */

static pid_t thread_ids[3];
static int shared_fd = -1;

static void *work(void *number)
{
	char name[16];
	long index = (long)number;

	snprintf(name, sizeof(name), "thread-%ld", index);
	prctl(PR_SET_NAME, name);
	thread_ids[index] = syscall(SYS_gettid);
	for (;;)
		pause();
	return NULL;
}

static void look_at_threads(void)
{
	char path[64], name[32], wanted[32];

	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "/proc/self/task/%d/comm", thread_ids[i]);
		snprintf(wanted, sizeof(wanted), "thread-%d\n", i);
		FILE *comm = fopen(path, "r");
		if (!comm || !fgets(name, sizeof(name), comm) || strcmp(name, wanted) != 0)
			fail("thread %d is not there by its name", i);
		if (comm)
			fclose(comm);
	}
	/* `sharer` has moved it by one each time that it looked. */
	if (fcntl(shared_fd, F_GETFD) != FD_CLOEXEC)
		fail("the shared descriptor has other flags");
}

static void look_at_sharing(void)
{
	int fd, dies = -1;

	prctl(PR_GET_PDEATHSIG, &dies);
	expect("its parent-death signal", dies, SIGTERM);
	/* What is opened and closed here is so in the table of `worker`. */
	fd = dup2(shared_fd, 77);
	expect("the shared descriptor", fd, 77);
	char theirs[64], target[256];
	snprintf(theirs, sizeof(theirs), "/proc/%d/fd/77", getppid());
	if (readlink(theirs, target, sizeof(target)) < 0)
		fail("the table is not shared with the parent");
	close(77);
}

static int be_sharer(void *unused)
{
	(void)unused;
	member_count = 0;
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	be("sharer");
	serve(look_at_sharing);
	return 0;
}

static void look_deeper(void)
{
	sigset_t set;

	sigprocmask(SIG_BLOCK, NULL, &set);
	expect("its mask", sigismember(&set, SIGUSR1), 1);
}

static void be_deep(void)
{
	static char name[16];
	pid_t child = 0;
	int generation = 0;

	do {
		snprintf(name, sizeof(name), "deep-%hhu", (unsigned char)++generation);
		be(name);
		child = generation < GENERATIONS ? start() : -1;
	} while (child == 0);
	if (child > 0) {
		must(told("ready", child) == 0, "a generation");
		/* The root asks all of them. */
		tell("child", child);
	}
	serve(look_deeper);
}

static void be_worker(void)
{
	char path[300];
	pthread_t thread;
	pid_t deep, sharer;
	static char stack[65536] __attribute__((aligned(16)));

	setpgid(0, 0);
	be("worker");
	snprintf(path, sizeof(path), "%s/shared", folder);
	shared_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	must(shared_fd >= 0, path);
	deep = start();
	if (deep == 0)
		be_deep();
	must(told("ready", deep) == 0, "deep");
	tell("child", deep);
	/* Before there are threads: the child runs on a copy of this memory. */
	sharer = clone(be_sharer, stack + sizeof(stack), CLONE_FILES | SIGCHLD, NULL);
	must(sharer > 0 && told("ready", sharer) == 0, "sharer");
	tell("sharer", sharer);
	for (long i = 0; i < 3; i++)
		must(pthread_create(&thread, NULL, work, (void *)i) == 0, "thread");
	for (int i = 0; i < 3; i++)
		while (!*(volatile pid_t *)&thread_ids[i])
			usleep(1000);
	usleep(10000);
	serve(look_at_threads);
}

/* leader: sessions and groups. */

static void look_at_reaper(void)
{
	int reaper = 0;

	prctl(PR_GET_CHILD_SUBREAPER, &reaper);
	expect("whether it is a subreaper", reaper, 1);
}

static void be_leader(void)
{
	pid_t older, inside, gone;

	be("leader");
	older = start();
	if (older == 0) {
		be("older");
		serve(NULL);
	}
	must(told("ready", older) == 0, "older");
	setsid();
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	be("leader");
	gone = start();
	if (gone == 0) {
		setpgid(0, 0);
		pause();
	}
	setpgid(gone, gone);
	inside = start();
	if (inside == 0) {
		must(setpgid(0, gone) == 0, "setpgid");
		be("inside");
		serve(NULL);
	}
	must(told("ready", inside) == 0, "inside");
	kill(gone, SIGKILL);
	waitpid(gone, NULL, 0);
	tell("older", older);
	tell("inside", inside);
	serve(look_at_reaper);
}

/* identity: what prctl() and /proc set. */

static void look_at_identity(void)
{
	char text[32] = "";
	uid_t real, effective, saved;
	int fd = open("/proc/self/oom_score_adj", O_RDONLY);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		fail("it cannot read its oom_score_adj");
	close(fd);
	expect("oom_score_adj", atoi(text), 321);
	expect("securebits", prctl(PR_GET_SECUREBITS), SECBITS);
	expect("keep-caps", prctl(PR_GET_KEEPCAPS), 1);
	expect("no_new_privs", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), no_new_privs);
	expect("dumpable", prctl(PR_GET_DUMPABLE), 1);
	getresuid(&real, &effective, &saved);
	expect("UID", real, 1000);
	expect("effective UID", effective, 1001);
	expect("saved UID", saved, 0);
	expect("nice", getpriority(PRIO_PROCESS, 0), 5);
}

static void be_identity(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY);

	must(fd >= 0 && write(fd, "321", 3) == 3, "oom_score_adj");
	close(fd);
	must(prctl(PR_SET_SECUREBITS, SECBITS) == 0, "securebits");
	if (no_new_privs)
		must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
	setpriority(PRIO_PROCESS, 0, 5);
	must(setresuid(1000, 1001, 0) == 0, "setresuid");
	must(prctl(PR_SET_DUMPABLE, 1) == 0, "dumpable");
	be("identity");
	serve(look_at_identity);
}

/* orphan: its parent ends, the root adopts it. */

static void be_parent_of_orphan(void)
{
	pid_t root = getppid(), orphan = start();

	if (orphan != 0) {
		self.pid = getpid();
		tell("orphan", orphan);
		_exit(0);
	}
	while (getppid() != root)
		usleep(1000);
	be("orphan");
	serve(NULL);
}

static void look_at_zombies(void)
{
	siginfo_t info;

	memset(&info, 0, sizeof(info));
	if (waitid(P_PID, exited, &info, WEXITED | WNOWAIT | WNOHANG) != 0 || info.si_pid != exited)
		fail("the zombie that exited is not there");
	expect("how it exited", info.si_code, CLD_EXITED);
	expect("its exit status", info.si_status, 42);
	memset(&info, 0, sizeof(info));
	if (waitid(P_PID, killed, &info, WEXITED | WNOWAIT | WNOHANG) != 0 || info.si_pid != killed)
		fail("the zombie that was killed is not there");
	expect("how it ended", info.si_code, CLD_KILLED);
	expect("its signal", info.si_status, SIGKILL);
	look_at_reaper();
}

static void make_zombies(void)
{
	siginfo_t info;

	exited = start();
	if (exited == 0)
		_exit(42);
	killed = start();
	if (killed == 0)
		for (;;)
			pause();
	kill(killed, SIGKILL);
	waitid(P_PID, exited, &info, WEXITED | WNOWAIT);
	waitid(P_PID, killed, &info, WEXITED | WNOWAIT);
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_ask };
	sigset_t blocked, none;
	pid_t pid, last;
	int bad;

	must(argc >= 2, "usage: tree FOLDER [no_new_privs]");
	no_new_privs = argc > 2;
	snprintf(folder, sizeof(folder), "%s", argv[1]);
	must(mkdir(folder, 0777) == 0 && chmod(folder, 0777) == 0, folder);
	sigaction(SIGUSR1, &action, NULL);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	sigemptyset(&none);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	be("root of all");
	make_zombies();

	pid = start();
	if (pid == 0)
		be_worker();
	ready(pid);
	members[member_count++] = told("sharer", pid);
	last = pid;
	for (int i = 0; i < GENERATIONS; i++) {
		last = told("child", last);
		members[member_count++] = last;
	}
	pid = start();
	if (pid == 0)
		be_leader();
	ready(pid);
	members[member_count++] = told("older", pid);
	members[member_count++] = told("inside", pid);
	pid = start();
	if (pid == 0)
		be_identity();
	ready(pid);
	pid = start();
	if (pid == 0)
		be_parent_of_orphan();
	waitpid(pid, NULL, 0);
	ready(told("orphan", pid));

	printf("ready\n");
	fflush(stdout);
	for (;;) {
		while (!asked)
			sigsuspend(&none);
		asked = 0;
		failures = 0;
		look();
		look_at_zombies();
		fflush(stdout);
		for (int i = 0; i < member_count; i++) {
			kill(members[i], SIGUSR1);
			bad = told("looked", members[i]);
			failures += bad;
		}
		printf("done, %d members, %d failures\n", member_count, failures);
		fflush(stdout);
	}
}
