/* Timers */
static const clockid_t clocks[] = { CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME };
static struct {
	int never, once[3], often[3], until[3], until_often[3], off[3];
	int fired[3], fired_until[3], firing[3], firing_until[3], waiting, waited, cancelable, shared;
} timers;

static int timer_on(clockid_t clock, int flags, struct timespec value, struct timespec interval)
{
	struct itimerspec setting = { .it_value = value, .it_interval = interval };
	int fd = must(timerfd_create(clock, TFD_NONBLOCK), "timerfd_create");
	struct timespec now;

	if (flags & TFD_TIMER_ABSTIME) {
		clock_gettime(clock, &now);
		setting.it_value.tv_sec += now.tv_sec;
	}
	must(timerfd_settime(fd, flags, &setting, NULL), "timerfd_settime");
	return fd;
}

/* Both have fired; one does not run until it is read, the other was asked what is left and runs on. */
static void set_waiting(void)
{
	struct itimerspec setting = { .it_value = { 0, 1 }, .it_interval = { 2 * FAR, 5 } };

	must(timerfd_settime(timers.waiting, 0, &setting, NULL), "timerfd_settime");
	must(timerfd_settime(timers.waited, 0, &setting, NULL), "timerfd_settime");
	while (!is_readable(timers.waiting) || !is_readable(timers.waited))
		usleep(1000);
	must(timerfd_gettime(timers.waited, &setting), "timerfd_gettime");
}

static void make_timers(void)
{
	const struct timespec none = { 0, 0 }, soon = { 0, 1 }, often = { 0, 20000000 };
	const struct timespec far = { FAR, 0 }, farther = { 2 * FAR, 5 };

	timers.never = must(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), "timerfd_create");
	for (size_t i = 0; i < SIZE(clocks); i++) {
		struct itimerspec off = { .it_interval = none };

		timers.once[i] = timer_on(clocks[i], 0, far, none);
		timers.often[i] = timer_on(clocks[i], 0, far, farther);
		timers.until[i] = timer_on(clocks[i], TFD_TIMER_ABSTIME, far, none);
		timers.until_often[i] = timer_on(clocks[i], TFD_TIMER_ABSTIME, far, farther);
		timers.fired[i] = timer_on(clocks[i], 0, soon, none);
		timers.fired_until[i] = timer_on(clocks[i], TFD_TIMER_ABSTIME, none, none);
		timers.firing[i] = timer_on(clocks[i], 0, often, often);
		timers.firing_until[i] = timer_on(clocks[i], TFD_TIMER_ABSTIME, none, often);
		timers.off[i] = timer_on(clocks[i], TFD_TIMER_ABSTIME, far, farther);
		must(timerfd_settime(timers.off[i], TFD_TIMER_ABSTIME, &off, NULL), "timerfd_settime");
	}
	timers.waiting = timer_on(CLOCK_MONOTONIC, 0, far, none);
	timers.waited = timer_on(CLOCK_MONOTONIC, 0, far, none);
	set_waiting();
	timers.cancelable = timer_on(CLOCK_REALTIME, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, far, none);
	timers.shared = timer_on(CLOCK_MONOTONIC, 0, far, none);
	for (size_t i = 0; i < SIZE(clocks); i++)
		while (!is_readable(timers.fired[i]) || !is_readable(timers.fired_until[i]) ||
		       !is_readable(timers.firing[i]) || !is_readable(timers.firing_until[i]))
			usleep(1000);
	usleep(200000);
}

/* What is left: none, FAR or a part of it that no load uses up, or what it was. */
static int left_is(int fd, long left, long interval, long nanoseconds)
{
	struct itimerspec is;

	if (timerfd_gettime(fd, &is) != 0 || is.it_interval.tv_sec != interval || is.it_interval.tv_nsec != nanoseconds)
		return 0;
	if (left == 0)
		return is.it_value.tv_sec == 0 && is.it_value.tv_nsec == 0;
	return is.it_value.tv_sec > left - 7200 && is.it_value.tv_sec <= left;
}

/* Sets it as it was found, having told of one expiration. */
static void set_fired(int fd, int flags)
{
	struct itimerspec soon = { .it_value = { 0, 1 } };

	timerfd_settime(fd, flags, &soon, NULL);
	while (!is_readable(fd))
		usleep(1000);
}

static void check_timers_of(size_t i)
{
	int clock = clocks[i];

	expect(left_is(timers.once[i], FAR, 0, 0) && !is_readable(timers.once[i]), "timer on clock %d", clock);
	expect(left_is(timers.often[i], FAR, 2 * FAR, 5), "timer on clock %d with an interval", clock);
	expect(left_is(timers.until[i], FAR, 0, 0) && !is_readable(timers.until[i]), "timer until a time of clock %d", clock);
	expect(left_is(timers.until_often[i], FAR, 2 * FAR, 5), "the same with an interval, clock %d", clock);
	expect(left_is(timers.off[i], 0, 0, 0) && !is_readable(timers.off[i]), "timer that is off, clock %d", clock);
	expect(left_is(timers.fired[i], 0, 0, 0) && take(timers.fired[i]) == 1 && take(timers.fired[i]) == 0,
	       "timer that has fired, clock %d", clock);
	expect(left_is(timers.fired_until[i], 0, 0, 0) && take(timers.fired_until[i]) == 1 &&
	       take(timers.fired_until[i]) == 0, "timer whose time has come, clock %d", clock);
	set_fired(timers.fired[i], 0);
	set_fired(timers.fired_until[i], TFD_TIMER_ABSTIME);
	/* Some were due before, and more since. */
	expect(take(timers.firing[i]) >= 5, "timer that fires again and again, clock %d", clock);
	expect(take(timers.firing_until[i]) >= 5, "the same from a time on, clock %d", clock);
	while (take(timers.firing[i]) == 0 || take(timers.firing_until[i]) == 0)
		usleep(1000);
	usleep(200000);
}

static void check_timers(void)
{
	struct itimerspec setting = { .it_value = { FAR, 0 } };
	struct timespec now;

	expect(left_is(timers.never, 0, 0, 0) && fcntl(timers.never, F_GETFL) == O_RDWR &&
	       fcntl(timers.never, F_GETFD) == FD_CLOEXEC, "timer that was never set");
	expect(fcntl(timers.once[0], F_GETFL) == (O_RDWR | O_NONBLOCK), "timer: flags");
	for (size_t i = 0; i < SIZE(clocks); i++)
		check_timers_of(i);
	expect(take(timers.waiting) == 1 && take(timers.waiting) == 0 &&
	       left_is(timers.waiting, 2 * FAR, 2 * FAR, 5), "timer that waits to be read");
	expect(left_is(timers.waited, 2 * FAR, 2 * FAR, 5) && take(timers.waited) == 1 &&
	       take(timers.waited) == 0, "timer that counts on with a tick");
	set_waiting();
	expect(left_is(timers.cancelable, FAR, 0, 0), "timer that is told when its clock is set");
	expect(take(timers.cancelable) == 0 && errno == EAGAIN, "the same: it was not set");
	clock_gettime(CLOCK_REALTIME, &now);
	must(clock_settime(CLOCK_REALTIME, &now), "clock_settime");
	expect(is_readable(timers.cancelable) && take(timers.cancelable) == 0 && errno == ECANCELED,
	       "the same: it was set");
	expect(ask_child('t') == 1, "timer: what a child sets");
	expect(left_is(timers.shared, 3 * FAR, 0, 0), "timer: what a child has set");
	setting = (struct itimerspec){ .it_value = { FAR, 0 } };
	timerfd_settime(timers.shared, 0, &setting, NULL);
}
