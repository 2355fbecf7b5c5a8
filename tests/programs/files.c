/*
 * files FOLDER KIND...: opens files of these kinds, prints "ready" and waits.
 * At SIGUSR1 it looks whether all of them are as they were, which uses up what
 * pipes hold, prints "FAIL WHAT" for each that is not, and "done, N failures".
 * FOLDER is there and empty, but for "fifo", a FIFO, and "data", a file of
 * 64 KiB of any content.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

/* The kernel's; that of 64-bit programs is 0. */
#define LARGEFILE 0100000
#define SIZE(array) (sizeof(array) / sizeof((array)[0]))

static volatile sig_atomic_t told;

static int in_folder(const char *name, int flags, mode_t mode)
{
	return must(open(name, flags, mode), name);
}

static char pattern(unsigned seed, size_t at)
{
	return (char)((at + seed) * 2654435761u >> 13);
}

static void put(int fd, unsigned seed, size_t from, size_t count)
{
	char bytes[512];

	while (count > 0) {
		size_t part = count < sizeof(bytes) ? count : sizeof(bytes);

		for (size_t i = 0; i < part; i++)
			bytes[i] = pattern(seed, from + i);
		if (write(fd, bytes, part) != (ssize_t)part) {
			perror("write");
			exit(1);
		}
		from += part;
		count -= part;
	}
}

/* Whether `count` bytes of the pattern come next. */
static int get(int fd, unsigned seed, size_t from, size_t count)
{
	char bytes[512];

	while (count > 0) {
		ssize_t part = read(fd, bytes, count < sizeof(bytes) ? count : sizeof(bytes));

		if (part <= 0)
			return 0;
		for (ssize_t i = 0; i < part; i++)
			if (bytes[i] != pattern(seed, from + (size_t)i))
				return 0;
		from += (size_t)part;
		count -= (size_t)part;
	}
	return 1;
}

static int waiting(int fd)
{
	int bytes = -1;

	ioctl(fd, FIONREAD, &bytes);
	return bytes;
}

/* Pipes and FIFOs. Each pipe is empty again when it has been looked at. */
static struct {
	int partly[2], wrapped[2], large[2], full[2], spliced[2], only_read[2], only_write[2];
	int nonblocking[2], telling[2];
	int fifo_both, fifo_read, fifo_write, duplicate;
} pipes;
static char gift[4096] __attribute__((aligned(4096)));
static char file_data[5000];

static void make_pipes(void)
{
	struct f_owner_ex owner = { F_OWNER_PID, getpid() };
	struct iovec memory = { gift, sizeof(gift) };
	loff_t offset = 1000;
	int data;

	must(pipe(pipes.partly), "pipe");
	put(pipes.partly[1], 1, 0, 10000);
	get(pipes.partly[0], 1, 0, 1000);
	put(pipes.partly[1], 1, 10000, 300);
	/* The ring's numbers have gone around, and the data goes around its end. */
	must(pipe(pipes.wrapped), "pipe");
	for (int i = 0; i < 20; i++) {
		put(pipes.wrapped[1], 2, 0, 12288);
		get(pipes.wrapped[0], 2, 0, 12288);
	}
	put(pipes.wrapped[1], 2, 0, 60000);
	must(pipe2(pipes.large, O_CLOEXEC), "pipe2");
	must(fcntl(pipes.large[1], F_SETPIPE_SZ, 1 << 18), "F_SETPIPE_SZ");
	put(pipes.large[1], 3, 0, 200000);
	must(pipe(pipes.full), "pipe");
	must(fcntl(pipes.full[1], F_SETPIPE_SZ, 4096), "F_SETPIPE_SZ");
	put(pipes.full[1], 4, 0, 4096);
	/* Frames of the page cache, and of this process. */
	must(pipe(pipes.spliced), "pipe");
	data = in_folder("data", O_RDONLY, 0);
	must((int)pread(data, file_data, sizeof(file_data), offset), "pread");
	must((int)splice(data, &offset, pipes.spliced[1], NULL, sizeof(file_data), 0), "splice");
	close(data);
	for (size_t i = 0; i < sizeof(gift); i++)
		gift[i] = pattern(5, i);
	must((int)vmsplice(pipes.spliced[1], &memory, 1, 0), "vmsplice");
	must(pipe(pipes.only_read), "pipe");
	put(pipes.only_read[1], 6, 0, 700);
	close(pipes.only_read[1]);
	must(pipe(pipes.only_write), "pipe");
	close(pipes.only_write[0]);
	must(pipe(pipes.nonblocking), "pipe");
	must(fcntl(pipes.nonblocking[0], F_SETFL, O_NONBLOCK), "F_SETFL");
	pipes.duplicate = must(fcntl(pipes.nonblocking[0], F_DUPFD_CLOEXEC, 200), "F_DUPFD_CLOEXEC");
	must(pipe(pipes.telling), "pipe");
	must(fcntl(pipes.telling[0], F_SETOWN_EX, &owner), "F_SETOWN_EX");
	must(fcntl(pipes.telling[0], F_SETSIG, SIGRTMIN + 1), "F_SETSIG");
	must(fcntl(pipes.telling[0], F_SETFL, O_ASYNC), "F_SETFL");

	pipes.fifo_both = in_folder("fifo", O_RDWR, 0);
	pipes.fifo_read = in_folder("fifo", O_RDONLY | O_NONBLOCK, 0);
	pipes.fifo_write = in_folder("fifo", O_WRONLY, 0);
	put(pipes.fifo_write, 7, 0, 5000);
	get(pipes.fifo_read, 7, 0, 11);
}

static void check_pipes(void)
{
	struct f_owner_ex owner = { -1, -1 };
	char byte = 0, bytes[sizeof(file_data)];

	expect(waiting(pipes.partly[0]) == 9300, "pipe: what is left of its data");
	expect(get(pipes.partly[0], 1, 1000, 9300), "pipe: data");
	expect(fcntl(pipes.partly[1], F_GETPIPE_SZ) == 65536, "pipe: size");
	expect(waiting(pipes.wrapped[0]) == 60000, "pipe around its end");
	expect(get(pipes.wrapped[0], 2, 0, 60000), "pipe around its end: data");
	expect(fcntl(pipes.large[0], F_GETPIPE_SZ) == 1 << 18, "large pipe: size");
	expect(get(pipes.large[0], 3, 0, 200000), "large pipe: data");
	expect(fcntl(pipes.large[0], F_GETFD) == FD_CLOEXEC, "large pipe: close-on-exec");
	expect(fcntl(pipes.full[0], F_GETPIPE_SZ) == 4096, "full pipe: size");
	fcntl(pipes.full[1], F_SETFL, O_NONBLOCK);
	expect(write(pipes.full[1], &byte, 1) == -1 && errno == EAGAIN, "full pipe: there is room");
	expect(get(pipes.full[0], 4, 0, 4096), "full pipe: data");
	expect(read(pipes.spliced[0], bytes, sizeof(bytes)) == sizeof(bytes) &&
	       memcmp(bytes, file_data, sizeof(bytes)) == 0, "spliced data");
	expect(get(pipes.spliced[0], 5, 0, sizeof(gift)), "vmspliced data");
	expect(get(pipes.only_read[0], 6, 0, 700), "pipe without a writer: data");
	expect(read(pipes.only_read[0], &byte, 1) == 0, "pipe without a writer: end");
	expect(write(pipes.only_write[1], &byte, 1) == -1 && errno == EPIPE, "pipe without a reader");
	expect(read(pipes.nonblocking[0], &byte, 1) == -1 && errno == EAGAIN, "non-blocking pipe");
	expect(fcntl(pipes.nonblocking[1], F_GETFL) == O_WRONLY, "blocking end");
	/* One open file: what is changed by one descriptor, the other shows. */
	expect(fcntl(pipes.duplicate, F_GETFD) == FD_CLOEXEC, "duplicate: close-on-exec");
	expect(fcntl(pipes.nonblocking[0], F_GETFD) == 0, "original: close-on-exec");
	fcntl(pipes.nonblocking[0], F_SETFL, 0);
	expect((fcntl(pipes.duplicate, F_GETFL) & O_NONBLOCK) == 0, "duplicate: no longer one");

	expect(fcntl(pipes.telling[0], F_GETOWN_EX, &owner) == 0 && owner.type == F_OWNER_PID &&
	       owner.pid == getpid(), "F_GETOWN_EX: %d %d", owner.type, owner.pid);
	expect(fcntl(pipes.telling[0], F_GETSIG) == SIGRTMIN + 1, "F_GETSIG");
	expect(fcntl(pipes.telling[0], F_GETFL) & O_ASYNC, "O_ASYNC");
	told = 0;
	expect(write(pipes.telling[1], &byte, 1) == 1 && told == 1, "a signal for what was written");
	expect(read(pipes.telling[0], &byte, 1) == 1, "what was written");

	expect(fcntl(pipes.fifo_both, F_GETFL) == (O_RDWR | LARGEFILE), "FIFO: flags of both");
	expect(fcntl(pipes.fifo_read, F_GETFL) == (O_RDONLY | O_NONBLOCK | LARGEFILE),
	       "FIFO: flags of the reader");
	expect(waiting(pipes.fifo_read) == 4989, "FIFO: what is left of its data");
	expect(get(pipes.fifo_read, 7, 11, 4989), "FIFO: data");
	put(pipes.fifo_both, 8, 0, 9);
	expect(get(pipes.fifo_read, 8, 0, 9), "FIFO: ends belong together");
	put(pipes.fifo_write, 8, 0, 9);
	expect(get(pipes.fifo_both, 8, 0, 9), "FIFO: ends belong together the other way");
}

/* Locks on files of the folder. */
static struct {
	int posix, posix_again, flock, ofd, leased, leased_alone;
} locks;

static int range(int fd, int command, short type, off_t start, off_t length)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length };

	return fcntl(fd, command, &lock);
}

static void make_locks(void)
{
	locks.posix = in_folder("posix", O_RDWR | O_CREAT, 0644);
	locks.posix_again = in_folder("posix", O_RDONLY, 0);
	must(range(locks.posix, F_SETLK, F_WRLCK, 10, 20), "F_SETLK");
	must(range(locks.posix, F_SETLK, F_RDLCK, 100, 0), "F_SETLK");
	must(range(locks.posix_again, F_SETLK, F_RDLCK, 50, 1), "F_SETLK");
	must(dup(locks.posix), "dup");
	locks.flock = in_folder("flock", O_RDONLY | O_CREAT, 0644);
	must(flock(locks.flock, LOCK_EX), "flock");
	must(flock(in_folder("data", O_RDONLY, 0), LOCK_SH), "flock");
	locks.ofd = in_folder("ofd", O_RDWR | O_CREAT, 0644);
	must(range(locks.ofd, F_OFD_SETLK, F_WRLCK, 1L << 40, 4096), "F_OFD_SETLK");
	locks.leased = in_folder("leased", O_RDONLY | O_CREAT, 0644);
	must(fcntl(locks.leased, F_SETLEASE, F_RDLCK), "F_SETLEASE");
	locks.leased_alone = in_folder("alone", O_RDWR | O_CREAT, 0644);
	must(fcntl(locks.leased_alone, F_SETLEASE, F_WRLCK), "F_SETLEASE");
}

/* What another process finds of the lock that is in the way. */
static int other_finds(const char *file, int command, short type, off_t start, off_t length)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start };
		int fd = open(file, O_RDWR);

		if (command == F_OFD_GETLK)
			lock.l_pid = 0;
		if (fd < 0 || fcntl(fd, command, &lock) != 0)
			_exit(2);
		_exit(!(lock.l_type == type && lock.l_start == start && lock.l_len == length &&
			(command == F_OFD_GETLK || lock.l_pid == getppid())));
	}
	return waitpid(child, &status, 0) == child && status == 0;
}

static void check_locks(void)
{
	int fd;

	expect(other_finds("posix", F_GETLK, F_WRLCK, 10, 20), "POSIX lock for writing");
	expect(other_finds("posix", F_GETLK, F_RDLCK, 50, 1), "POSIX lock by another open file");
	expect(other_finds("posix", F_GETLK, F_RDLCK, 100, 0), "POSIX lock to the end");
	expect(other_finds("ofd", F_OFD_GETLK, F_WRLCK, 1L << 40, 4096), "lock of an open file");
	fd = open("flock", O_RDONLY);
	expect(flock(fd, LOCK_SH | LOCK_NB) == -1 && errno == EWOULDBLOCK, "flock()");
	/* It is the open file's own. */
	expect(flock(locks.flock, LOCK_UN) == 0 && flock(fd, LOCK_SH | LOCK_NB) == 0, "flock() undone");
	fd = open("data", O_RDONLY);
	expect(flock(fd, LOCK_SH | LOCK_NB) == 0, "shared flock()");
	expect(flock(fd, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK, "shared flock() is one");
	expect(fcntl(locks.leased, F_GETLEASE) == F_RDLCK, "lease for reading");
	expect(fcntl(locks.leased_alone, F_GETLEASE) == F_WRLCK, "lease for writing");
	told = 0;
	expect(open("alone", O_RDONLY | O_NONBLOCK) == -1 && errno == EWOULDBLOCK && told == 1,
	       "lease that is broken");
}

/* Files that are opened again by their path. */
static struct {
	int append, far, found_file, found_directory, found_link, direct, unsynced;
	int directory, zero, maps, memory, own_directory, meminfo, sysfs;
} paths;

static void make_paths(void)
{
	struct f_owner_ex owner = { F_OWNER_PID, getpid() };
	char name[64], bytes[100];

	paths.append = in_folder("append", O_WRONLY | O_APPEND | O_CREAT, 0640);
	put(paths.append, 20, 0, 1000);
	paths.far = in_folder("far", O_RDWR | O_CREAT | O_EXCL, 0600);
	put(paths.far, 21, 0, 100);
	must(fcntl(paths.far, F_SETOWN_EX, &owner), "F_SETOWN_EX");
	must(fcntl(paths.far, F_SETSIG, SIGUSR2), "F_SETSIG");
	lseek(paths.far, 1L << 40, SEEK_SET);
	paths.found_file = in_folder("data", O_PATH, 0);
	paths.found_directory = in_folder(".", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
	must(symlink("nowhere", "link"), "symlink");
	paths.found_link = in_folder("link", O_PATH | O_NOFOLLOW, 0);
	paths.direct = in_folder("data", O_RDONLY | O_DIRECT | O_NOATIME, 0);
	lseek(paths.direct, 4096, SEEK_SET);
	paths.unsynced = in_folder("data", O_RDWR | O_DSYNC | O_NONBLOCK, 0);
	paths.directory = in_folder("/var", O_RDONLY | O_DIRECTORY, 0);
	paths.zero = in_folder("/dev/zero", O_RDWR, 0);
	paths.maps = in_folder("/proc/self/status", O_RDONLY, 0);
	must((int)read(paths.maps, bytes, 30), "read");
	paths.memory = in_folder("/proc/self/mem", O_RDWR, 0);
	snprintf(name, sizeof(name), "/proc/%d/task/%d", getpid(), getpid());
	paths.own_directory = in_folder(name, O_RDONLY | O_DIRECTORY, 0);
	paths.meminfo = in_folder("/proc/meminfo", O_RDONLY, 0);
	paths.sysfs = in_folder("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY, 0);
}

static void check_paths(void)
{
	static char aligned[4096] __attribute__((aligned(4096)));
	struct f_owner_ex owner = { -1, -1 };
	char bytes[200] = "", name[64], link[64] = "";
	uint64_t word = 0, probe = 0x1234567890abcdef;
	struct stat st;
	int fd;

	expect(lseek(paths.append, 0, SEEK_CUR) == 1000, "appending: offset");
	lseek(paths.append, 0, SEEK_SET);
	put(paths.append, 20, 1000, 10);
	fd = open("append", O_RDONLY);
	expect(get(fd, 20, 0, 1010), "appending: content");
	expect(lseek(paths.far, 0, SEEK_CUR) == 1L << 40, "large offset");
	expect(fcntl(paths.far, F_GETFL) == (O_RDWR | LARGEFILE), "flags");
	expect(fcntl(paths.far, F_GETOWN_EX, &owner) == 0 && owner.pid == getpid() &&
	       owner.type == F_OWNER_PID, "owner of a file");
	expect(fcntl(paths.far, F_GETSIG) == SIGUSR2, "signal of a file");
	expect(read(paths.found_file, bytes, 1) == -1 && errno == EBADF &&
	       fstat(paths.found_file, &st) == 0 && st.st_size == 65536, "O_PATH: file");
	expect(faccessat(paths.found_directory, "data", F_OK, 0) == 0 &&
	       fcntl(paths.found_directory, F_GETFD) == FD_CLOEXEC, "O_PATH: directory");
	expect(readlinkat(paths.found_link, "", link, sizeof(link) - 1) == 7 &&
	       strcmp(link, "nowhere") == 0, "O_PATH: symbolic link");
	expect(fcntl(paths.direct, F_GETFL) == (O_RDONLY | O_DIRECT | O_NOATIME | LARGEFILE),
	       "O_DIRECT: flags %o", fcntl(paths.direct, F_GETFL));
	expect(read(paths.direct, aligned, 4096) == 4096 && lseek(paths.direct, 0, SEEK_CUR) == 8192,
	       "O_DIRECT: reading");
	expect(fcntl(paths.unsynced, F_GETFL) == (O_RDWR | O_DSYNC | O_NONBLOCK | LARGEFILE),
	       "O_DSYNC: flags");
	expect(faccessat(paths.directory, "tmp", F_OK, 0) == 0, "directory");
	expect(read(paths.zero, bytes, 9) == 9 && bytes[8] == 0, "/dev/zero");
	expect(lseek(paths.maps, 0, SEEK_CUR) == 30, "/proc/self/status: offset");
	lseek(paths.maps, 0, SEEK_SET);
	expect(read(paths.maps, bytes, 11) == 11 && memcmp(bytes, "Name:\tfiles", 11) == 0,
	       "/proc/self/status: content");
	expect(pread(paths.memory, &word, sizeof(word), (off_t)(uintptr_t)&probe) == sizeof(word) &&
	       word == probe, "/proc/self/mem");
	snprintf(name, sizeof(name), "/proc/%d/task/%d/comm", getpid(), getpid());
	expect(faccessat(paths.own_directory, "comm", F_OK, 0) == 0 &&
	       access(name, F_OK) == 0, "directory of /proc");
	expect(read(paths.meminfo, bytes, 9) == 9 && memcmp(bytes, "MemTotal:", 9) == 0,
	       "/proc/meminfo");
	expect(read(paths.sysfs, bytes, 199) > 0 && strstr(bytes, "madvise") != NULL, "/sys");
}

/* What CRIU itself does not dump: it asks for the size of the pipe. */
static int found_fifo;

static void make_found_fifo(void)
{
	found_fifo = in_folder("fifo", O_PATH, 0);
}

static void check_found_fifo(void)
{
	struct stat st;
	char byte;

	expect(fstat(found_fifo, &st) == 0 && S_ISFIFO(st.st_mode) &&
	       read(found_fifo, &byte, 1) == -1 && errno == EBADF, "O_PATH: FIFO");
}

/* Files without a name. */
static struct {
	int small, small_again, empty, holes, on_disk, nameless, directory, directory_again;
} deleted;

static int make_deleted_directory(const char *name, mode_t mode)
{
	int fd;

	must(mkdir(name, 0700), name);
	must(chmod(name, mode), "chmod");
	fd = in_folder(name, O_RDONLY | O_DIRECTORY, 0);
	must(unlinkat(AT_FDCWD, name, AT_REMOVEDIR), "rmdir");
	return fd;
}

static int make_deleted_file(const char *name, int flags)
{
	int fd = in_folder(name, flags | O_CREAT, 0640);

	must(unlink(name), "unlink");
	return fd;
}

static void make_deleted(void)
{
	struct timespec times[2] = { { 1000000000, 123456000 }, { 1100000000, 654321000 } };

	/* That of an earlier run. */
	unlink("/dev/shm/small");
	deleted.small = in_folder("/dev/shm/small", O_RDWR | O_CREAT, 0604);
	put(deleted.small, 30, 0, 5000);
	deleted.small_again = in_folder("/dev/shm/small", O_RDONLY, 0);
	lseek(deleted.small_again, 4000, SEEK_SET);
	must(fchown(deleted.small, 12, 34), "fchown");
	must(futimens(deleted.small, times), "futimens");
	must(unlink("/dev/shm/small"), "unlink");
	/* Another one has its name now. */
	close(in_folder("/dev/shm/small", O_RDWR | O_CREAT, 0644));
	deleted.empty = make_deleted_file("empty", O_RDWR);
	deleted.holes = make_deleted_file("/dev/shm/holes", O_RDWR);
	lseek(deleted.holes, 100000, SEEK_SET);
	put(deleted.holes, 31, 0, 20000);
	lseek(deleted.holes, 3000000, SEEK_SET);
	put(deleted.holes, 32, 0, 77);
	must(ftruncate(deleted.holes, 5000001), "ftruncate");
	must(fallocate(deleted.holes, FALLOC_FL_KEEP_SIZE, 4000000, 8192), "fallocate");
	deleted.on_disk = make_deleted_file("gone", O_RDWR | O_APPEND);
	put(deleted.on_disk, 33, 0, 200001);
	deleted.nameless = in_folder(".", O_TMPFILE | O_RDWR, 0600);
	put(deleted.nameless, 34, 0, 12288);
	deleted.directory = make_deleted_directory("/dev/shm/left", 01751);
	must(fchown(deleted.directory, 12, 34), "fchown");
	must(futimens(deleted.directory, times), "futimens");
	deleted.directory_again = must(dup(deleted.directory), "dup");
	must(mkdir("left", 0750), "left");
	must(chdir("left"), "left");
	must(rmdir("../left"), "rmdir");
}

static int has_zeros(int fd, off_t at, size_t count)
{
	char byte = 1;

	for (size_t i = 0; i < count; i += 511)
		if (pread(fd, &byte, 1, at + (off_t)i) != 1 || byte != 0)
			return 0;
	return 1;
}

static void check_deleted(void)
{
	char path[256] = "";
	struct stat st;

	expect(lseek(deleted.small, 0, SEEK_CUR) == 5000, "deleted: offset");
	expect(get(deleted.small_again, 30, 4000, 1000), "deleted: content at an offset");
	lseek(deleted.small, 0, SEEK_SET);
	expect(get(deleted.small, 30, 0, 5000), "deleted: content");
	expect(fstat(deleted.small, &st) == 0 && st.st_nlink == 0 && st.st_uid == 12 &&
	       st.st_gid == 34 && st.st_mode == (S_IFREG | 0604), "deleted: owner and mode");
	expect(st.st_mtim.tv_sec == 1100000000 && st.st_mtim.tv_nsec == 654321000, "deleted: time");
	expect(pwrite(deleted.small, "x", 1, 0) == 1 && pread(deleted.small_again, &st, 1, 0) == 1 &&
	       *(char *)&st == 'x', "deleted: one file by two descriptors");
	expect(fstat(deleted.empty, &st) == 0 && st.st_size == 0 && st.st_nlink == 0, "empty");
	expect(fstat(deleted.holes, &st) == 0 && st.st_size == 5000001, "holes: size");
	expect(st.st_blocks < 200, "holes: they take %ld", (long)st.st_blocks);
	expect(has_zeros(deleted.holes, 0, 100000) && has_zeros(deleted.holes, 120000, 2880000) &&
	       has_zeros(deleted.holes, 3000077, 2000000), "holes: zeros");
	lseek(deleted.holes, 100000, SEEK_SET);
	expect(get(deleted.holes, 31, 0, 20000), "holes: content");
	lseek(deleted.holes, 3000000, SEEK_SET);
	expect(get(deleted.holes, 32, 0, 77), "holes: content behind them");
	expect(fcntl(deleted.on_disk, F_GETFL) == (O_RDWR | O_APPEND | LARGEFILE), "deleted: flags");
	put(deleted.on_disk, 33, 200001, 9);
	lseek(deleted.on_disk, 0, SEEK_SET);
	expect(get(deleted.on_disk, 33, 0, 200010), "deleted on a disk: content");
	expect(fstat(deleted.nameless, &st) == 0 && st.st_nlink == 0, "without a name");
	lseek(deleted.nameless, 0, SEEK_SET);
	expect(get(deleted.nameless, 34, 0, 12288), "without a name: content");
	expect(fstat(deleted.directory, &st) == 0 && st.st_nlink == 0 && st.st_uid == 12 &&
	       st.st_gid == 34 && st.st_mode == (S_IFDIR | 01751), "deleted directory: owner, mode");
	expect(st.st_mtim.tv_sec == 1100000000, "deleted directory: time");
	expect(openat(deleted.directory_again, "new", O_CREAT | O_WRONLY, 0600) == -1 &&
	       errno == ENOENT && access("/dev/shm/left", F_OK) == -1, "deleted directory: it is gone");
	expect(stat(".", &st) == 0 && st.st_nlink == 0 && st.st_mode == (S_IFDIR | 0750),
	       "deleted working directory");
	expect(getcwd(path, sizeof(path)) == NULL && errno == ENOENT, "it has no path");
	expect(readlink("/proc/self/cwd", path, sizeof(path) - 1) > 0 &&
	       strstr(path, "/deleted/left (deleted)") != NULL, "its path was %s", path);
	expect(access("../left", F_OK) == -1 && errno == ENOENT && access("../data", F_OK) == 0,
	       "what is beside it");
}

static const struct kind {
	const char *name;
	void (*make)(void);
	void (*check)(void);
} kinds[] = {
	{ "pipes", make_pipes, check_pipes },
	{ "locks", make_locks, check_locks },
	{ "paths", make_paths, check_paths },
	{ "found_fifo", make_found_fifo, check_found_fifo },
	{ "deleted", make_deleted, check_deleted },
};

static const struct kind *find(const char *name)
{
	for (size_t i = 0; i < SIZE(kinds); i++)
		if (strcmp(kinds[i].name, name) == 0)
			return &kinds[i];
	fprintf(stderr, "no kind %s\n", name);
	exit(2);
}

static void ignore(int signal)
{
	(void)signal;
}

static void tell(int signal)
{
	(void)signal;
	told++;
}

int main(int argc, char **argv)
{
	sigset_t blocked, before;

	if (argc < 3) {
		fprintf(stderr, "usage: files FOLDER KIND...\n");
		return 2;
	}
	must(chdir(argv[1]), argv[1]);
	signal(SIGUSR1, ignore);
	signal(SIGRTMIN + 1, tell);
	signal(SIGIO, tell);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	sigprocmask(SIG_BLOCK, &blocked, &before);
	for (int i = 2; i < argc; i++)
		find(argv[i])->make();
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		sigsuspend(&before);
		for (int i = 2; i < argc; i++)
			find(argv[i])->check();
		printf("done, %d failures\n", failures);
		fflush(stdout);
	}
}
