/* How programs tell what was lost: "FAIL WHAT" for each thing. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;

static void expect(int holds, const char *format, ...)
{
	va_list args;

	if (holds)
		return;
	failures++;
	printf("FAIL ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf(" (%s)\n", strerror(errno));
}

/* For what is done before the process is saved. */
static int must(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
	return result;
}
