/* Descriptors that tell of events: of one member, and between a member and its child. */
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

static uint64_t count_of(int fd)
{
	uint64_t count = 0;

	return read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

static void count_to(int fd, uint64_t count)
{
	if (count > 0)
		must(write(fd, &count, sizeof(count)), "eventfd");
}

static int is_readable(int fd)
{
	struct pollfd entry = { .fd = fd, .events = POLLIN };

	return poll(&entry, 1, 0) == 1;
}

/* `size` is what it has counted. */
static void check_eventfd(struct thing *thing)
{
	check_flags(thing);
	expect("count of an eventfd", (long)count_of(thing->fd[0]), thing->size);
	thing->size = chance(80) ? draw(UINT32_MAX) : 0;
	count_to(thing->fd[1] >= 0 ? thing->fd[1] : thing->fd[0], (uint64_t)thing->size);
}

static void make_eventfd(void)
{
	struct thing *thing = add("eventfd", check_eventfd);

	thing->size = chance(80) ? draw(UINT32_MAX) : 0;
	thing->fd[0] = (int)must(eventfd((unsigned)thing->size, EFD_NONBLOCK | (chance(30) ? EFD_CLOEXEC : 0)), "eventfd");
	if (chance(30))
		thing->fd[1] = (int)must(fcntl(thing->fd[0], F_DUPFD, 4 + (int)draw(200)), "F_DUPFD");
	keep_flags(thing);
}

/* One signal is pending for it, with the value `number`. A process has one such thing. */
static int takes_signals;

static void send_taken(const struct thing *thing)
{
	must(sigqueue(getpid(), TAKEN, (union sigval){ .sival_int = thing->number }), "sigqueue");
}

static void check_signalfd(struct thing *thing)
{
	struct signalfd_siginfo info = { .ssi_signo = 0 };

	check_flags(thing);
	if (read(thing->fd[0], &info, sizeof(info)) != sizeof(info) || info.ssi_signo != (unsigned)TAKEN ||
	    info.ssi_int != thing->number)
		lost("signalfd: signal %u, value %d", info.ssi_signo, info.ssi_int);
	if (read(thing->fd[0], &info, sizeof(info)) >= 0)
		lost("signalfd: signal %u comes, too", info.ssi_signo);
	send_taken(thing);
}

static void make_signalfd(void)
{
	struct thing *thing;
	sigset_t set;

	if (takes_signals++)
		return;
	thing = add("signalfd", check_signalfd);
	thing->number = (int)draw(1 << 30);
	sigemptyset(&set);
	sigaddset(&set, TAKEN);
	sigaddset(&set, SIGWINCH);
	thing->fd[0] = (int)must(signalfd(-1, &set, SFD_NONBLOCK | (chance(30) ? SFD_CLOEXEC : 0)), "signalfd");
	keep_flags(thing);
	send_taken(thing);
}

enum { TIMER_OFF, TIMER_ONCE, TIMER_OFTEN, TIMER_FIRED, TIMER_WAITING };

/* Has a timer fire once, `size` nanoseconds before it fires again. */
static void fire(const struct thing *thing)
{
	struct itimerspec setting = { .it_value = { 0, 1 }, .it_interval = { thing->size / 1000000000, thing->size % 1000000000 } };

	must(timerfd_settime(thing->fd[0], 0, &setting, NULL), "timerfd_settime");
	must(COMES_TRUE(is_readable(thing->fd[0]), usleep(1000)) ? 0 : -1, "a timerfd that fires");
}

/* `number`: its clock, `at`: what it does, `size`: its interval. */
static void check_timerfd(struct thing *thing)
{
	struct itimerspec setting;
	int fd = thing->fd[0];

	check_flags(thing);
	if (thing->at == TIMER_FIRED || thing->at == TIMER_WAITING) {
		expect("ticks of a timerfd", (long)count_of(fd), 1);
		expect("more of them", (long)count_of(fd), 0);
	}
	must(timerfd_gettime(fd, &setting), "timerfd_gettime");
	expect("interval of a timerfd", nanoseconds(setting.it_interval), thing->size);
	if (thing->at == TIMER_OFF || thing->at == TIMER_FIRED)
		expect("what a timerfd has left that is off", nanoseconds(setting.it_value), 0);
	if ((thing->at == TIMER_ONCE || thing->at == TIMER_WAITING) && !is_far(nanoseconds(setting.it_value)))
		lost("timerfd on clock %d: %ld s left", thing->number, setting.it_value.tv_sec);
	if (thing->at == TIMER_OFTEN && (!COMES_TRUE(is_readable(fd), usleep(1000)) || count_of(fd) == 0))
		lost("timerfd on clock %d: it does not fire", thing->number);
	if (thing->at == TIMER_FIRED || thing->at == TIMER_WAITING)
		fire(thing);
}

static void make_timerfd(void)
{
	static const clockid_t clocks[] = { CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME };
	struct thing *thing = add("timerfd", check_timerfd);
	struct itimerspec setting = { .it_value = { 0, 0 } };
	struct timespec time;
	int flags = 0;

	thing->number = clocks[draw(3)];
	thing->at = draw(5);
	thing->fd[0] = (int)must(timerfd_create(thing->number, TFD_NONBLOCK), "timerfd_create");
	keep_flags(thing);
	/* Until a time of the clock, or for a time. */
	if (chance(40))
		flags = TFD_TIMER_ABSTIME;
	if (thing->at == TIMER_ONCE)
		setting.it_value.tv_sec = FAR;
	if (thing->at == TIMER_OFTEN)
		setting.it_value.tv_nsec = 1000000L + draw(50000000);
	if (thing->at == TIMER_OFTEN)
		setting.it_interval.tv_nsec = 50000000L + draw(200000000);
	if (thing->at == TIMER_WAITING)
		setting.it_interval.tv_sec = FAR;
	thing->size = nanoseconds(setting.it_interval);
	if (thing->at == TIMER_FIRED || thing->at == TIMER_WAITING) {
		fire(thing);
	} else if (thing->at != TIMER_OFF || chance(50)) {
		if (flags && thing->at != TIMER_OFF) {
			clock_gettime(thing->number, &time);
			setting.it_value.tv_sec += time.tv_sec;
		}
		must(timerfd_settime(thing->fd[0], flags, &setting, NULL), "timerfd_settime");
	}
}

/* What an instance tells of now with this data, or none. */
static uint32_t told_of(int instance, uint64_t data)
{
	struct epoll_event events[8];
	uint32_t told = 0;

	for (int i = epoll_wait(instance, events, 8, 0) - 1; i >= 0; i--)
		if (events[i].data.u64 == data)
			told |= events[i].events;
	return told;
}

static uint64_t data_of(const struct thing *thing)
{
	return mixed(thing->pattern);
}

/* Of an instance and a counter; `number`: how it is watched. */
static void check_epoll(struct thing *thing)
{
	struct epoll_event event = { .events = EPOLLIN | (uint32_t)thing->number, .data.u64 = data_of(thing) };
	int was_told = thing->number & EPOLLONESHOT && thing->at;

	check_flags(thing);
	if (was_told)
		must(epoll_ctl(thing->fd[0], EPOLL_CTL_MOD, thing->fd[1], &event), "EPOLL_CTL_MOD");
	expect("epoll: what nothing happened to", told_of(thing->fd[0], data_of(thing)), 0);
	count_to(thing->fd[1], 1);
	expect("epoll: what has counted", told_of(thing->fd[0], data_of(thing)), EPOLLIN);
	expect("epoll: the same again", told_of(thing->fd[0], data_of(thing)),
	       thing->number & (int)(EPOLLET | EPOLLONESHOT) ? 0 : EPOLLIN);
	expect("what it has counted", (long)count_of(thing->fd[1]), 1);
	if (thing->number & EPOLLONESHOT && !thing->at)
		must(epoll_ctl(thing->fd[0], EPOLL_CTL_MOD, thing->fd[1], &event), "EPOLL_CTL_MOD");
}

static void make_epoll(void)
{
	static const uint32_t ways[] = { 0, EPOLLET, EPOLLONESHOT, EPOLLEXCLUSIVE };
	struct thing *thing = add("epoll", check_epoll);
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = data_of(thing) };

	thing->fd[0] = (int)must(epoll_create1(chance(30) ? EPOLL_CLOEXEC : 0), "epoll_create1");
	thing->fd[1] = (int)must(eventfd(0, EFD_NONBLOCK), "eventfd");
	thing->number = (int)ways[draw(4)];
	event.events |= (uint32_t)thing->number;
	/* Whether it is told of once between two looks. */
	thing->at = chance(50);
	must(epoll_ctl(thing->fd[0], EPOLL_CTL_ADD, thing->fd[1], &event), "EPOLL_CTL_ADD");
	if (thing->number & EPOLLONESHOT && thing->at) {
		count_to(thing->fd[1], 1);
		told_of(thing->fd[0], data_of(thing));
		count_of(thing->fd[1]);
	}
	if (chance(30)) {
		int outer = (int)must(epoll_create1(0), "epoll_create1");

		event.events = EPOLLIN;
		must(epoll_ctl(outer, EPOLL_CTL_ADD, thing->fd[0], &event), "EPOLL_CTL_ADD");
	}
	keep_flags(thing);
}

/* Made before the fork: the parent counts, the child is told of it. `number`: whether this is the child. */
static void check_shared_events(struct thing *thing)
{
	check_flags(thing);
	if (!thing->number) {
		count_to(thing->fd[1], (uint64_t)self.asked);
		return;
	}
	expect("epoll: what the parent has counted", told_of(thing->fd[0], data_of(thing)), EPOLLIN);
	expect("what it is", (long)count_of(thing->fd[1]), self.asked);
}

static int adopt_shared_events(struct thing *thing)
{
	thing->number = 1;
	/* Its own children are not told. */
	thing->adopt = NULL;
	return 1;
}

static void make_shared_events(void)
{
	struct thing *thing = add("events shared with a child", check_shared_events);
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = data_of(thing) };

	thing->number = 0;
	thing->fd[0] = (int)must(epoll_create1(0), "epoll_create1");
	thing->fd[1] = (int)must(eventfd(0, EFD_NONBLOCK), "eventfd");
	must(epoll_ctl(thing->fd[0], EPOLL_CTL_ADD, thing->fd[1], &event), "EPOLL_CTL_ADD");
	thing->adopt = adopt_shared_events;
	keep_flags(thing);
}

/* A fork leaves the thing, not what it takes. */
static void forget_events(void)
{
	takes_signals = 0;
}
