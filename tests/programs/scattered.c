/*
 * Has memory that the kernel makes huge pages of when it finds the time: some
 * small pages, each with its own content, in each of many places for a huge page.
 * Prints "ready" and waits in pause(2). At SIGUSR1 it looks at all of them and
 * prints "done, N lost".
 *
 * Usage: scattered AREAS private|shared
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <sys/mman.h>

#include "asked.h"
#include "check.h"

enum { PAGE = 4096, HUGE_PAGE = 2 << 20, EVERY = 32 };

static uint64_t content(size_t offset)
{
	return 0x9e3779b97f4a7c15ull * (offset + 1);
}

static int is_lost(const char *memory, size_t offset)
{
	uint64_t word = content(offset);

	return memcmp(memory + offset, &word, sizeof(word)) != 0;
}

int main(int argc, char **argv)
{
	size_t size = (argc == 3 ? strtoul(argv[1], NULL, 10) : 0) * HUGE_PAGE;
	int kind = argc == 3 && strcmp(argv[2], "shared") == 0 ? MAP_SHARED : MAP_PRIVATE;
	char *memory = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE,
			    kind | MAP_ANONYMOUS, -1, 0);

	must(size > 0 && memory != MAP_FAILED ? 0 : -1, "mmap");
	memory = (char *)(((uintptr_t)memory + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
	must(madvise(memory, size, MADV_NOHUGEPAGE), "MADV_NOHUGEPAGE");
	for (size_t offset = 0; offset < size; offset += EVERY * PAGE) {
		uint64_t word = content(offset);

		memcpy(memory + offset, &word, sizeof(word));
	}
	must(madvise(memory, size, MADV_HUGEPAGE), "MADV_HUGEPAGE");
	wait_until_asked();
	for (size_t offset = 0; offset < size; offset += EVERY * PAGE)
		expect(!is_lost(memory, offset), "the page at %zu", offset);
	printf("done, %d lost\n", failures);
	return 0;
}
