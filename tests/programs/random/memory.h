/* Memory: anonymous, of files, the heap; shared with children until written. */
#include <sys/mman.h>

/* A page that is `stamp`ed, for a thing of which the first page is at `memory`. */
static uint32_t content(const struct thing *thing, uint8_t stamp)
{
	return thing->pattern * 256 + stamp;
}

static void stamp(struct thing *thing, int page, uint8_t stamp)
{
	thing->stamps[page] = stamp;
	fill(thing->memory + page * 4096L, content(thing, stamp), 0, 4096);
}

static int pages(const struct thing *thing)
{
	return (int)(thing->size / 4096);
}

static void protect(struct thing *thing, int protection)
{
	must(mprotect(thing->memory, (size_t)thing->size, protection), "mprotect");
}

/* Whether a line of /proc/self/maps says so of the page. */
static void check_protection(const struct thing *thing)
{
	char line[512], wanted[8], is[8] = "none";
	unsigned long start, end, page = (unsigned long)thing->memory;
	FILE *maps = fopen("/proc/self/maps", "r");

	snprintf(wanted, sizeof(wanted), "%c%c%c%c", thing->flags[0] & PROT_READ ? 'r' : '-',
		 thing->flags[0] & PROT_WRITE ? 'w' : '-', thing->flags[0] & PROT_EXEC ? 'x' : '-',
		 thing->flags[1] & MAP_SHARED ? 's' : 'p');
	while (maps && fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx %7s", &start, &end, is) == 3 && start <= page && page < end)
			break;
	if (maps)
		fclose(maps);
	if (strcmp(is, wanted) != 0)
		lost("%s: its protection is %s instead of %s", thing->kind, is, wanted);
}

static void check_memory(struct thing *thing)
{
	static const char zeros[4096];

	check_protection(thing);
	protect(thing, PROT_READ);
	for (int page = 0; page < pages(thing); page++) {
		const char *memory = thing->memory + page * 4096L;
		uint8_t stamp = thing->stamps[page];

		if (stamp ? !holds(memory, content(thing, stamp), 0, 4096) : memcmp(memory, zeros, 4096) != 0)
			lost("%s: page %d of %d is not what it was (%d)", thing->kind, page, pages(thing), stamp);
	}
	protect(thing, thing->flags[0]);
}

/* A member and its child have different pages from now on. */
static void part_memory(struct thing *thing)
{
	protect(thing, PROT_READ | PROT_WRITE);
	for (int page = 0; page < pages(thing); page++)
		if (chance(15))
			stamp(thing, page, (uint8_t)(2 + draw(250)));
	protect(thing, thing->flags[0]);
}

static int adopt_memory(struct thing *thing)
{
	(void)thing;
	return 1;
}

static void use_memory(struct thing *thing)
{
	static const int protections[] = { PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ,
		PROT_NONE, PROT_READ | PROT_EXEC };

	for (int page = 0; page < pages(thing); page++)
		if (chance(60))
			stamp(thing, page, (uint8_t)(2 + draw(250)));
	thing->flags[0] = protections[draw(5)];
	thing->adopt = adopt_memory;
	thing->part = part_memory;
	protect(thing, thing->flags[0]);
}

static void make_memory(void)
{
	struct thing *thing = add("anonymous memory", check_memory);

	thing->size = (1 + draw(MAX_PAGES)) * 4096L;
	thing->memory = mmap(NULL, (size_t)thing->size, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | (chance(20) ? MAP_NORESERVE : 0), -1, 0);
	must(thing->memory == MAP_FAILED ? -1 : 0, "mmap");
	if (chance(25))
		madvise(thing->memory, (size_t)thing->size, chance(50) ? MADV_SEQUENTIAL : MADV_MERGEABLE);
	use_memory(thing);
}

/* With a hole in it that is of another mapping, or of none. */
static void make_huge(void)
{
	struct thing *thing = add("memory for huge pages", check_memory);
	uintptr_t start;
	char *memory = mmap(NULL, 4 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(memory == MAP_FAILED ? -1 : 0, "mmap");
	must(madvise(memory, 4 << 20, MADV_HUGEPAGE), "MADV_HUGEPAGE");
	start = ((uintptr_t)memory + (2 << 20) - 1) & ~((2UL << 20) - 1);
	/* Both sides of the middle of a huge page. */
	thing->memory = (char *)start + (1 << 20) - 8 * 4096L;
	thing->size = 16 * 4096L;
	use_memory(thing);
}

static void make_heap(void)
{
	struct thing *thing = add("heap", check_memory);
	uintptr_t end = (uintptr_t)sbrk(0);

	thing->size = (1 + draw(MAX_PAGES / 2)) * 4096L;
	thing->memory = (char *)((end + 4095) & ~4095UL);
	must(brk(thing->memory + thing->size), "brk");
	use_memory(thing);
}

/* Pages of a file, of which some have been written to in memory. */
static void make_file_memory(void)
{
	struct thing *thing = add("private mapping of a file", check_memory);
	int fd = (int)must(open(thing->path, O_RDWR | O_CREAT | O_EXCL, 0644), thing->path);
	int skipped = (int)draw(3);
	char page[4096];

	thing->size = (1 + draw(MAX_PAGES / 2)) * 4096L;
	memset(page, 0, sizeof(page));
	for (int i = 0; i < skipped; i++)
		must(write(fd, page, sizeof(page)), "write");
	for (int i = 0; i < pages(thing); i++) {
		fill(page, content(thing, 1), 0, sizeof(page));
		must(write(fd, page, sizeof(page)), "write");
		thing->stamps[i] = 1;
	}
	thing->memory = mmap(NULL, (size_t)thing->size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, skipped * 4096L);
	must(thing->memory == MAP_FAILED ? -1 : 0, "mmap");
	close(fd);
	thing->flags[0] = chance(50) ? PROT_READ | PROT_WRITE : PROT_READ | PROT_EXEC;
	thing->adopt = adopt_memory;
	thing->part = part_memory;
	protect(thing, thing->flags[0]);
	if (chance(60))
		part_memory(thing);
}

/*
 * Made before the fork: what the one writes the other reads. `number`: whether
 * this is the child, which is asked after its parent.
 */
static void check_shared_memory(struct thing *thing)
{
	volatile int *board = (volatile int *)thing->memory;

	check_protection(thing);
	for (int page = 1; page < pages(thing); page++)
		if (thing->stamps[page] && !holds(thing->memory + page * 4096L, content(thing, thing->stamps[page]), 0, 4096))
			lost("%s: page %d of %d is not what it was", thing->kind, page, pages(thing));
	if (thing->number)
		expect("what the parent has written", *board, self.asked);
	else
		*board = self.asked;
}

static int adopt_shared_memory(struct thing *thing)
{
	thing->number = 1;
	return 1;
}

static void make_shared_memory(void)
{
	struct thing *thing = add("shared memory", check_shared_memory);
	int kind = (int)draw(3), fd = -1;

	thing->number = 0;
	thing->size = (1 + draw(MAX_PAGES / 2)) * 4096L;
	if (kind == 1)
		fd = (int)must(memfd_create("random", 0), "memfd_create");
	if (kind == 2) {
		fd = (int)must(open(thing->path, O_RDWR | O_CREAT | O_EXCL, 0600), thing->path);
		must(chance(50) ? 0 : unlink(thing->path), "unlink");
	}
	if (fd >= 0)
		must(ftruncate(fd, thing->size), "ftruncate");
	thing->memory = mmap(NULL, (size_t)thing->size, PROT_READ | PROT_WRITE,
			     MAP_SHARED | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);
	must(thing->memory == MAP_FAILED ? -1 : 0, "mmap");
	if (fd >= 0 && chance(50))
		close(fd);
	for (int page = 1; page < pages(thing); page++)
		if (chance(60))
			stamp(thing, page, (uint8_t)(2 + draw(250)));
	thing->flags[0] = PROT_READ | PROT_WRITE;
	thing->flags[1] = MAP_SHARED;
	thing->adopt = adopt_shared_memory;
}
