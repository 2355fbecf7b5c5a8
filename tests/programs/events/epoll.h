/* Instances of epoll, and what they tell with events */
enum { COUNTER = 1, EDGE, TIMER, SIGNAL, NESTED, FIRST, SECOND, TOLD, ALONE, WRITER, READER, FAR_DATA = -2 };
static struct {
	int instance, inner, outer, shared, of_child;
	int counter, edge[2], timer, signal, inner_counter, twice, again, told, alone, shared_counter;
	int pipe[2];
	unsigned alone_events;
} polls;

static void watch(int instance, int fd, uint32_t events, int64_t data)
{
	struct epoll_event event = { .events = events, .data.u64 = (uint64_t)data };

	must(epoll_ctl(instance, EPOLL_CTL_ADD, fd, &event), "EPOLL_CTL_ADD");
}

/* What it tells of now: bit N for data N. */
static unsigned told_of(int instance)
{
	struct epoll_event events[16];
	int count = epoll_wait(instance, events, 16, 0);
	unsigned told = 0;

	for (int i = 0; i < count; i++)
		told |= events[i].data.u64 < 32 ? 1u << events[i].data.u64 : 1u;
	return told;
}

/* The events that it is watched for, as the kernel tells of them. */
static unsigned watched_for(int instance, int target)
{
	char path[64], line[160];
	unsigned events = 0;
	FILE *info;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", instance);
	info = fopen(path, "r");
	while (info && fgets(line, sizeof(line), info))
		if (sscanf(line, "tfd: %d events: %x", &fd, &events) == 2 && fd == target)
			break;
	if (info)
		fclose(info);
	return events;
}

static void make_polls(void)
{
	const struct timespec none = { 0, 0 }, far = { FAR, 0 };
	const int signals[] = { SIGRTMAX - 1 };

	polls.instance = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
	polls.counter = must(eventfd(0, EFD_NONBLOCK), "eventfd");
	watch(polls.instance, polls.counter, EPOLLIN, COUNTER);
	must(pipe(polls.edge), "pipe");
	watch(polls.instance, polls.edge[0], EPOLLIN | EPOLLET | EPOLLRDHUP, EDGE);
	polls.timer = timer_on(CLOCK_MONOTONIC, 0, far, none);
	watch(polls.instance, polls.timer, EPOLLIN | EPOLLONESHOT, TIMER);
	polls.signal = taker(signals, 1, SFD_NONBLOCK);
	watch(polls.instance, polls.signal, EPOLLIN, SIGNAL);
	/* In one another. */
	polls.inner = must(epoll_create1(0), "epoll_create1");
	polls.inner_counter = must(eventfd(0, EFD_NONBLOCK), "eventfd");
	watch(polls.inner, polls.inner_counter, EPOLLIN | EPOLLPRI, FAR_DATA);
	watch(polls.instance, polls.inner, EPOLLIN, NESTED);
	polls.outer = must(epoll_create1(0), "epoll_create1");
	watch(polls.outer, polls.instance, EPOLLIN | EPOLLET, 0);
	/* One open file by two descriptors. */
	polls.twice = must(eventfd(0, EFD_NONBLOCK), "eventfd");
	polls.again = must(fcntl(polls.twice, F_DUPFD, 150), "F_DUPFD");
	watch(polls.instance, polls.twice, EPOLLIN, FIRST);
	watch(polls.instance, polls.again, EPOLLIN, SECOND);
	/* It was told of once, and is watched no longer. */
	polls.told = must(eventfd(1, EFD_NONBLOCK), "eventfd");
	watch(polls.instance, polls.told, EPOLLIN | EPOLLONESHOT, TOLD);
	must(told_of(polls.instance) == 1u << TOLD ? 0 : -1, "epoll_wait");
	polls.alone = must(eventfd(0, EFD_NONBLOCK), "eventfd");
	/* The latter is for systems that sleep. */
	watch(polls.instance, polls.alone, EPOLLIN | EPOLLEXCLUSIVE | EPOLLWAKEUP, ALONE);
	polls.alone_events = watched_for(polls.instance, polls.alone);
	must(pipe(polls.pipe), "pipe");
	watch(polls.instance, polls.pipe[1], EPOLLOUT | EPOLLET, WRITER);
	told_of(polls.instance);
	polls.shared = must(epoll_create1(0), "epoll_create1");
	polls.shared_counter = must(eventfd(0, EFD_NONBLOCK), "eventfd");
	watch(polls.shared, polls.shared_counter, EPOLLIN, READER);
}

static void check_targets(void)
{
	unsigned both = 1u << FIRST | 1u << SECOND;
	struct itimerspec soon = { .it_value = { 0, 1 } }, far = { .it_value = { FAR, 0 } };
	struct epoll_event once = { .events = EPOLLIN | EPOLLONESHOT, .data.u64 = TIMER };

	expect(put(polls.counter, 1) && told_of(polls.instance) == 1u << COUNTER &&
	       told_of(polls.instance) == 1u << COUNTER && take(polls.counter) == 1, "epoll on an eventfd");
	expect(write(polls.edge[1], "a", 1) == 1 && told_of(polls.instance) == 1u << EDGE &&
	       told_of(polls.instance) == 0, "epoll by edges on a pipe");
	expect(read(polls.edge[0], &soon.it_interval, 1) == 1, "what was in the pipe");
	soon.it_interval = (struct timespec){ 0, 0 };
	timerfd_settime(polls.timer, 0, &soon, NULL);
	while (!is_readable(polls.timer))
		usleep(1000);
	expect(told_of(polls.instance) == 1u << TIMER && told_of(polls.instance) == 0, "epoll once on a timerfd");
	timerfd_settime(polls.timer, 0, &far, NULL);
	expect(epoll_ctl(polls.instance, EPOLL_CTL_MOD, polls.timer, &once) == 0, "the same again");
	kill(getpid(), SIGRTMAX - 1);
	expect(told_of(polls.instance) == 1u << SIGNAL && given(polls.signal, NULL) == SIGRTMAX - 1,
	       "epoll on a signalfd");
	expect(put(polls.twice, 1) && told_of(polls.instance) == both && take(polls.again) == 1,
	       "epoll on one file by two descriptors");
	expect(put(polls.alone, 1) && told_of(polls.instance) == 1u << ALONE && take(polls.alone) == 1 &&
	       polls.alone_events & EPOLLEXCLUSIVE &&
	       watched_for(polls.instance, polls.alone) == polls.alone_events,
	       "epoll of one that waits alone (EPOLLEXCLUSIVE)");
}

static void check_polls(void)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLONESHOT, .data.u64 = TOLD };

	expect(fcntl(polls.instance, F_GETFD) == FD_CLOEXEC, "epoll: close-on-exec");
	/* What is watched by edges is told of anew after a restore. */
	expect((told_of(polls.instance) & ~(1u << WRITER)) == 0, "epoll: what nothing happened to");
	expect(epoll_ctl(polls.instance, EPOLL_CTL_ADD, polls.told, &event) == -1 && errno == EEXIST,
	       "epoll on what was told of");
	check_targets();
	expect(put(polls.inner_counter, 1) && told_of(polls.instance) == 1u << NESTED && told_of(polls.outer) == 1,
	       "epoll on epoll");
	expect(epoll_wait(polls.inner, &event, 1, 0) == 1 && event.data.u64 == (uint64_t)FAR_DATA &&
	       event.events == EPOLLIN && take(polls.inner_counter) == 1, "the inner one");
	expect(told_of(polls.instance) == 0 && told_of(polls.outer) == 0, "epoll on epoll: nothing more");
	event = (struct epoll_event){ .events = EPOLLIN | EPOLLONESHOT, .data.u64 = TOLD };
	expect(epoll_ctl(polls.instance, EPOLL_CTL_MOD, polls.told, &event) == 0 &&
	       told_of(polls.instance) == 1u << TOLD && told_of(polls.instance) == 0, "once more");
	expect(ask_child('p') == 1u << READER, "epoll: what a child is told");
	expect(told_of(polls.shared) == 1u << READER && take(polls.shared_counter) == 7, "the same here");
	expect(ask_child('q') == 1, "epoll of a child alone");
}
