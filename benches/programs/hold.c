/*
 * Holds memory that does not compress, and can tell whether it is still right.
 *
 * Usage: hold FILE MIB [UNTOUCHED_MIB]
 *
 * MIB mebibytes are filled, UNTOUCHED_MIB more are mapped only. FILE is made
 * when all is there. On SIGUSR1 the memory is compared with what was written
 * and FILE gets "right" or "wrong".
 */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static volatile uint64_t *words;
static uint64_t count;
static const char *file;

/* The splitmix64 generator at a position. */
static uint64_t word(uint64_t position)
{
	uint64_t z = (position + 1) * 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static void tell(const char *text, size_t length)
{
	int fd = open(file, O_CREAT | O_WRONLY | O_TRUNC, 0600);

	if (fd < 0 || write(fd, text, length) != (ssize_t)length || close(fd) != 0)
		_exit(1);
}

/* Makes only calls that a signal handler may make. */
static void compare(int signal)
{
	uint64_t wrong = 0;

	(void)signal;
	for (uint64_t i = 0; i < count; i++)
		wrong |= words[i] ^ word(i);
	if (wrong)
		tell("wrong\n", 6);
	else
		tell("right\n", 6);
}

static void *map(uint64_t mib)
{
	void *memory = mmap(NULL, mib << 20, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return memory;
}

int main(int argc, char **argv)
{
	uint64_t mib, untouched;

	if (argc != 3 && argc != 4) {
		fprintf(stderr, "usage: hold FILE MIB [UNTOUCHED_MIB]\n");
		return 2;
	}
	file = argv[1];
	mib = strtoull(argv[2], NULL, 10);
	untouched = argc == 4 ? strtoull(argv[3], NULL, 10) : 0;
	if (untouched)
		map(untouched);
	if (mib) {
		words = map(mib);
		count = mib << 17;
		for (uint64_t i = 0; i < count; i++)
			words[i] = word(i);
	}
	signal(SIGUSR1, compare);
	tell("", 0);
	for (;;)
		pause();
}
