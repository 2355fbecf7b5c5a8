/*
 * Lays out memory in the ways that need care when it is saved, then waits in
 * pause(2). At SIGUSR1 it looks at everything and prints one line a region,
 * "ok REGION" or "FAIL REGION: WHY", and "done" at the end.
 *
 * Usage: layout FILE      (FILE is written, then mapped)
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08 /* in newer headers than some hosts have */
#endif

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

#define PAGE 4096ul
#define MIB (1ul << 20)

enum { SPARSE_PAGES = 3000, PLAIN_PAGES = 64, FILE_PAGES = 16, HUGE_MIB = 8 };
enum { FIRST_GUARD = 8, GUARDS = 3 };

/* Advice to madvise(2), or LOCK for mlock(2), with what smaps says of it. */
enum { LOCK = -1 };
static const struct {
	int advice;
	const char *flag, *name;
} advised[] = {
	{ MADV_RANDOM, " rr", "MADV_RANDOM" },
	{ MADV_SEQUENTIAL, " sr", "MADV_SEQUENTIAL" },
	{ MADV_DONTFORK, " dc", "MADV_DONTFORK" },
	{ MADV_DONTDUMP, " dd", "MADV_DONTDUMP" },
	{ MADV_MERGEABLE, " mg", "MADV_MERGEABLE" },
	{ MADV_HUGEPAGE, " hg", "MADV_HUGEPAGE" },
	{ MADV_NOHUGEPAGE, " nh", "MADV_NOHUGEPAGE" },
	{ MADV_WIPEONFORK, " wf", "MADV_WIPEONFORK" },
	{ LOCK, " lo", "locked" },
};

#define ADVISED (sizeof(advised) / sizeof(advised[0]))

static char *advice[ADVISED];
static char *none, *read_only, *zero, *sparse, *huge, *file, *low, *heap, *droppable, *guarded;
static int has_guards;
static char *stack_top; /* end of the mapping that grows down */
static volatile sig_atomic_t asked;
static volatile uintptr_t handler_frame;
static char signal_stack[64 * 1024];
static int failures;

static void on_signal(int signal)
{
	char here;

	(void)signal;
	handler_frame = (uintptr_t)&here;
	asked = 1;
}

static char *map(unsigned long size, int flags)
{
	char *area = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	if (area == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return area;
}

static uint64_t mark(const char *page, unsigned salt)
{
	return ((uintptr_t)page * 0x9e3779b97f4a7c15u) ^ salt;
}

/* Fills a page with words that are wrong anywhere else. */
static void fill(char *page, unsigned salt)
{
	for (unsigned long at = 0; at < PAGE; at += 8)
		*(uint64_t *)(page + at) = mark(page, salt) + at;
}

static int holds(const char *page, unsigned salt)
{
	for (unsigned long at = 0; at < PAGE; at += 8)
		if (*(const uint64_t *)(page + at) != mark(page, salt) + at)
			return 0;
	return 1;
}

static int is_zero(const char *page)
{
	for (unsigned long at = 0; at < PAGE; at++)
		if (page[at])
			return 0;
	return 1;
}

static void say(const char *region, const char *wrong)
{
	if (wrong) {
		printf("FAIL %s: %s\n", region, wrong);
		failures++;
	} else {
		printf("ok %s\n", region);
	}
}

/* Whether the kernel can read a byte there for us, without a signal if not. */
static int is_readable(const char *address)
{
	return access(address, F_OK) == 0 || errno != EFAULT;
}

static void lay_out(const char *path)
{
	char *hole;
	int fd;

	/* Twice: without and with advice, so that each is a mapping of its own. */
	for (unsigned i = 0; i < ADVISED; i++) {
		advice[i] = map(2 * PAGE, 0);
		fill(advice[i], 10);
		fill(advice[i] + PAGE, 11);
		if (advised[i].advice == LOCK ? mlock(advice[i] + PAGE, PAGE)
					      : madvise(advice[i] + PAGE, PAGE, advised[i].advice)) {
			perror(advised[i].name);
			exit(1);
		}
	}

	none = map(PLAIN_PAGES * PAGE, 0);
	for (int i = 0; i < PLAIN_PAGES; i++)
		fill(none + i * PAGE, 1);
	mprotect(none, PLAIN_PAGES * PAGE, PROT_NONE);

	read_only = map(PLAIN_PAGES * PAGE, 0);
	for (int i = 0; i < PLAIN_PAGES; i++)
		fill(read_only + i * PAGE, 2);
	mprotect(read_only, PLAIN_PAGES * PAGE, PROT_READ);

	/* Read first: each page is the kernel's one zero page. */
	zero = map(PLAIN_PAGES * PAGE, 0);
	for (int i = 0; i < PLAIN_PAGES; i++)
		if (zero[i * PAGE])
			exit(1);

	/* Every third page, so that runs of pages are short. */
	sparse = map(SPARSE_PAGES * PAGE, 0);
	madvise(sparse, SPARSE_PAGES * PAGE, MADV_NOHUGEPAGE);
	for (int i = 0; i < SPARSE_PAGES; i += 3)
		fill(sparse + i * PAGE, 3);

	huge = map((HUGE_MIB + 2) * MIB, 0);
	huge = (char *)(((uintptr_t)huge + 2 * MIB - 1) & ~(2 * MIB - 1));
	madvise(huge, HUGE_MIB * MIB, MADV_HUGEPAGE);
	for (unsigned long at = 0; at < HUGE_MIB * MIB; at += PAGE)
		fill(huge + at, 4);

	/* Room below for the mapping and for the guard gap the kernel keeps. */
	hole = map(16 * MIB, 0);
	munmap(hole, 16 * MIB);
	stack_top = hole + 15 * MIB;
	low = mmap(stack_top - 4 * PAGE, 4 * PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
	for (int i = 1; i <= 32; i++)
		fill(stack_top - i * PAGE, 5);

	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	for (unsigned i = 0; i < FILE_PAGES * PAGE / 8; i++) {
		uint64_t value = i;

		if (write(fd, &value, sizeof(value)) != sizeof(value))
			exit(1);
	}
	/* One page more than the file has. */
	file = mmap(NULL, (FILE_PAGES + 1) * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	close(fd);
	for (int i = 0; i < FILE_PAGES; i += 2)
		fill(file + i * PAGE, 6);

	/* Kernels before 6.11 have none. */
	droppable = mmap(NULL, PLAIN_PAGES * PAGE, PROT_READ | PROT_WRITE,
			 MAP_DROPPABLE | MAP_ANONYMOUS, -1, 0);
	if (droppable != MAP_FAILED)
		for (int i = 0; i < PLAIN_PAGES; i++)
			fill(droppable + i * PAGE, 8);

	/* Kernels before 6.13 have none. */
	guarded = map(PLAIN_PAGES * PAGE, 0);
	for (int i = 0; i < PLAIN_PAGES; i++)
		fill(guarded + i * PAGE, 9);
	has_guards = madvise(guarded + FIRST_GUARD * PAGE, GUARDS * PAGE, MADV_GUARD_INSTALL) == 0;

	heap = sbrk(PLAIN_PAGES * PAGE);
	heap = (char *)(((uintptr_t)heap + PAGE - 1) & ~(PAGE - 1));
	for (int i = 0; i < PLAIN_PAGES - 1; i++)
		fill(heap + i * PAGE, 7);
}

static const char *check_pages(const char *area, unsigned long pages, unsigned salt)
{
	for (unsigned long i = 0; i < pages; i++)
		if (!holds(area + i * PAGE, salt))
			return "wrong contents";
	return NULL;
}

static const char *check_none(void)
{
	if (is_readable(none))
		return "readable, though it is PROT_NONE";
	if (mprotect(none, PLAIN_PAGES * PAGE, PROT_READ) != 0)
		return "cannot be made readable";
	return check_pages(none, PLAIN_PAGES, 1);
}

static const char *check_zero(void)
{
	for (int i = 0; i < PLAIN_PAGES; i++)
		if (!is_zero(zero + i * PAGE))
			return "not zero";
	memset(zero, 1, PLAIN_PAGES * PAGE);
	return zero[PLAIN_PAGES * PAGE - 1] == 1 ? NULL : "cannot be written";
}

static const char *check_sparse(void)
{
	for (int i = 0; i < SPARSE_PAGES; i++)
		if (i % 3 == 0 ? !holds(sparse + i * PAGE, 3) : !is_zero(sparse + i * PAGE))
			return "wrong contents";
	return NULL;
}

static const char *check_grows_down(void)
{
	for (int i = 1; i <= 32; i++)
		if (!holds(stack_top - i * PAGE, 5))
			return "wrong contents";
	/* A fault here ends the program: it must grow on. */
	for (int i = 33; i <= 64; i++)
		stack_top[-i * (long)PAGE] = 1;
	return NULL;
}

/* What `VmFlags` of /proc/self/smaps says of the area at `address`. */
static int has_flag(const char *address, const char *flag)
{
	FILE *smaps = fopen("/proc/self/smaps", "r");
	char line[512];
	int inside = 0, found = 0;

	while (smaps && fgets(line, sizeof(line), smaps)) {
		unsigned long start, end;

		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = start <= (uintptr_t)address && (uintptr_t)address < end;
		else if (inside && strncmp(line, "VmFlags:", 8) == 0)
			found = strstr(line, flag) != NULL;
	}
	if (smaps)
		fclose(smaps);
	return found;
}

static void check_advice(void)
{
	for (unsigned i = 0; i < ADVISED; i++) {
		const char *wrong = NULL;

		if (!holds(advice[i], 10) || !holds(advice[i] + PAGE, 11))
			wrong = "wrong contents";
		else if (has_flag(advice[i], advised[i].flag))
			wrong = "the page before has it, too";
		else if (!has_flag(advice[i] + PAGE, advised[i].flag))
			wrong = "it is gone";
		say(advised[i].name, wrong);
	}
}

static const char *check_droppable(void)
{
	if (droppable == MAP_FAILED)
		return NULL;
	for (int i = 0; i < PLAIN_PAGES; i++)
		if (!is_zero(droppable + i * PAGE) && !holds(droppable + i * PAGE, 8))
			return "wrong contents";
	return has_flag(droppable, " dp") ? NULL : "not droppable";
}

static const char *check_guarded(void)
{
	for (int i = 0; i < PLAIN_PAGES; i++) {
		int is_guard = has_guards && i >= FIRST_GUARD && i < FIRST_GUARD + GUARDS;

		if (is_readable(guarded + i * PAGE) == is_guard)
			return is_guard ? "a guard page can be read" : "a page cannot be read";
		if (!is_guard && !holds(guarded + i * PAGE, 9))
			return "wrong contents";
	}
	return NULL;
}

static const char *check_file(void)
{
	for (unsigned long i = 0; i < FILE_PAGES; i++) {
		if (i % 2 == 0 && !holds(file + i * PAGE, 6))
			return "a modified page has wrong contents";
		if (i % 2 == 1 && ((uint64_t *)file)[i * PAGE / 8] != i * PAGE / 8)
			return "an unmodified page has wrong contents";
	}
	return is_readable(file + FILE_PAGES * PAGE) ? "readable behind the end of the file" : NULL;
}

int main(int argc, char **argv)
{
	stack_t stack = { .ss_sp = signal_stack, .ss_size = sizeof(signal_stack) };
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };

	if (argc != 2) {
		fprintf(stderr, "usage: layout FILE\n");
		return 2;
	}
	sigaltstack(&stack, NULL);
	sigaction(SIGUSR1, &action, NULL);
	lay_out(argv[1]);
	printf("ready%s\n", has_guards ? " with guard pages" : "");
	fflush(stdout);
	for (;;) {
		while (!asked)
			pause();
		asked = 0;
		failures = 0;
		check_advice();
		say("none", check_none());
		say("read-only", check_pages(read_only, PLAIN_PAGES, 2));
		say("zero", check_zero());
		say("sparse", check_sparse());
		say("huge", check_pages(huge, HUGE_MIB * MIB / PAGE, 4));
		say("grows-down", check_grows_down());
		say("droppable", check_droppable());
		say("guarded", check_guarded());
		say("file", check_file());
		say("heap", check_pages(heap, PLAIN_PAGES - 1, 7));
		say("signal-stack", handler_frame - (uintptr_t)signal_stack < sizeof(signal_stack)
			? NULL : "the handler ran elsewhere");
		printf("done, %d failures\n", failures);
		fflush(stdout);
	}
}
