/* Counters */
static struct {
	int counting, zero, large, duplicate, telling, shared;
} counters;

static void make_counters(void)
{
	counters.counting = must(eventfd(3, EFD_CLOEXEC), "eventfd");
	counters.zero = must(eventfd(0, EFD_NONBLOCK), "eventfd");
	counters.large = must(eventfd(0, 0), "eventfd");
	must(put(counters.large, UINT32_MAX) ? 0 : -1, "write");
	counters.duplicate = must(fcntl(counters.counting, F_DUPFD, 100), "F_DUPFD");
	counters.telling = must(eventfd(0, EFD_NONBLOCK), "eventfd");
	must(fcntl(counters.telling, F_SETOWN, getpid()), "F_SETOWN");
	must(fcntl(counters.telling, F_SETSIG, SIGRTMIN + 7), "F_SETSIG");
	counters.shared = must(eventfd(0, EFD_NONBLOCK), "eventfd");
}

static void check_counters(void)
{
	expect(fcntl(counters.counting, F_GETFD) == FD_CLOEXEC &&
	       fcntl(counters.duplicate, F_GETFD) == 0, "eventfd: close-on-exec");
	expect(fcntl(counters.counting, F_GETFL) == O_RDWR, "eventfd: flags");
	expect(fcntl(counters.zero, F_GETFL) == (O_RDWR | O_NONBLOCK), "non-blocking eventfd: flags");
	expect(is_readable(counters.counting) && take(counters.counting) == 3, "eventfd: its count");
	expect(put(counters.duplicate, 3) && is_readable(counters.counting), "eventfd: its duplicate");
	expect(take(counters.zero) == 0 && errno == EAGAIN, "eventfd of nothing");
	expect(take(counters.large) == UINT32_MAX, "eventfd of 32 bits");
	put(counters.large, UINT32_MAX);
	expect(fcntl(counters.telling, F_GETOWN) == getpid() &&
	       fcntl(counters.telling, F_GETSIG) == SIGRTMIN + 7, "eventfd: whom it tells");
	expect(put(counters.shared, 41) && ask_child('e') == 41, "eventfd: what a child takes");
	expect(!is_readable(counters.shared), "eventfd: what a child has taken");
}
