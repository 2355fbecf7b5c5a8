/* Instances of inotify, and epoll on one. */
static struct {
	int instance, empty, poll, directory, file, root, memory;
	char in_memory[64];
} watches;

static int watch_path(int instance, const char *path, uint32_t mask)
{
	return must(inotify_add_watch(instance, path, mask), path);
}

static void make_watches(void)
{
	int gone;

	watches.instance = must(inotify_init1(IN_NONBLOCK | IN_CLOEXEC), "inotify_init1");
	watches.empty = must(inotify_init1(0), "inotify_init1");
	watches.directory = watch_path(watches.instance, "directory", IN_CREATE | IN_DELETE | IN_MOVED_FROM);
	/* Numbers are not without gaps. */
	gone = watch_path(watches.instance, "/var", IN_CREATE);
	watches.file = watch_path(watches.instance, "file", IN_MODIFY | IN_ATTRIB);
	watches.root = watch_path(watches.instance, "/", IN_DELETE_SELF | IN_MOVE_SELF);
	watches.memory = watch_path(watches.instance, "/dev/shm", IN_CREATE);
	must(inotify_rm_watch(watches.instance, gone), "inotify_rm_watch");
	must((int)read(watches.instance, watches.in_memory, sizeof(watches.in_memory)), "IN_IGNORED");
	snprintf(watches.in_memory, sizeof(watches.in_memory), "/dev/shm/events.%d", getpid());
	watches.poll = must(epoll_create1(0), "epoll_create1");
	watch(watches.poll, watches.instance, EPOLLIN, 1);
}

/* Whether this event comes next. */
static int comes(int wd, uint32_t mask, const char *name)
{
	static char events[4096] __attribute__((aligned(8)));
	static ssize_t count, at;
	struct inotify_event *event;

	if (at >= count) {
		at = 0;
		count = read(watches.instance, events, sizeof(events));
		if (count <= 0)
			return 0;
	}
	event = (struct inotify_event *)(events + at);
	at += (ssize_t)(sizeof(*event) + event->len);
	return event->wd == wd && event->mask == mask && strcmp(event->len ? event->name : "", name) == 0;
}

static int nothing_comes(void)
{
	return !is_readable(watches.instance) && !comes(-1, 0, "") && errno == EAGAIN;
}

/* What a process does that is not told of is opening and writing. */
static int make_and_remove(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);

	return fd >= 0 && write(fd, "a", 1) == 1 && close(fd) == 0 && unlink(path) == 0;
}

static void check_watches(void)
{
	int fd, next;

	expect(fcntl(watches.instance, F_GETFL) == O_NONBLOCK && fcntl(watches.instance, F_GETFD) == FD_CLOEXEC &&
	       fcntl(watches.empty, F_GETFL) == 0 && fcntl(watches.empty, F_GETFD) == 0, "inotify: flags");
	expect(nothing_comes() && told_of(watches.poll) == 0, "inotify: what nobody did");
	expect(make_and_remove("directory/here") && told_of(watches.poll) == 1 << 1 &&
	       comes(watches.directory, IN_CREATE, "here") && comes(watches.directory, IN_DELETE, "here") &&
	       nothing_comes(), "inotify on a directory");
	fd = open("file", O_RDWR);
	expect(write(fd, "a", 1) == 1 && comes(watches.file, IN_MODIFY, ""), "inotify on a file");
	expect(fchmod(fd, 0640) == 0 && comes(watches.file, IN_ATTRIB, "") && nothing_comes(), "inotify on a file's mode");
	close(fd);
	expect(make_and_remove(watches.in_memory) &&
	       comes(watches.memory, IN_CREATE, strrchr(watches.in_memory, '/') + 1) && nothing_comes(),
	       "inotify on a file system in memory");
	expect(ask_child('w') == 1 && comes(watches.directory, IN_CREATE, "of_child") &&
	       comes(watches.directory, IN_DELETE, "of_child") && nothing_comes(), "inotify: what a child does");
	/* The number of what is watched already, with its events added to. */
	expect(inotify_add_watch(watches.instance, "/", IN_DELETE_SELF | IN_MASK_ADD) == watches.root,
	       "inotify on the root directory");
	next = inotify_add_watch(watches.instance, "/usr", IN_CREATE);
	expect(next > watches.memory && inotify_rm_watch(watches.instance, next) == 0 && comes(next, IN_IGNORED, "") &&
	       nothing_comes(), "inotify: another watch");
}
