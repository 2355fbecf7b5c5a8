/*
 * mounts FOLDER named|kept|lost: uses files on other file systems and waits.
 *
 * FOLDER holds "merged", an overlayfs that shows in its layer below "library" of
 * 64 KiB, "read", "copied" and "deleted" of 4 KiB, the FIFO "fifo" and the folder "inner";
 * "source" with "file" of 4 KiB and the folder "inner"; "bound", where that is
 * mounted, and "single", where source/file is.
 *
 * "kept" has what can be saved open, mapped, executed and as working directory,
 * and prints "ready". At SIGUSR1 it looks whether all is as it was, prints "FAIL
 * WHAT" for each that is not, and "done, N failures".
 *
 * "named" has of that what is not deleted.
 *
 * "lost" has what no path leads to any more, and prints "ready".
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

#define PAGE 4096
#define LIBRARY (16 * PAGE)

static int opened(const char *name, int flags)
{
	return must(open(name, flags, 0640), name);
}

static char *mapped(const char *name, size_t length, int protection, int flags)
{
	int fd = opened(name, O_RDONLY);
	char *at = mmap(NULL, length, protection, flags, fd, 0);

	if (at == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	close(fd);
	return at;
}

/* Of "kept". */
static int lower, copied, made, merged, fifo, gone, gone_below, file, inner, single;
static char *library, *shared, *upper, *through_bind;
static dev_t overlay, below;
static char first[64], first_of_file[64], line[PAGE];

static dev_t device_of(const char *name)
{
	struct stat st;

	must(stat(name, &st), name);
	return st.st_dev;
}

static void keep_deleted(void)
{
	gone = opened("merged/gone", O_RDWR | O_CREAT);
	must((int)write(gone, line, sizeof(line)), "write");
	must(unlink("merged/gone"), "unlink");
	gone_below = opened("merged/deleted", O_RDONLY);
	must((int)read(gone_below, first, sizeof(first)), "read");
	must(unlink("merged/deleted"), "unlink");
}

static void keep(int with_deleted)
{
	int again;

	memset(line, 'm', sizeof(line));
	overlay = device_of("merged");
	below = device_of("source");
	lower = opened("merged/read", O_RDONLY);
	must((int)read(lower, first, sizeof(first)), "read");
	must(flock(lower, LOCK_SH), "flock");
	/* Opened in the layer below, and then copied up. */
	copied = opened("merged/copied", O_RDONLY);
	again = opened("merged/copied", O_WRONLY);
	must((int)pwrite(again, "copied", 6, 0), "pwrite");
	close(again);
	must((int)lseek(copied, 3, SEEK_SET), "lseek");
	made = opened("merged/made", O_RDWR | O_CREAT | O_APPEND);
	must((int)write(made, line, sizeof(line)), "write");
	merged = opened("merged", O_RDONLY | O_DIRECTORY);
	fifo = opened("merged/fifo", O_RDWR);
	must((int)write(fifo, "in a FIFO", 9), "write");
	library = mapped("merged/library", LIBRARY, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	library[2 * PAGE + 5] = 'x';
	shared = mapped("merged/library", LIBRARY, PROT_READ, MAP_SHARED);
	upper = mapped("merged/made", PAGE, PROT_READ, MAP_PRIVATE);
	if (with_deleted)
		keep_deleted();
	file = opened("bound/file", O_RDONLY);
	must((int)read(file, first_of_file, sizeof(first_of_file)), "read");
	inner = opened("bound/inner", O_RDONLY | O_DIRECTORY);
	single = opened("single", O_RDWR);
	must((int)lseek(single, 77, SEEK_SET), "lseek");
	through_bind = mapped("bound/file", PAGE, PROT_READ, MAP_PRIVATE);
	must(chdir("merged/inner"), "merged/inner");
}

static int is_on(int fd, dev_t device)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_dev == device;
}

static int is_deleted(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_nlink == 0;
}

/* Whether this is the path of an entry of /proc/self. */
static int leads(const char *entry, const char *end)
{
	char name[64], path[256] = "";
	size_t length = strlen(end);
	ssize_t all;

	snprintf(name, sizeof(name), "/proc/self/%s", entry);
	all = readlink(name, path, sizeof(path) - 1);
	return all > (ssize_t)length && strcmp(path + (size_t)all - length, end) == 0;
}

static void check_deleted(void)
{
	char bytes[PAGE] = "";

	expect(pread(gone, bytes, PAGE, 0) == PAGE && bytes[0] == 'm' && bytes[PAGE - 1] == 'm' &&
	       is_deleted(gone), "deleted file");
	expect(pread(gone_below, bytes, sizeof(first), 0) == sizeof(first) &&
	       memcmp(bytes, first, sizeof(first)) == 0 && is_deleted(gone_below),
	       "deleted file of the layer below");
}

static void check(void)
{
	char bytes[PAGE] = "", name[32];
	int again;

	overlay = device_of("..");
	below = device_of("../../source");
	expect(pread(lower, bytes, sizeof(first), 0) == sizeof(first) &&
	       memcmp(bytes, first, sizeof(first)) == 0, "file of a layer below");
	expect(lseek(lower, 0, SEEK_CUR) == sizeof(first) && is_on(lower, overlay), "its offset");
	again = opened("../read", O_RDONLY);
	expect(flock(again, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK, "its lock");
	close(again);
	expect(read(copied, bytes, 3) == 3 && memcmp(bytes, "ied", 3) == 0, "copied file");
	must((int)lseek(copied, 3, SEEK_SET), "lseek");
	expect(lseek(made, 0, SEEK_CUR) == PAGE && pread(made, bytes, 2, PAGE - 2) == 2 &&
	       memcmp(bytes, "mm", 2) == 0 && is_on(made, overlay), "file of the layer above");
	expect(faccessat(merged, "library", R_OK, 0) == 0, "directory");
	expect(read(fifo, bytes, sizeof(bytes)) == 9 && memcmp(bytes, "in a FIFO", 9) == 0, "FIFO");
	must((int)write(fifo, "in a FIFO", 9), "write");
	expect(library[2 * PAGE + 5] == 'x' && shared[2 * PAGE + 5] != 'x' &&
	       memcmp(library, shared, 2 * PAGE) == 0 &&
	       memcmp(library + 3 * PAGE, shared + 3 * PAGE, LIBRARY - 3 * PAGE) == 0, "mapping");
	again = opened("../library", O_RDONLY);
	expect(pread(again, bytes, PAGE, 5 * PAGE) == PAGE &&
	       memcmp(bytes, shared + 5 * PAGE, PAGE) == 0, "mapping of the same file");
	close(again);
	expect(upper[0] == 'm' && upper[PAGE - 1] == 'm', "mapping of the layer above");
	expect(pread(file, bytes, sizeof(first_of_file), 0) == sizeof(first_of_file) &&
	       memcmp(bytes, first_of_file, sizeof(first_of_file)) == 0 && is_on(file, below),
	       "file of a bind mount");
	expect(memcmp(through_bind, first_of_file, sizeof(first_of_file)) == 0,
	       "mapping of a bind mount");
	expect(faccessat(inner, ".", R_OK, 0) == 0 && is_on(inner, below), "directory of a bind mount");
	expect(lseek(single, 0, SEEK_CUR) == 77 && is_on(single, below), "file that is mounted");
	snprintf(name, sizeof(name), "fd/%d", single);
	expect(leads(name, "/single"), "path of a file that is mounted");
	snprintf(name, sizeof(name), "fd/%d", file);
	expect(leads(name, "/bound/file"), "path on a bind mount");
	expect(leads("cwd", "/merged/inner"), "working directory");
	expect(leads("exe", "/merged/program"), "executable");
}

static void make_file(const char *name)
{
	int fd = opened(name, O_WRONLY | O_CREAT);

	must((int)write(fd, name, strlen(name)), name);
	close(fd);
}

static void lose(void)
{
	int fd;

	must(mkdir("hidden", 0755), "mkdir");
	make_file("hidden/file");
	opened("hidden/file", O_RDONLY);
	must(mount("none", "hidden", "tmpfs", 0, NULL), "hidden");
	must(mkdir("away", 0755), "mkdir");
	must(mount("none", "away", "tmpfs", 0, NULL), "away");
	make_file("away/file");
	opened("away/file", O_RDONLY);
	must(umount2("away", MNT_DETACH), "umount2");
	make_file("gone");
	make_file("place");
	must(mount("gone", "place", NULL, MS_BIND, NULL), "place");
	opened("place", O_RDONLY);
	must(unlink("gone"), "unlink");
	mapped("merged/library", PAGE, PROT_READ, MAP_PRIVATE);
	fd = opened("merged/library", O_RDWR);
	must((int)pwrite(fd, "new", 3, 0), "pwrite");
	close(fd);
}

static void ignore(int signal)
{
	(void)signal;
}

int main(int argc, char **argv)
{
	sigset_t blocked, before;
	int kept = argc == 3 && strcmp(argv[2], "kept") == 0;
	int named = argc == 3 && strcmp(argv[2], "named") == 0;

	if (argc != 3) {
		fprintf(stderr, "usage: mounts FOLDER named|kept|lost\n");
		return 2;
	}
	must(chdir(argv[1]), argv[1]);
	signal(SIGUSR1, ignore);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	sigprocmask(SIG_BLOCK, &blocked, &before);
	if (kept || named)
		keep(kept);
	else
		lose();
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		sigsuspend(&before);
		if (kept)
			check_deleted();
		if (kept || named)
			check();
		printf("done, %d failures\n", failures);
		fflush(stdout);
	}
}
