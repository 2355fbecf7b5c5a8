/* Signals that are pending, and handlers. */

#define MAX_PENDING 12

/* What was sent to the process, or to one thread, in this order: `first` and two more. */
struct pending {
	int first, count;
	struct {
		int signal, value;
	} sent[MAX_PENDING];
};

static struct pending pending;

static void draw_pending(struct pending *pending, int first, int count)
{
	pending->first = first;
	pending->count = count;
	for (int i = 0; i < count; i++) {
		pending->sent[i].signal = first + (int)draw(3);
		pending->sent[i].value = (int)draw(1 << 30);
	}
}

/* To this process, or to its thread `tid`. */
static void send_pending(const struct pending *pending, pid_t tid)
{
	for (int i = 0; i < pending->count; i++) {
		siginfo_t info = { .si_signo = pending->sent[i].signal, .si_code = SI_QUEUE };

		info.si_pid = getpid();
		info.si_uid = getuid();
		info.si_value.sival_int = pending->sent[i].value;
		must(tid ? syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, info.si_signo, &info)
			 : syscall(SYS_rt_sigqueueinfo, getpid(), info.si_signo, &info), "sigqueue");
	}
}

static void block_pending(void)
{
	sigset_t set;

	sigemptyset(&set);
	for (int signal = PENDING; signal < FREE; signal++)
		sigaddset(&set, signal);
	sigaddset(&set, HELD);
	sigaddset(&set, TAKEN);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

/* Takes them: the lowest number first, those of a number in their order. */
static void take(const struct pending *pending, const char *whose)
{
	const struct timespec no_time = { 0, 0 };
	siginfo_t info;
	sigset_t set;
	int taken = 0;

	for (int signal = pending->first; signal < pending->first + 3; signal++) {
		sigemptyset(&set);
		sigaddset(&set, signal);
		for (int i = 0; i < pending->count; i++) {
			if (pending->sent[i].signal != signal)
				continue;
			if (sigtimedwait(&set, &info, &no_time) != signal)
				lost("signal %d that is pending for %s", signal, whose);
			else if (info.si_value.sival_int != pending->sent[i].value ||
				 info.si_pid != self.pid || info.si_code != SI_QUEUE)
				lost("what signal %d tells %s: value %d of %d", signal, whose,
				     info.si_value.sival_int, info.si_pid);
			taken++;
		}
		if (sigtimedwait(&set, &info, &no_time) >= 0)
			lost("signal %d comes once more for %s", signal, whose);
	}
	expect("signals", taken, pending->count);
}

static void check_pending(struct thing *thing)
{
	(void)thing;
	take(&pending, "the process");
	send_pending(&pending, 0);
}

static void make_pending(void)
{
	add("pending signals", check_pending);
	draw_pending(&pending, PENDING, 1 + (int)draw(MAX_PENDING));
	send_pending(&pending, 0);
}

static void on_free(int signal)
{
	(void)signal;
}

static uint64_t bits(const sigset_t *set)
{
	uint64_t bits = 0;

	for (int signal = 1; signal <= 64; signal++)
		if (sigismember(set, signal) == 1)
			bits |= 1UL << (signal - 1);
	return bits;
}

/* Of signals that nobody sends: `size` is the mask. */
static void check_handler(struct thing *thing)
{
	struct sigaction is;

	must(sigaction(thing->number, NULL, &is), "sigaction");
	expect("flags of a handler", is.sa_flags, thing->flags[0]);
	expect("handler", (long)is.sa_handler, thing->at);
	expect("mask of a handler", (long)bits(&is.sa_mask), thing->size);
}

static int adopt_handler(struct thing *thing)
{
	(void)thing;
	return 1;
}

static void make_handler(void)
{
	static const int flags[] = { SA_RESTART, SA_ONSTACK, SA_NODEFER, (int)SA_RESETHAND, SA_NOCLDSTOP };
	/* Each signal once: a handler is the last that was set. */
	static int handlers;
	struct thing *thing;
	struct sigaction action = { .sa_handler = chance(80) ? on_free : SIG_IGN };

	if (handlers == FREE_COUNT)
		return;
	thing = add("signal handler", check_handler);
	thing->number = FREE + handlers++;
	for (int i = 0; i < 5; i++)
		action.sa_flags |= chance(40) ? flags[i] : 0;
	for (int i = 0; i < 10; i++)
		sigaddset(&action.sa_mask, 1 + (int)draw(30));
	must(sigaction(thing->number, &action, NULL), "sigaction");
	/* As the kernel has it: without SIGKILL and SIGSTOP. */
	must(sigaction(thing->number, NULL, &action), "sigaction");
	thing->flags[0] = action.sa_flags;
	thing->at = (long)action.sa_handler;
	thing->size = (long)bits(&action.sa_mask);
	thing->adopt = adopt_handler;
}
