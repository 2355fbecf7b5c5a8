/*
 * cgroups: processes in cgroups of their own, with limits.
 *
 * Usage: cgroups [PLACE FILE=VALUE...]...
 *
 * PLACE is the directory of a cgroup that is there, with a slash before; FILE is
 * one below it, as inner/pids.max, whose directories are made. The process goes
 * into PLACE/inner of each, and a child of it into PLACE/other, where those are. At
 * SIGUSR1 it looks whether
 * all files hold what they did, whether both are where they were, and whether
 * pids.max holds, and prints "FAIL WHAT" for each that is not so, and "done, N
 * failures".
 */
#define _GNU_SOURCE
#include "check.h"
#include "asked.h"
#include <fcntl.h>
#include <libgen.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define FILES 64
#define PLACES 8

struct file {
	char path[512];
	char value[512];
};

static struct file files[FILES];
static int file_count;
static const char *places[PLACES];
static int place_count;

/* What a file holds, or nothing. */
static void hold(const char *path, char *value, size_t size)
{
	ssize_t count = -1;
	int fd = open(path, O_RDONLY);

	if (fd >= 0) {
		count = read(fd, value, size - 1);
		close(fd);
	}
	value[count < 0 ? 0 : count] = 0;
}

static void set(const char *path, const char *value)
{
	int fd = must(open(path, O_WRONLY), path);

	must(write(fd, value, strlen(value)), path);
	close(fd);
}

/* Makes the cgroup that a file is of, and sets the file. */
static void prepare(const char *place, char *argument)
{
	char directory[512];
	char *value = strchr(argument, '=');
	struct file *file = &files[file_count++];

	must(value && file_count < FILES ? 0 : -1, argument);
	*value++ = 0;
	snprintf(file->path, sizeof(file->path), "%s/%s", place, argument);
	strcpy(directory, file->path);
	if (mkdir(dirname(directory), 0755) < 0 && errno != EEXIST)
		must(-1, directory);
	set(file->path, value);
}

/* Goes into a cgroup below each place that has such. */
static void enter(const char *name)
{
	for (int i = 0; i < place_count; i++) {
		char path[512];

		snprintf(path, sizeof(path), "%s/%s/cgroup.procs", places[i], name);
		if (access(path, W_OK) == 0)
			set(path, "0");
	}
}

/* How many processes can be started: there is room for 20 at most. */
static int children(void)
{
	int started = 0;
	pid_t pids[32];

	while (started < 32 && (pids[started] = fork()) >= 0) {
		if (pids[started] == 0) {
			pause();
			_exit(0);
		}
		started++;
	}
	for (int i = 0; i < started; i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
	return started;
}

int main(int argc, char **argv)
{
	char own[4096], of_child[4096], path[64], now[4096];
	int room, ready[2];
	pid_t child;

	for (int i = 1; i < argc; i++) {
		if (argv[i][0] == '/' && place_count < PLACES)
			places[place_count++] = argv[i];
		else
			prepare(places[place_count - 1], argv[i]);
	}
	must(pipe(ready), "pipe");
	child = must(fork(), "fork");
	if (child == 0) {
		enter("other");
		must(write(ready[1], "x", 1), "write");
		for (;;)
			pause();
	}
	enter("inner");
	snprintf(path, sizeof(path), "/proc/%d/cgroup", child);
	must(read(ready[0], now, 1), "read");
	hold(path, of_child, sizeof(of_child));
	hold("/proc/self/cgroup", own, sizeof(own));
	for (int i = 0; i < file_count; i++)
		hold(files[i].path, files[i].value, sizeof(files[i].value));
	room = children();
	printf("%s", own);
	wait_until_asked();
	for (int i = 0; i < file_count; i++) {
		hold(files[i].path, now, sizeof(now));
		expect(strcmp(now, files[i].value) == 0, "%s holds %s", files[i].path, now);
	}
	hold("/proc/self/cgroup", now, sizeof(now));
	expect(strcmp(now, own) == 0, "it is in %s", now);
	hold(path, now, sizeof(now));
	expect(strcmp(now, of_child) == 0, "the child is in %s", now);
	expect(children() == room, "there is room for as many processes");
	printf("done, %d failures\n", failures);
	fflush(stdout);
	for (;;)
		pause();
}
