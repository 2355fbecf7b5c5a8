/*
 * Holds pages in given ranges of physical memory, filled with what their
 * addresses make.
 *
 * Usage: pattern START-END...      (hexadecimal)
 *
 * Takes memory until each range has given PAGES pages. Prints "page ADDRESS"
 * for each and "ready", and waits. Word N of the page at A is
 * (A + 8 * N) * 0x9e3779b97f4a7c15. Needs root: others are not told where
 * their pages lie.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096UL
#define CHUNK (8UL << 20)
#define PAGES 64
#define RANGES 16
/* MPOL_PREFERRED (linux/mempolicy.h). */
#define PREFERRED 1
/* Stay away from the OOM killer. In pages. */
#define RESERVE (48UL << 20 >> 12)

static struct range {
	uint64_t start, end;
	uint64_t *pages[PAGES];
	int count;
} ranges[RANGES];

static int pagemap;
static uint64_t addresses[CHUNK / PAGE];

/* Where the pages of a chunk lie. */
static void locate(const void *pages, uint64_t *addresses, unsigned long count)
{
	if (pread(pagemap, addresses, 8 * count, (uintptr_t)pages / PAGE * 8) != (ssize_t)(8 * count)) {
		perror("pagemap");
		exit(1);
	}
	for (unsigned long i = 0; i < count; i++)
		addresses[i] = (addresses[i] & ((1UL << 55) - 1)) * PAGE;
}

/* Keeps the page at an address if it lies in a range that wants more. */
static void take(uint64_t *page, uint64_t address, int count)
{
	for (int i = 0; i < count; i++) {
		struct range *range = &ranges[i];

		if (address < range->start || address >= range->end || range->count == PAGES)
			continue;
		range->pages[range->count++] = page;
		return;
	}
}

/* Fills a page with what its address makes, and tells that. */
static uint64_t fill(uint64_t *page)
{
	uint64_t address, now;

	/* The kernel may move it, also where it is locked. */
	locate(page, &now, 1);
	do {
		address = now;
		for (uint64_t word = 0; word < PAGE / 8; word++)
			page[word] = (address + 8 * word) * 0x9e3779b97f4a7c15UL;
		locate(page, &now, 1);
	} while (now != address);
	return address;
}

static int is_full(int count)
{
	for (int i = 0; i < count; i++)
		if (ranges[i].count < PAGES)
			return 0;
	return 1;
}

/* Does nothing where there is one node only. */
static void prefer(int node)
{
	unsigned long nodes = 1UL << node;

	syscall(SYS_set_mempolicy, PREFERRED, &nodes, 64);
}

/*
 * One chunk of the first node, all others of the second: what was plugged there the
 * kernel may give last, and the first has what the rest of the guest works with.
 */
int main(int argc, char **argv)
{
	int count = argc - 1;

	pagemap = open("/proc/self/pagemap", O_RDONLY);
	if (count > RANGES || pagemap < 0)
		return 1;
	for (int i = 0; i < count; i++)
		if (sscanf(argv[i + 1], "%lx-%lx", &ranges[i].start, &ranges[i].end) != 2)
			return 1;
	prefer(0);
	while (!is_full(count)) {
		char *chunk;

		if ((unsigned long)sysconf(_SC_AVPHYS_PAGES) < RESERVE) {
			puts("out of memory");
			return 1;
		}
		chunk = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED | MAP_POPULATE, -1, 0);
		if (chunk == MAP_FAILED) {
			perror("mmap");
			return 1;
		}
		locate(chunk, addresses, CHUNK / PAGE);
		for (unsigned long i = 0; i < CHUNK / PAGE; i++)
			take((uint64_t *)(chunk + i * PAGE), addresses[i], count);
		prefer(1);
	}
	for (int i = 0; i < count; i++)
		for (int page = 0; page < PAGES; page++)
			printf("page %lx\n", fill(ranges[i].pages[page]));
	puts("ready");
	fflush(stdout);
	for (;;)
		pause();
}
