/*
 * How programs make things of the kinds that they are told, wait until they are
 * asked, and say what was lost. Needs asked.h and check.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIZE(array) (sizeof(array) / sizeof((array)[0]))

struct kind {
	const char *name;
	void (*make)(void);
	void (*check)(void);
};

static int is_wanted(const char *name, int argc, char **argv)
{
	for (int arg = 1; arg < argc; arg++)
		if (strcmp(argv[arg], name) == 0)
			return 1;
	return 0;
}

/* In the order in which they are listed. Does not return. */
static void make_and_check(const struct kind *kinds, size_t count, int argc, char **argv)
{
	int wanted = 0;

	for (size_t i = 0; i < count; i++)
		wanted += is_wanted(kinds[i].name, argc, argv);
	if (wanted == 0 || wanted != argc - 1) {
		fprintf(stderr, "%d of %d kinds are known\n", wanted, argc - 1);
		exit(2);
	}
	for (size_t i = 0; i < count; i++)
		if (is_wanted(kinds[i].name, argc, argv))
			kinds[i].make();
	wait_until_asked();
	for (size_t i = 0; i < count; i++)
		if (is_wanted(kinds[i].name, argc, argv))
			kinds[i].check();
	printf("done, %d failures\n", failures);
	fflush(stdout);
	for (;;)
		pause();
}
