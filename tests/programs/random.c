/*
 * random SEED FOLDER: a small tree of processes that follows from the seed, of
 * what `ovmigrate save` can take: members with threads, memory, pipes, files,
 * locks, signals and timers of their own and between them. FOLDER is not there
 * yet; what members write lies in it.
 *
 * It prints "ready" when the tree is made. At SIGUSR1 the root asks each member
 * in turn to look at all that it has, and prints "LOST WHAT" for each thing that
 * is not as it was and "done, N members, N lost". Each time the same is said.
 *
 * A member is made in this order: who it is, what its children get, the
 * children one after the other, what is its own, threads.
 */
#include "random/base.h"
#include "random/memory.h"
#include "random/pipes.h"
#include "random/terminals.h"
#include "random/sockets.h"
#include "random/inet.h"
#include "random/files.h"
#include "random/signals.h"
#include "random/timers.h"
#include "random/events.h"
#include "random/threads.h"
#include <grp.h>

/* What a member is, as drawn before there is any. */
static struct plan {
	int parent;
	enum { ITS_PARENTS, OWN, OF_SIBLING, OF_THE_DEAD } group;
	/* LATE: after its first child. */
	enum { NONE, EARLY, LATE } session;
	int is_reaper, is_orphan, shares_files, is_stopped, threads, zombies;
	int umask, nice, oom, dies, files, is_user, keeps_caps, deep;
	/* The members that lead its session, and the one that its first child has. */
	int leader, first_leader;
} plans[MAX_MEMBERS];
static int member_count;
/* Of this process: who its children are, those of them that live. */
static pid_t children[MAX_MEMBERS];
static int child_count;
static volatile sig_atomic_t asked;
/* Told by each to the one that forked it. */
static int made[2];

static int is_above(int member, int of)
{
	while (of != 0 && of != member)
		of = plans[of].parent;
	return of == member;
}

static int first_child(int member)
{
	for (int i = member + 1; i < member_count; i++)
		if (plans[i].parent == member)
			return i;
	return 0;
}

/* Who gets a child of `member` whose parent ends. */
static int reaper_of(int member)
{
	while (member != 0 && !plans[member].is_reaper)
		member = plans[member].parent;
	return member;
}

/* CRIU makes an orphan again where an ancestor leads its session. */
static int may_be_orphan(int member, const struct plan *plan)
{
	return plan->session == EARLY || is_above(plan->leader, reaper_of(plans[member].parent));
}

/* After those before it. */
static void draw_plan(int member)
{
	struct plan *plan = &plans[member], *parent;

	plan->threads = chance(60) ? (int)draw(MAX_THREADS + 1) : 0;
	plan->zombies = chance(25) ? 1 + (int)draw(2) : 0;
	plan->umask = (int)draw(512);
	plan->nice = chance(30) ? (int)draw(15) : 0;
	plan->oom = chance(30) ? (int)draw(900) : -1;
	plan->files = chance(50) ? 400 + (int)draw(500) : 0;
	plan->deep = (int)draw(200) * 1000;
	plan->is_reaper = member == 0 || chance(25);
	if (member == 0)
		return;
	plan->parent = chance(40) ? member - 1 : (int)draw((unsigned)member);
	parent = &plans[plan->parent];
	plan->group = chance(60) ? ITS_PARENTS : (int)draw(4);
	plan->session = chance(20) ? 1 + (int)draw(2) : NONE;
	plan->leader = parent->leader;
	if (parent->session == LATE && first_child(plan->parent) == member)
		plan->leader = parent->first_leader;
	if (plan->session == EARLY)
		plan->leader = member;
	/* Not as the leader of a group. */
	if (plan->session != NONE)
		plan->group = ITS_PARENTS;
	plan->is_orphan = chance(20) && may_be_orphan(member, plan);
	if (chance(15) && !plan->is_orphan) {
		plan->shares_files = 1;
		plan->threads = 0;
	}
	plan->dies = !plan->is_orphan && chance(20) ? SIGTERM : 0;
	plan->is_stopped = chance(10);
	plan->is_user = chance(15);
	plan->keeps_caps = chance(20);
	plan->first_leader = plan->leader;
	if (plan->session == LATE)
		plan->leader = member;
}

static void on_ask(int signal)
{
	(void)signal;
	asked = 1;
}

/* Who a member is, and what it was given. */

static void check_plan(struct thing *thing)
{
	const struct plan *plan = &plans[self.member];
	char name[16], text[32] = "";
	struct rlimit limit;
	int value = 0, fd = open("/proc/self/oom_score_adj", O_RDONLY);
	mode_t mask = umask(0);

	(void)thing;
	umask(mask);
	expect("PID", getpid(), self.pid);
	expect("parent", getppid(), self.parent);
	expect("session", getsid(0), self.session);
	expect("process group", getpgrp(), self.group);
	expect("umask", mask, plan->umask);
	expect("nice value", getpriority(PRIO_PROCESS, 0), plan->nice);
	snprintf(text, sizeof(text), "member %d", self.member);
	prctl(PR_GET_NAME, name);
	if (strcmp(name, text) != 0)
		lost("its name is %s", name);
	memset(text, 0, sizeof(text));
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		lost("its oom_score_adj");
	close(fd);
	if (plan->oom >= 0)
		expect("oom_score_adj", atoi(text), plan->oom);
	getrlimit(RLIMIT_NOFILE, &limit);
	if (plan->files)
		expect("limit of descriptors", (long)limit.rlim_cur, plan->files);
	prctl(PR_GET_CHILD_SUBREAPER, &value);
	expect("whether it adopts orphans", value, plan->is_reaper);
	prctl(PR_GET_PDEATHSIG, &value);
	expect("its parent-death signal", value, plan->dies);
	expect("keep-caps", prctl(PR_GET_KEEPCAPS), plan->keeps_caps);
	expect("UID", getuid(), plan->is_user ? 1000 + self.member : 0);
	expect("number of groups", getgroups(0, NULL), plan->is_user ? 2 : 0);
	expect("dumpable", prctl(PR_GET_DUMPABLE), 1);
}

static void take_identity(void)
{
	const struct plan *plan = &plans[self.member];
	struct rlimit limit;
	gid_t groups[] = { 7, 4711 };
	char text[32];
	int fd;

	umask((mode_t)plan->umask);
	must(setpriority(PRIO_PROCESS, 0, plan->nice), "setpriority");
	if (plan->oom >= 0) {
		fd = (int)must(open("/proc/self/oom_score_adj", O_WRONLY), "oom_score_adj");
		must(write(fd, text, (size_t)snprintf(text, sizeof(text), "%d", plan->oom)), "oom_score_adj");
		close(fd);
	}
	must(getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
	if (plan->files) {
		limit.rlim_cur = (rlim_t)plan->files;
		must(setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");
	}
	if (plan->is_user) {
		must(setgroups(2, groups), "setgroups");
		must(setresgid(12, 34, 56), "setresgid");
		/* That of those who may signal it, and write to what it has open. */
		must(setresuid((uid_t)(1000 + self.member), 0, 0), "setresuid");
	} else {
		must(setgroups(0, NULL), "setgroups");
	}
	must(prctl(PR_SET_DUMPABLE, 1), "PR_SET_DUMPABLE");
	must(prctl(PR_SET_KEEPCAPS, plan->keeps_caps), "PR_SET_KEEPCAPS");
	/* A change of user takes it back. */
	must(prctl(PR_SET_PDEATHSIG, plan->dies), "PR_SET_PDEATHSIG");
	self.parent = getppid();
	self.session = getsid(0);
	self.group = getpgrp();
}

/* A group of which the first process has ended. */
static void join_group_of_the_dead(void)
{
	pid_t leader = (pid_t)must(fork(), "fork");

	if (leader == 0) {
		setpgid(0, 0);
		for (;;)
			pause();
	}
	must(setpgid(leader, leader), "setpgid");
	must(setpgid(0, leader), "setpgid");
	kill(leader, SIGKILL);
	waitpid(leader, NULL, 0);
}

static void take_place(const struct plan *plan)
{
	if (plan->session == EARLY)
		must(setsid(), "setsid");
	if (plan->group == OWN)
		must(setpgid(0, 0), "setpgid");
	/* It may be in another session by now. */
	if (plan->group == OF_SIBLING && child_count > 0)
		setpgid(0, getpgid(children[child_count - 1]));
	if (plan->group == OF_THE_DEAD)
		join_group_of_the_dead();
}

/* Zombies */

static void check_zombie(struct thing *thing)
{
	siginfo_t info = { .si_pid = 0 };

	if (waitid(P_PID, (id_t)thing->number, &info, WEXITED | WNOWAIT | WNOHANG) != 0 ||
	    info.si_pid != thing->number)
		lost("zombie %d: it is not there", thing->number);
	else if (info.si_code != thing->flags[0] || info.si_status != thing->flags[1])
		lost("zombie %d: %d, %d", thing->number, info.si_code, info.si_status);
}

static void make_zombie(void)
{
	static const int signals[] = { SIGKILL, SIGTERM, SIGHUP };
	struct thing *thing = add("zombie", check_zombie);
	siginfo_t info;

	thing->flags[0] = chance(50) ? CLD_EXITED : CLD_KILLED;
	thing->flags[1] = thing->flags[0] == CLD_EXITED ? (int)draw(128) : signals[draw(3)];
	thing->number = (int)must(fork(), "fork");
	if (thing->number == 0) {
		if (thing->flags[0] == CLD_EXITED)
			_exit(thing->flags[1]);
		for (;;)
			pause();
	}
	if (thing->flags[0] == CLD_KILLED)
		kill(thing->number, thing->flags[1]);
	must(waitid(P_PID, (id_t)thing->number, &info, WEXITED | WNOWAIT), "waitid");
}

static void be(int member);

/* In the parent, its descendants have been made when it returns. */
static void make_child(int member)
{
	const struct plan *plan = &plans[member];
	pid_t pid, between;
	int fds[2];

	must(pipe(fds), "pipe");
	/* Another copy of the memory, of the descriptors the same. */
	pid = plan->shares_files ? (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0) : fork();
	if (must(pid, "fork") == 0 && plan->is_orphan) {
		between = getpid();
		pid = (pid_t)must(fork(), "fork");
		if (pid != 0)
			_exit(0);
		must(COMES_TRUE(getppid() != between, usleep(1000)) ? 0 : -1, "a parent that ends");
	}
	if (pid == 0) {
		memcpy(made, fds, sizeof(made));
		be(member);
	}
	if (plan->is_orphan)
		must(waitpid(pid, NULL, 0), "waitpid");
	else
		children[child_count++] = pid;
	must(read(fds[0], &pid, sizeof(pid)) == sizeof(pid) ? 0 : -1, "a child");
	close(fds[0]);
	close(fds[1]);
}

/* What it has with its next child, which is told from other children by that. */
static void make_between(void)
{
	static void (*const makers[])(void) = { make_pair, make_pair, make_shared_offset, make_shared_memory,
		make_shared_events };

	for (int i = (int)draw(5); i > 0; i--)
		makers[draw(5)]();
}

static void part_from_child(void)
{
	for (int i = 0; i < thing_count; i++) {
		if (things[i].adopt != adopt_memory && things[i].adopt != adopt_handler)
			things[i].adopt = NULL;
		if (things[i].part && things[i].part != part_memory)
			things[i].part(&things[i]);
	}
}

static void make_own(void)
{
	static void (*const makers[])(void) = { make_memory, make_memory, make_file_memory, make_pipe, make_pipe,
		make_fifo, make_sockets, make_inet, make_netlink, make_file, make_file, make_deleted, make_other, make_lock, make_timer,
		make_timer, make_interval_timer, make_eventfd, make_signalfd, make_timerfd, make_epoll };

	for (int i = 4 + (int)draw(14); i > 0; i--)
		makers[draw(sizeof(makers) / sizeof(makers[0]))]();
	if (chance(20))
		make_huge();
	if (chance(50))
		make_pending();
	/* Few, as CRIU does not reach far for the number of one. */
	if (chance(15))
		make_terminal();
}

static void make_for_children(void)
{
	static void (*const makers[])(void) = { make_memory, make_heap, make_file_memory, make_handler };

	for (int i = (int)draw(5); i > 0; i--)
		makers[draw(4)]();
}

static void check_all(void)
{
	self.asked++;
	check_things();
	tell(DONE, "");
}

/* Waits to be asked, with ASK blocked at any other time. */
static void wait_to_be_asked(int way, const sigset_t *waiting)
{
	struct timespec time = { FAR, 0 };
	struct pollfd entry = { .fd = -1 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, ASK);
	switch (way) {
	case 0:
		sigsuspend(waiting);
		break;
	case 1:
		ppoll(&entry, 1, &time, waiting);
		break;
	case 2:
		pselect(0, NULL, NULL, NULL, &time, waiting);
		break;
	default:
		asked = sigwaitinfo(&set, NULL) == ASK;
	}
}

/* `answer`: what it does then. */
static void serve(void (*answer)(void))
{
	const struct plan *plan = &plans[self.member];
	int way = (int)draw(4);
	sigset_t waiting;
	uint8_t deep[plan->deep + 1];

	fill(deep, (uint32_t)self.member, 0, (size_t)plan->deep);
	pthread_sigmask(SIG_BLOCK, NULL, &waiting);
	sigdelset(&waiting, ASK);
	for (;;) {
		asked = 0;
		while (!asked)
			wait_to_be_asked(way, &waiting);
		said = 0;
		if (!holds(deep, (uint32_t)self.member, 0, (size_t)plan->deep))
			lost("its stack is not as it was");
		answer();
	}
}

static void build(int member)
{
	const struct plan *plan = &plans[member];
	char name[16];

	draw_for((uint64_t)member + 1);
	take_place(plan);
	prctl(PR_SET_CHILD_SUBREAPER, plan->is_reaper);
	snprintf(name, sizeof(name), "member %d", member);
	prctl(PR_SET_NAME, name);
	child_count = 0;
	part_things();
	add("identity", check_plan);
	make_for_children();
	for (int i = member + 1; i < member_count; i++) {
		if (plans[i].parent != member)
			continue;
		self.is_shared |= plans[i].shares_files;
		make_between();
		make_child(i);
		part_from_child();
		if (plan->session == LATE && i == first_child(member))
			must(setsid(), "setsid");
	}
	if (plan->session == LATE && first_child(member) == 0)
		must(setsid(), "setsid");
	part_things();
	for (int i = 0; i < plan->zombies; i++)
		make_zombie();
	make_own();
	take_identity();
	for (int i = 0; i < plan->threads; i++)
		make_worker(children, child_count);
	things_sum = sum_of_things();
	tell(READY, "");
}

static void be(int member)
{
	self.member = member;
	self.pid = getpid();
	self.shares_files = plans[member].shares_files;
	self.is_shared = self.shares_files;
	forget_timers();
	forget_events();
	adopt_things();
	build(member);
	must(write(made[1], &self.pid, sizeof(self.pid)), "write");
	serve(check_all);
}

/* The root asks, and prints. */

static pid_t pids[MAX_MEMBERS];
static int losses;

static void print_lost(int member, const char *what)
{
	printf("LOST member %d (%d): %s\n", member, pids[member], what);
	losses++;
}

/* The next message, or none if nobody says anything: for so long that a member may
 * have waited for several of its things. */
static int hear(struct message *message)
{
	struct pollfd entry = { .fd = root_pipe[0], .events = POLLIN };

	for (int things = 0; things < 5; things++)
		if (COMES_TRUE(poll(&entry, 1, 100) > 0, (void)0))
			return read(root_pipe[0], message, sizeof(*message)) == sizeof(*message);
	return 0;
}

/* Prints what it says, to its last word. */
static void hear_all_of(int member)
{
	struct message message;

	for (;;) {
		if (!hear(&message)) {
			print_lost(member, "it does not answer");
			return;
		}
		if (message.kind == LOST)
			print_lost(message.member, message.text);
		if (message.kind == DONE && message.member == member)
			return;
	}
}

static char state_of(pid_t pid)
{
	char path[64], state = '?';
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "r");
	if (!file || fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
		state = '?';
	if (file)
		fclose(file);
	return state;
}

static void stop(int member)
{
	kill(pids[member], SIGSTOP);
	if (!COMES_TRUE(state_of(pids[member]) == 'T', usleep(1000)))
		print_lost(member, "it does not stop");
}

static void ask(int member)
{
	if (plans[member].is_stopped) {
		if (state_of(pids[member]) != 'T')
			print_lost(member, "it is not stopped");
		kill(pids[member], SIGCONT);
	}
	if (kill(pids[member], ASK) != 0)
		print_lost(member, "it is gone");
	else
		hear_all_of(member);
	if (plans[member].is_stopped)
		stop(member);
}

static void ask_all(void)
{
	losses = 0;
	check_all();
	hear_all_of(0);
	for (int i = 1; i < member_count; i++)
		ask(i);
	printf("done, %d members, %d lost\n", member_count, losses);
	fflush(stdout);
}

/* Their first words are where the root learns of them. */
static void meet_all(void)
{
	struct message message;

	for (int i = 0; i < member_count; i++) {
		must(hear(&message) && message.kind == READY ? 0 : -1, "a member's first word");
		pids[message.member] = message.pid;
	}
	for (int i = 0; i < member_count; i++)
		if (plans[i].is_stopped)
			stop(i);
	printf("ready\n");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_ask };
	sigset_t blocked;

	if (argc != 3) {
		fprintf(stderr, "usage: random SEED FOLDER\n");
		return 2;
	}
	seed = strtoull(argv[1], NULL, 0);
	snprintf(folder, sizeof(folder), "%s", argv[2]);
	must(mkdir(folder, 0755), folder);
	must(chdir(folder), folder);
	must(pipe(root_pipe), "pipe");
	sigaction(ASK, &action, NULL);
	handle_ticks();
	handle_wakes();
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_DFL);
	sigemptyset(&blocked);
	sigaddset(&blocked, ASK);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	block_pending();

	draw_for(0);
	member_count = 1 + (int)draw(8);
	for (int i = 0; i < member_count; i++)
		draw_plan(i);
	self.pid = getpid();
	build(0);
	meet_all();
	serve(ask_all);
}
