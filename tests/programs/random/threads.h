/* Threads, each in a call of its own when nobody asks. */
#include <linux/futex.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/select.h>

#define MAX_THREADS 4
#define STACK_SIZE 65536

struct worker {
	int index, activity;
	pid_t tid;
	char name[16];
	/* How often it was asked, and has looked. */
	volatile int wanted, answered;
	/* Calls that returned although nobody had asked, and the error of the last. */
	volatile int early, error;
	volatile sig_atomic_t woken;
	uint32_t word;
	int pipe[2];
	pid_t child;
	int is_on_stack, nice;
	uint64_t mask;
	struct pending pending;
	char *stack;
};

static struct worker workers[MAX_THREADS];
static int worker_count;
static __thread struct worker *me;
static __thread uint64_t mine[16] = { 0x6d696e65 };

static int in_pause(void)
{
	return pause();
}

static int in_nanosleep(void)
{
	struct timespec time = { FAR, 5 };

	return nanosleep(&time, &time);
}

static int in_clock_nanosleep(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	time.tv_sec += FAR;
	errno = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
	return errno ? -1 : 0;
}

/* Many short ones, each of which is to come to its end. */
static int in_naps(void)
{
	struct timespec time = { 0, 20000000 };

	while (me->wanted == me->answered)
		if (nanosleep(&time, NULL) != 0)
			return -1;
	return 0;
}

static int in_poll(void)
{
	struct pollfd entry = { .fd = me->pipe[0], .events = POLLIN };

	return poll(&entry, 1, FAR * 1000);
}

static int in_poll_for_ever(void)
{
	struct pollfd entry = { .fd = me->pipe[0], .events = POLLIN };

	return poll(&entry, 1, -1);
}

static int in_ppoll(void)
{
	struct timespec time = { FAR, 0 };
	struct pollfd entry = { .fd = me->pipe[0], .events = POLLIN };
	sigset_t mask;

	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	return ppoll(&entry, 1, &time, &mask);
}

static int in_select(void)
{
	struct timeval time = { FAR, 0 };
	fd_set set;

	FD_ZERO(&set);
	FD_SET(me->pipe[0], &set);
	return select(me->pipe[0] + 1, &set, NULL, NULL, &time);
}

static int in_sigsuspend(void)
{
	sigset_t mask;

	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	return sigsuspend(&mask);
}

/* The kernel never restarts this one. */
static int in_sigwaitinfo(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigwaitinfo(&set, NULL);
	me->woken++;
	return 0;
}

static int in_read(void)
{
	char byte;

	return read(me->pipe[0], &byte, 1) == 1 ? 0 : -1;
}

static int in_futex(void)
{
	uint32_t seen = __atomic_load_n(&me->word, __ATOMIC_SEQ_CST);

	if (me->wanted != me->answered)
		return 0;
	return (int)syscall(SYS_futex, &me->word, FUTEX_WAIT, seen, NULL, NULL, 0);
}

static int in_waitpid(void)
{
	return waitpid(me->child, NULL, 0);
}

/* Children that end at once. */
static int in_fork(void)
{
	int status = 0;

	while (me->wanted == me->answered) {
		pid_t child = fork();

		if (child == 0)
			_exit(3);
		while (waitpid(child, &status, 0) < 0 && errno == EINTR)
			;
		if (child < 0 || status != 3 << 8)
			return -1;
		usleep(20000);
	}
	return 0;
}

/* Two ways to one number, in registers. */
static int in_numbers(void)
{
	struct timespec rest = { 0, 2000000 };
	double sum = 0;
	uint64_t count = 0;

	while (me->wanted == me->answered) {
		for (int i = 0; i < 20000; i++) {
			sum += 0.5;
			count++;
			__asm__ volatile("" : "+x"(sum), "+r"(count));
		}
		if (sum != (double)count / 2)
			return -1;
		nanosleep(&rest, NULL);
		if (count > 1UL << 40)
			sum = (double)(count = 0);
	}
	return 0;
}

static const struct {
	const char *name;
	int (*wait)(void);
} activities[] = {
	{ "pause", in_pause }, { "nanosleep", in_nanosleep }, { "clock_nanosleep", in_clock_nanosleep },
	{ "short nanosleeps", in_naps }, { "poll", in_poll }, { "poll for ever", in_poll_for_ever },
	{ "ppoll", in_ppoll }, { "select", in_select }, { "sigsuspend", in_sigsuspend },
	{ "sigwaitinfo", in_sigwaitinfo }, { "read", in_read }, { "futex", in_futex },
	{ "waitpid", in_waitpid }, { "fork", in_fork }, { "numbers", in_numbers },
};
#define ACTIVITIES (sizeof(activities) / sizeof(activities[0]))

static void on_wake(int signal)
{
	(void)signal;
	if (me)
		me->woken++;
}

static int priority_of(struct worker *worker)
{
	return getpriority(PRIO_PROCESS, (id_t)worker->tid);
}

static void look_at_worker(struct worker *worker)
{
	const char *activity = activities[worker->activity].name;
	char name[16];
	sigset_t mask;
	stack_t stack;

	if (worker->early)
		lost("thread %s: %s returned early, error %d", worker->name, activity, worker->error);
	prctl(PR_GET_NAME, name);
	if (strcmp(name, worker->name) != 0)
		lost("thread %s: its name is %s", worker->name, name);
	expect("thread's ID", gettid(), worker->tid);
	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	expect("thread's mask", (long)bits(&mask), (long)worker->mask);
	expect("thread's nice value", priority_of(worker), worker->nice);
	expect("thread-local storage", (long)(mine[0] + mine[15]), 0x6d696e65 + worker->index + 1);
	sigaltstack(NULL, &stack);
	if (worker->stack && (stack.ss_sp != worker->stack || stack.ss_size != STACK_SIZE))
		lost("thread %s: its alternate stack", worker->name);
	expect("whether it is on its alternate stack", stack.ss_flags & SS_ONSTACK, worker->is_on_stack ? SS_ONSTACK : 0);
	take(&worker->pending, worker->name);
	send_pending(&worker->pending, worker->tid);
}

static void serve_as_worker(void)
{
	for (;;) {
		while (me->wanted == me->answered) {
			int before = me->woken;
			int result = activities[me->activity].wait();

			if (me->wanted == me->answered && me->woken == before) {
				me->error = result < 0 ? errno : 0;
				me->early++;
			}
		}
		look_at_worker(me);
		me->early = 0;
		me->answered = me->wanted;
	}
}

static void on_stack(int signal)
{
	(void)signal;
	me->is_on_stack = 1;
	serve_as_worker();
}

static void *work(void *argument)
{
	struct worker *worker = argument;
	stack_t stack = { .ss_sp = worker->stack, .ss_size = STACK_SIZE };
	sigset_t mask;

	me = worker;
	mine[15] = (uint64_t)worker->index + 1;
	prctl(PR_SET_NAME, worker->name);
	worker->tid = gettid();
	setpriority(PRIO_PROCESS, (id_t)worker->tid, worker->nice);
	send_pending(&worker->pending, worker->tid);
	if (worker->stack)
		must(sigaltstack(&stack, NULL), "sigaltstack");
	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	worker->mask = bits(&mask);
	if (worker->is_on_stack) {
		worker->mask |= bits(&mask);
		syscall(SYS_tgkill, getpid(), worker->tid, ON_STACK);
	}
	serve_as_worker();
	return NULL;
}

static void wake(struct worker *worker)
{
	const char *activity = activities[worker->activity].name;
	int takes_signals = 1;

	worker->wanted = self.asked;
	__atomic_add_fetch(&worker->word, 1, __ATOMIC_SEQ_CST);
	if (activities[worker->activity].wait == in_futex) {
		takes_signals = 0;
		syscall(SYS_futex, &worker->word, FUTEX_WAKE, 1, NULL, NULL, 0);
	} else if (activities[worker->activity].wait == in_read) {
		takes_signals = 0;
		must(write(worker->pipe[1], "", 1), "write");
	}
	if (!COMES_TRUE(worker->answered == worker->wanted, ({
		    if (takes_signals)
			    syscall(SYS_tgkill, getpid(), worker->tid, WAKE);
		    usleep(20000);
	    })))
		lost("thread %s does not wake from %s", worker->name, activity);
}

static void check_worker(struct thing *thing)
{
	wake(&workers[thing->number]);
}

/* `children`: those that it may wait for. */
static void make_worker(const pid_t *children, int child_count)
{
	struct thing *thing = add("thread", check_worker);
	struct worker *worker = &workers[worker_count];
	sigset_t blocked, before;
	pthread_t thread;

	thing->number = worker_count;
	*worker = (struct worker){ .index = worker_count++, .activity = (int)draw(ACTIVITIES) };
	if (activities[worker->activity].wait == in_waitpid) {
		if (child_count == 0)
			worker->activity = 0;
		else
			worker->child = children[draw((unsigned)child_count)];
	}
	snprintf(worker->name, sizeof(worker->name), "m%d-thread-%d", self.member, worker->index);
	must(pipe2(worker->pipe, O_CLOEXEC), "pipe2");
	worker->nice = chance(30) ? (int)draw(19) : getpriority(PRIO_PROCESS, 0);
	draw_pending(&worker->pending, PENDING_OF_THREAD, chance(30) ? 1 + (int)draw(4) : 0);
	if (chance(50)) {
		worker->stack = malloc(STACK_SIZE);
		worker->is_on_stack = chance(50);
	}
	/* Ticks, and questions to the process, are for the first thread. */
	sigemptyset(&blocked);
	sigaddset(&blocked, ASK);
	sigaddset(&blocked, TICK);
	sigaddset(&blocked, SIGALRM);
	sigaddset(&blocked, SIGVTALRM);
	sigaddset(&blocked, SIGPROF);
	sigaddset(&blocked, SIGUSR2);
	for (int i = 0; i < 6; i++)
		sigaddset(&blocked, FREE + (int)draw(FREE_COUNT));
	pthread_sigmask(SIG_BLOCK, &blocked, &before);
	must(-pthread_create(&thread, NULL, work, worker), "pthread_create");
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	/* It is in its call then, or on its way to it. */
	must(COMES_TRUE(*(volatile pid_t *)&worker->tid != 0, usleep(1000)) ? 0 : -1, "a thread");
}

static void handle_wakes(void)
{
	struct sigaction wake = { .sa_handler = on_wake };
	struct sigaction stack = { .sa_handler = on_stack, .sa_flags = SA_ONSTACK | SA_NODEFER };

	sigaction(WAKE, &wake, NULL);
	sigaction(ON_STACK, &stack, NULL);
}
