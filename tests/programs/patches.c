/*
 * Has memory of which some pages hold nothing but zeros, in an order that no
 * piece of it is like another: anonymous memory, and a private mapping of a file
 * of sevens where pages were made zeros. Prints "ready" and waits in pause(2).
 * At SIGUSR1 it looks at all of them and prints "done, N lost".
 *
 * Usage: patches MIB FILE
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>

#include "asked.h"
#include "check.h"

enum { PAGE = 4096, FILE_PAGES = 64, SEVEN = 7 };

static uint64_t mixed(uint64_t number)
{
	number = (number + 1) * 0x9e3779b97f4a7c15ull;
	return number ^ number >> 29;
}

/* What a page of anonymous memory is like. */
enum kind { UNTOUCHED, ZEROS, LAST_BYTE, FULL };

static enum kind kind_of(size_t page)
{
	return mixed(page / 3) % 4;
}

static void expected(size_t page, uint64_t words[PAGE / 8])
{
	memset(words, 0, PAGE);
	if (kind_of(page) == LAST_BYTE)
		((char *)words)[PAGE - 1] = 1;
	if (kind_of(page) == FULL)
		for (size_t word = 0; word < PAGE / 8; word++)
			words[word] = mixed(page * PAGE + word);
}

static char *map_sevens(const char *path)
{
	char page[PAGE];
	char *memory;
	int file = must(open(path, O_RDWR | O_CREAT | O_TRUNC, 0600), path);

	memset(page, SEVEN, PAGE);
	for (int number = 0; number < FILE_PAGES; number++)
		must(write(file, page, PAGE) == PAGE ? 0 : -1, "write");
	memory = mmap(NULL, FILE_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
	must(memory == MAP_FAILED ? -1 : 0, "mmap");
	close(file);
	for (int number = 0; number < FILE_PAGES; number += 2)
		memset(memory + number * PAGE, 0, PAGE);
	return memory;
}

int main(int argc, char **argv)
{
	size_t pages = (argc == 3 ? strtoul(argv[1], NULL, 10) << 20 : 0) / PAGE;
	char *memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t words[PAGE / 8];
	char sevens[PAGE];
	char *mapped;

	must(pages > 0 && memory != MAP_FAILED ? 0 : -1, "mmap");
	/* Pages that are not touched are to stay so. */
	must(madvise(memory, pages * PAGE, MADV_NOHUGEPAGE), "madvise");
	for (size_t page = 0; page < pages; page++) {
		expected(page, words);
		if (kind_of(page) != UNTOUCHED)
			memcpy(memory + page * PAGE, words, PAGE);
	}
	mapped = map_sevens(argv[2]);
	wait_until_asked();
	for (size_t page = 0; page < pages; page++) {
		expected(page, words);
		expect(memcmp(memory + page * PAGE, words, PAGE) == 0, "page %zu", page);
	}
	for (int number = 0; number < FILE_PAGES; number++) {
		memset(sevens, number % 2 ? SEVEN : 0, PAGE);
		expect(memcmp(mapped + number * PAGE, sevens, PAGE) == 0, "page %d of the file", number);
	}
	printf("done, %d lost\n", failures);
	return 0;
}
