/* Files by path and without a name, directories, devices, locks. */
#include <sys/file.h>

static void check_file(struct thing *thing)
{
	struct stat is;
	int fd = thing->fd[0], reader = fd;
	static char bytes[70000];

	check_flags(thing);
	expect("close-on-exec of a file", fcntl(fd, F_GETFD), thing->number);
	expect("offset of a file", lseek(fd, 0, SEEK_CUR), thing->at);
	if ((thing->flags[0] & O_ACCMODE) == O_WRONLY)
		reader = open(thing->path, O_RDONLY);
	if (fstat(fd, &is) != 0 || is.st_size != thing->size)
		lost("%s: its size is not %ld", thing->kind, thing->size);
	else if (pread(reader, bytes, sizeof(bytes), 0) != thing->size ||
		 !holds(bytes, thing->pattern, 0, (size_t)thing->size))
		lost("%s: its content", thing->kind);
	if (reader != fd)
		close(reader);
	if (thing->fd[1] >= 0) {
		/* One open file by two descriptors. */
		lseek(fd, self.asked, SEEK_SET);
		expect("offset by a duplicate", lseek(thing->fd[1], 0, SEEK_CUR), self.asked);
		lseek(fd, thing->at, SEEK_SET);
	}
	if (thing->flags[0] & O_APPEND && (thing->flags[0] & O_ACCMODE) != O_RDONLY) {
		lseek(fd, 0, SEEK_SET);
		put(fd, thing->pattern, thing->size, 10);
		thing->size += 10;
		thing->at = thing->size;
	}
}

static void use_file(struct thing *thing, int fd)
{
	int numbers = 40 + (int)draw(150);

	must(fd, thing->path);
	/* Any number, and no two that follow each other. */
	thing->fd[0] = (int)must(fcntl(fd, chance(30) ? F_DUPFD_CLOEXEC : F_DUPFD, numbers), "F_DUPFD");
	close(fd);
	if (chance(30))
		thing->fd[1] = (int)must(fcntl(thing->fd[0], F_DUPFD, 4 + (int)draw(200)), "F_DUPFD");
	thing->number = fcntl(thing->fd[0], F_GETFD);
	keep_flags(thing);
	thing->at = lseek(thing->fd[0], 0, SEEK_CUR);
}

static void make_file(void)
{
	static const int accesses[] = { O_RDONLY, O_RDWR, O_WRONLY, O_RDWR | O_APPEND, O_WRONLY | O_APPEND };
	struct thing *thing = add("file", check_file);
	int fd = (int)must(open(thing->path, O_RDWR | O_CREAT | O_EXCL, 0600 | draw(64)), thing->path);

	thing->size = put(fd, thing->pattern, 0, chance(10) ? 0 : draw(60000));
	close(fd);
	fd = open(thing->path, accesses[draw(5)] | (chance(20) ? O_NONBLOCK : 0) | (chance(20) ? O_DSYNC : 0) |
		  (chance(20) ? O_NOATIME : 0));
	must(fd, thing->path);
	if (chance(50))
		lseek(fd, draw((unsigned)thing->size + 100), SEEK_SET);
	use_file(thing, fd);
}

static void make_deleted(void)
{
	struct thing *thing = add("deleted file", check_file);
	int fd;

	if (chance(30)) {
		fd = open(folder, O_TMPFILE | O_RDWR, 0600);
	} else {
		if (chance(50))
			snprintf(thing->path, sizeof(thing->path), "/dev/shm/random-%d.%d", getpid(), thing_count);
		fd = open(thing->path, O_RDWR | O_CREAT | O_EXCL | (chance(30) ? O_APPEND : 0), 0640);
		must(fd, thing->path);
		must(unlink(thing->path), "unlink");
	}
	thing->size = put((int)must(fd, "a file without a name"), thing->pattern, 0, draw(50000));
	use_file(thing, fd);
}

/* Opened before the fork: one offset for both. `number`: whether this is the child. */
static void check_shared_offset(struct thing *thing)
{
	int offset = self.asked * 10 + 3;

	check_flags(thing);
	if (thing->number)
		expect("offset that the parent has set", lseek(thing->fd[0], 0, SEEK_CUR), offset);
	else
		lseek(thing->fd[0], offset, SEEK_SET);
}

static int adopt_shared_offset(struct thing *thing)
{
	thing->number = 1;
	return 1;
}

static void make_shared_offset(void)
{
	struct thing *thing = add("file shared with a child", check_shared_offset);

	thing->number = 0;
	thing->fd[0] = (int)must(open(thing->path, O_RDWR | O_CREAT | O_EXCL, 0640), thing->path);
	put(thing->fd[0], thing->pattern, 0, draw(5000));
	if (chance(30))
		unlink(thing->path);
	thing->adopt = adopt_shared_offset;
	keep_flags(thing);
}

/* What is there on all systems: a path, and how it is opened. */
static const struct {
	const char *path;
	int flags;
} others[] = {
	{ "/dev/null", O_RDWR }, { "/dev/zero", O_RDONLY }, { "/dev/urandom", O_RDONLY },
	{ "/dev/full", O_WRONLY }, { "/proc/self/status", O_RDONLY }, { "/proc/meminfo", O_RDONLY },
	{ "/proc/self/fd", O_RDONLY | O_DIRECTORY }, { "/var/tmp", O_RDONLY | O_DIRECTORY },
	{ "/var", O_PATH }, { "/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY },
	{ "/etc/passwd", O_RDONLY }, { "/proc/self/exe", O_PATH }, { "/", O_RDONLY },
};

static void check_other(struct thing *thing)
{
	struct stat is, there;

	check_flags(thing);
	if (fstat(thing->fd[0], &is) != 0 || stat(thing->path, &there) != 0)
		lost("%s: it cannot be looked at", thing->path);
	else if (is.st_dev != there.st_dev || is.st_mode != there.st_mode || is.st_rdev != there.st_rdev ||
		 is.st_ino != there.st_ino)
		lost("%s: another one", thing->path);
}

static void make_other(void)
{
	struct thing *thing = add("file that all have", check_other);
	unsigned which = draw(sizeof(others) / sizeof(others[0]));

	snprintf(thing->path, sizeof(thing->path), "%s", others[which].path);
	thing->fd[0] = (int)must(open(thing->path, others[which].flags), thing->path);
	keep_flags(thing);
}

/* Locks; `number`: which kind. */
static struct flock of_range(const struct thing *thing, short type)
{
	return (struct flock){ .l_type = type, .l_whence = SEEK_SET, .l_start = thing->at, .l_len = thing->size };
}

/* By another process, which POSIX locks are in the way of. */
static int is_locked(const struct thing *thing)
{
	struct flock lock = of_range(thing, F_WRLCK);
	int status = 0, fd;
	pid_t child;

	if (thing->number == 1) {
		fd = open(thing->path, O_RDWR);
		status = flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
		close(fd);
		return status;
	}
	child = fork();
	if (child == 0) {
		fd = open(thing->path, O_RDWR);
		if (fd < 0 || fcntl(fd, thing->number == 2 ? F_OFD_GETLK : F_GETLK, &lock) != 0)
			_exit(2);
		_exit(lock.l_type == thing->flags[1] && lock.l_start == thing->at && lock.l_len == thing->size ? 0 : 1);
	}
	return waitpid(child, &status, 0) == child && status == 0;
}

static void check_lock(struct thing *thing)
{
	static const char *kinds[] = { "POSIX lock", "flock lock", "lock of an open file" };

	if (!is_locked(thing))
		lost("%s: it is not there", kinds[thing->number]);
}

static void make_lock(void)
{
	struct thing *thing = add("lock", check_lock);
	struct flock lock;

	/* What is locked for reading may also be locked for writing by whoever looks. */
	thing->number = (int)draw(3);
	thing->fd[0] = (int)must(open(thing->path, O_RDWR | O_CREAT | O_EXCL, 0600), thing->path);
	thing->flags[1] = chance(50) ? F_WRLCK : F_RDLCK;
	thing->at = draw(1000);
	thing->size = chance(30) ? 0 : 1 + draw(1000);
	lock = of_range(thing, (short)thing->flags[1]);
	if (thing->number == 1)
		must(flock(thing->fd[0], thing->flags[1] == F_WRLCK ? LOCK_EX : LOCK_SH), "flock");
	else
		must(fcntl(thing->fd[0], thing->number == 2 ? F_OFD_SETLK : F_SETLK, &lock), "F_SETLK");
}
