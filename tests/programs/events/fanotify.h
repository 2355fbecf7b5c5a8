/* Groups of fanotify: marks on files, directories and a mount, and what they
 * ignore. */
#include <sys/fanotify.h>

static struct {
	int group, of_mount;
	char in_memory[64];
} fan;

static void mark(int group, unsigned int flags, uint64_t mask, const char *path)
{
	must(fanotify_mark(group, FAN_MARK_ADD | flags, mask, AT_FDCWD, path), path);
}

static void make_marks(void)
{
	fan.group = must(fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | FAN_UNLIMITED_QUEUE,
				       O_RDONLY | O_CLOEXEC), "fanotify_init");
	mark(fan.group, 0, FAN_MODIFY, "file");
	mark(fan.group, 0, FAN_CLOSE_WRITE | FAN_EVENT_ON_CHILD, "directory");
	mark(fan.group, FAN_MARK_IGNORED_MASK | FAN_MARK_IGNORED_SURV_MODIFY, FAN_CLOSE_WRITE, "directory/ignored");
	fan.of_mount = must(fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK, O_RDWR), "fanotify_init");
	mark(fan.of_mount, FAN_MARK_MOUNT, FAN_CLOSE_WRITE, "/dev/shm");
	snprintf(fan.in_memory, sizeof(fan.in_memory), "/dev/shm/fanotify.%d", getpid());
}

/* Whether this comes next of what this process does, with a file that is open in
 * this way. */
static int fan_comes(int group, uint64_t mask, const char *path, int flags, int is_cloexec)
{
	struct fanotify_event_metadata event;
	char link[32], target[256] = "", expected[256];

	do {
		if (read(group, &event, sizeof(event)) != sizeof(event))
			return 0;
		if (event.pid != getpid())
			close(event.fd);
	} while (event.pid != getpid());
	snprintf(link, sizeof(link), "/proc/self/fd/%d", event.fd);
	must((int)readlink(link, target, sizeof(target) - 1), link);
	flags = (fcntl(event.fd, F_GETFL) & O_ACCMODE) == flags && fcntl(event.fd, F_GETFD) == is_cloexec;
	close(event.fd);
	return event.mask == mask && flags && realpath(path, expected) && strcmp(target, expected) == 0;
}

static int nothing_of_us(int group)
{
	return !fan_comes(group, 0, "", 0, 0) && errno == EAGAIN;
}

/* Writes to a file that is there. */
static int overwrite(const char *path)
{
	int fd = open(path, O_WRONLY);

	return fd >= 0 && write(fd, "a", 1) == 1 && close(fd) == 0;
}

static void check_marks(void)
{
	int fd;

	expect(fcntl(fan.group, F_GETFL) == (O_RDWR | O_NONBLOCK) && fcntl(fan.group, F_GETFD) == FD_CLOEXEC &&
	       fcntl(fan.of_mount, F_GETFD) == 0, "fanotify: flags %o", fcntl(fan.group, F_GETFL));
	expect(nothing_of_us(fan.group) && nothing_of_us(fan.of_mount), "fanotify: what nobody did");
	expect(overwrite("file") && fan_comes(fan.group, FAN_MODIFY, "file", O_RDONLY, FD_CLOEXEC) &&
	       nothing_of_us(fan.group), "fanotify on a file");
	fd = open("directory/told", O_WRONLY | O_CREAT, 0600);
	expect(fd >= 0 && close(fd) == 0 &&
	       fan_comes(fan.group, FAN_CLOSE_WRITE, "directory/told", O_RDONLY, FD_CLOEXEC) &&
	       unlink("directory/told") == 0, "fanotify on what is in a directory");
	/* It is ignored still once it was modified. */
	for (int time = 0; time < 2; time++)
		expect(overwrite("directory/ignored") && nothing_of_us(fan.group), "fanotify: what is ignored");
	fd = open(fan.in_memory, O_WRONLY | O_CREAT, 0600);
	expect(fd >= 0 && close(fd) == 0 && fan_comes(fan.of_mount, FAN_CLOSE_WRITE, fan.in_memory, O_RDWR, 0) &&
	       nothing_of_us(fan.of_mount) && unlink(fan.in_memory) == 0, "fanotify on a mount");
}
