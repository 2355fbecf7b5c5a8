/*
 * confined PROFILE FORBIDDEN: a process of which AppArmor confines one thread by a
 * profile that does not let it open a file, and not the other.
 *
 * At SIGUSR1 it looks at the labels of both and has both open the file, and prints
 * "FAIL WHAT" for what is not as it was, and "done, N failures".
 */
#define _GNU_SOURCE
#include "check.h"
#include "asked.h"
#include <fcntl.h>
#include <pthread.h>

static const char *profile, *forbidden;
static int question[2], answer[2];

/* What a thread finds of itself. */
struct finding {
	char label[256];
	int error;
};

static struct finding look(void)
{
	struct finding found = { "", 0 };
	int fd = open("/proc/thread-self/attr/current", O_RDONLY);

	if (fd < 0 || read(fd, found.label, sizeof(found.label) - 1) < 0)
		snprintf(found.label, sizeof(found.label), "error %d", errno);
	found.label[strcspn(found.label, "\n")] = 0;
	close(fd);
	fd = open(forbidden, O_RDONLY);
	if (fd < 0)
		found.error = errno;
	else
		close(fd);
	return found;
}

static void *be_confined(void *unused)
{
	char command[256], byte;
	int len = snprintf(command, sizeof(command), "changeprofile %s", profile);
	int fd = must(open("/proc/thread-self/attr/current", O_WRONLY), "attr/current");

	must(write(fd, command, len), command);
	close(fd);
	for (;;) {
		struct finding found;

		if (read(question[0], &byte, 1) != 1)
			continue;
		found = look();
		must(write(answer[1], &found, sizeof(found)), "write");
	}
	return unused;
}

static void look_at_both(void)
{
	char expected[256];
	struct finding own = look(), other;

	must(write(question[1], "?", 1), "write");
	expect(read(answer[0], &other, sizeof(other)) == sizeof(other), "an answer");
	snprintf(expected, sizeof(expected), "%s (enforce)", profile);
	expect(strcmp(own.label, "unconfined") == 0 && own.error == 0,
	       "one is unconfined: it is \"%s\", error %d", own.label, own.error);
	expect(strcmp(other.label, expected) == 0, "the other is confined: \"%s\"", other.label);
	expect(other.error == EACCES, "it may not open the file: error %d", other.error);
}

int main(int argc, char **argv)
{
	pthread_t id;

	if (argc != 3) {
		fprintf(stderr, "usage: confined PROFILE FORBIDDEN\n");
		return 2;
	}
	profile = argv[1];
	forbidden = argv[2];
	must(pipe(question), "pipe");
	must(pipe(answer), "pipe");
	must(-pthread_create(&id, NULL, be_confined, NULL), "pthread_create");
	look_at_both();
	must(failures ? -1 : 0, "before it is saved");
	wait_until_asked();
	look_at_both();
	printf("done, %d failures\n", failures);
	return failures != 0;
}
