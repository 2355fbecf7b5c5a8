/*
 * Has many of what a save takes time for, and sleeps.
 *
 * Usage: many FILE PROCESSES THREADS DESCRIPTORS AREAS
 *
 * PROCESSES children, THREADS threads beside the first, DESCRIPTORS open files
 * and AREAS areas of memory of a page each. FILE is made when all is there.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define PAGE 4096ul

static void *wait_for_ever(void *argument)
{
	for (;;)
		pause();
	return argument;
}

static void need(int holds, const char *what)
{
	if (!holds) {
		perror(what);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	struct rlimit files = { 65536, 65536 };
	pthread_attr_t small;
	pthread_t thread;
	char *areas;
	long count;

	if (argc != 6) {
		fprintf(stderr, "usage: many FILE PROCESSES THREADS DESCRIPTORS AREAS\n");
		return 2;
	}
	/* With a gap behind each, so that the kernel does not join them. */
	count = atol(argv[5]);
	areas = mmap(NULL, (unsigned long)count * 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	need(areas != MAP_FAILED, "mmap");
	for (long i = 0; i < count; i++) {
		need(mprotect(areas + i * 2 * PAGE, PAGE, PROT_READ | PROT_WRITE) == 0, "mprotect");
		areas[i * 2 * PAGE] = 1;
	}
	need(setrlimit(RLIMIT_NOFILE, &files) == 0, "setrlimit");
	for (count = atol(argv[4]); count > 0; count--)
		need(open("/dev/null", O_RDWR) >= 0, "open");
	for (count = atol(argv[2]); count > 0; count--) {
		pid_t child = fork();

		need(child >= 0, "fork");
		if (child == 0)
			wait_for_ever(NULL);
	}
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 64 * 1024);
	for (count = atol(argv[3]); count > 0; count--)
		need(pthread_create(&thread, &small, wait_for_ever, NULL) == 0, "pthread_create");
	need(close(open(argv[1], O_CREAT | O_WRONLY, 0600)) == 0, argv[1]);
	wait_for_ever(NULL);
}
