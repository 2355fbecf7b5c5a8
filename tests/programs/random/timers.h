/* Timers of timer_create() and setitimer(). */

#define FAR 100000L

static volatile sig_atomic_t ticks[MAX_THINGS], alarms[3];
/* What a process can have one of, and one of each kind. A fork leaves both. */
static int holds_one, interval_timers;

static void forget_timers(void)
{
	holds_one = interval_timers = 0;
}

static void on_tick(int signal, siginfo_t *info, void *context)
{
	(void)context;
	if (signal == SIGALRM)
		alarms[ITIMER_REAL]++;
	else if (signal == SIGVTALRM)
		alarms[ITIMER_VIRTUAL]++;
	else if (signal == SIGPROF)
		alarms[ITIMER_PROF]++;
	else if (info->si_code == SI_TIMER && (unsigned)info->si_value.sival_int < MAX_THINGS)
		ticks[info->si_value.sival_int]++;
}

static void handle_ticks(void)
{
	struct sigaction action = { .sa_sigaction = on_tick, .sa_flags = SA_SIGINFO | SA_RESTART };

	sigaction(TICK, &action, NULL);
	sigaction(SIGALRM, &action, NULL);
	sigaction(SIGVTALRM, &action, NULL);
	sigaction(SIGPROF, &action, NULL);
}

/* Uses CPU time, of which a timer may tell. */
static void burn(void)
{
	for (volatile int i = 0; i < 1000000; i++)
		;
}

/* FAR, of which a moment has gone by; to a tick, by which the kernel rounds. */
static int is_far(int64_t left)
{
	return left > (FAR - 7200) * 1000000000LL && left <= (FAR + 1) * 1000000000LL;
}

enum { ONCE, OFTEN, OFF, HOLDING };

/* `number` is its ID, `at` what is expected of it. */
static void check_timer(struct thing *thing)
{
	const struct timespec no_time = { 0, 0 };
	int index = (int)(thing - things), before = ticks[index];
	struct itimerspec setting;
	siginfo_t info;
	sigset_t set;

	if (syscall(SYS_timer_gettime, thing->number, &setting) != 0) {
		lost("timer %d: it is not there", thing->number);
		return;
	}
	if (nanoseconds(setting.it_interval) != thing->size)
		lost("timer %d on clock %d: interval %ld instead of %ld", thing->number, thing->flags[0],
		     (long)nanoseconds(setting.it_interval), thing->size);
	switch (thing->at) {
	case ONCE:
		if (!is_far(nanoseconds(setting.it_value)))
			lost("timer %d on clock %d: %ld s left", thing->number, thing->flags[0], setting.it_value.tv_sec);
		break;
	case OFF:
		expect("what a timer that is off has left", nanoseconds(setting.it_value), 0);
		break;
	case OFTEN:
		if (!COMES_TRUE(ticks[index] > before + 1, burn()))
			lost("timer %d on clock %d: it does not fire", thing->number, thing->flags[0]);
		break;
	case HOLDING:
		sigemptyset(&set);
		sigaddset(&set, HELD);
		if (sigtimedwait(&set, &info, &no_time) != HELD || info.si_code != SI_TIMER ||
		    info.si_timerid != thing->number || info.si_value.sival_int != index)
			lost("timer %d: its pending signal", thing->number);
		setting = (struct itimerspec){ .it_value = { 0, 1 } };
		syscall(SYS_timer_settime, thing->number, 0, &setting, NULL);
		if (!COMES_TRUE(sigpending(&set) == 0 && sigismember(&set, HELD), usleep(1000)))
			lost("timer %d: it does not fire again", thing->number);
	}
}

static void make_timer(void)
{
	static const clockid_t clocks[] = { CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI,
		CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID };
	struct thing *thing = add("timer", check_timer);
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = TICK };
	struct itimerspec setting = { .it_value = { 0, 0 } };
	int flags = 0;

	thing->at = draw(4);
	if (thing->at == HOLDING && holds_one++)
		thing->at = OFTEN;
	thing->flags[0] = clocks[draw(thing->at == HOLDING ? 4 : 6)];
	event.sigev_value.sival_int = (int)(thing - things);
	if (thing->at == HOLDING)
		event.sigev_signo = HELD;
	else if (thing->at != OFTEN && chance(30))
		event.sigev_notify = SIGEV_NONE;
	must(syscall(SYS_timer_create, thing->flags[0], &event, &thing->number), "timer_create");
	switch (thing->at) {
	case ONCE:
		setting.it_value.tv_sec = FAR;
		setting.it_interval.tv_sec = chance(50) ? 1 + (long)draw(1000) : 0;
		if (chance(30)) {
			struct timespec time;

			clock_gettime(thing->flags[0], &time);
			setting.it_value.tv_sec += time.tv_sec;
			flags = TIMER_ABSTIME;
		}
		break;
	case OFTEN:
		setting.it_value.tv_nsec = 1000000L + draw(50000000);
		setting.it_interval.tv_nsec = 50000000L + draw(200000000);
		break;
	case HOLDING:
		setting.it_value.tv_nsec = 1;
	}
	must(syscall(SYS_timer_settime, thing->number, flags, &setting, NULL), "timer_settime");
	thing->size = nanoseconds(setting.it_interval);
	if (thing->at == HOLDING) {
		sigset_t set;

		must(COMES_TRUE(sigpending(&set) == 0 && sigismember(&set, HELD), usleep(1000)) ? 0 : -1, "a timer's signal");
	}
}

static int64_t microseconds(struct timeval time)
{
	return time.tv_sec * 1000000LL + time.tv_usec;
}

/* `number`: which one of the three; `at`: whether it fires often. */
static void check_interval_timer(struct thing *thing)
{
	int before = alarms[thing->number];
	struct itimerval setting;

	must(getitimer(thing->number, &setting), "getitimer");
	/* CRIU gives one that fires once an interval of many years. */
	if (thing->size && microseconds(setting.it_interval) != thing->size)
		lost("interval timer %d: %ld us instead of %ld", thing->number,
		     (long)microseconds(setting.it_interval), thing->size);
	if (thing->at ? !COMES_TRUE(alarms[thing->number] > before + 1, burn())
		      : !is_far(microseconds(setting.it_value) * 1000))
		lost("interval timer %d: it does not fire in time", thing->number);
}

static void make_interval_timer(void)
{
	struct itimerval setting = { .it_value = { FAR, 0 } };
	struct thing *thing;

	if (interval_timers == 3)
		return;
	thing = add("interval timer", check_interval_timer);
	thing->number = interval_timers++;
	thing->at = chance(50);
	if (thing->at)
		setting.it_interval.tv_usec = setting.it_value.tv_usec = 50000 + draw(200000);
	else if (chance(50))
		setting.it_interval.tv_sec = 1 + draw(1000);
	if (thing->at)
		setting.it_value.tv_sec = 0;
	must(setitimer(thing->number, &setting, NULL), "setitimer");
	thing->size = microseconds(setting.it_interval);
}
