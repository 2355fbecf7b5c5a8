/* Descriptors that take signals; each is pending for this process. */
static struct {
	int one, set, changed;
} takers;

static int taker(const int *signals, size_t count, int flags)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < count; i++)
		sigaddset(&set, signals[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return must(signalfd(-1, &set, flags), "signalfd");
}

static void make_takers(void)
{
	const int one[] = { SIGRTMAX }, few[] = { SIGHUP, SIGTERM, SIGRTMIN }, other[] = { SIGWINCH };
	sigset_t set;

	takers.one = taker(one, 1, 0);
	takers.set = taker(few, 3, SFD_NONBLOCK | SFD_CLOEXEC);
	takers.changed = taker(one, 1, SFD_NONBLOCK);
	taker(other, 1, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGWINCH);
	must(signalfd(takers.changed, &set, 0), "signalfd");
	must(sigqueue(getpid(), SIGRTMAX, (union sigval){ .sival_int = 4711 }), "sigqueue");
	kill(getpid(), SIGTERM);
}

/* Which signal it gives, and the value with it. */
static int given(int fd, int *value)
{
	struct signalfd_siginfo info;

	if (read(fd, &info, sizeof(info)) != sizeof(info))
		return -1;
	if (value)
		*value = info.ssi_int;
	return (int)info.ssi_signo;
}

static void check_takers(void)
{
	int value = 0;

	expect(fcntl(takers.set, F_GETFL) == (O_RDWR | O_NONBLOCK) &&
	       fcntl(takers.set, F_GETFD) == FD_CLOEXEC, "signalfd: flags");
	expect(is_readable(takers.one) && given(takers.one, &value) == SIGRTMAX && value == 4711,
	       "signalfd: a signal that was pending, %d", value);
	sigqueue(getpid(), SIGRTMAX, (union sigval){ .sival_int = 4711 });
	expect(given(takers.set, NULL) == SIGTERM && given(takers.set, NULL) == -1 && errno == EAGAIN,
	       "signalfd: the only one that was pending");
	for (size_t i = 0; i < 3; i++) {
		int signals[] = { SIGHUP, SIGRTMIN, SIGTERM };

		kill(getpid(), signals[i]);
		expect(given(takers.set, NULL) == signals[i], "signalfd: signal %d", signals[i]);
	}
	kill(getpid(), SIGTERM);
	expect(given(takers.changed, NULL) == -1 && errno == EAGAIN, "signalfd: what it took before");
	kill(getpid(), SIGWINCH);
	expect(given(takers.changed, NULL) == SIGWINCH, "signalfd: what it takes since");
}
