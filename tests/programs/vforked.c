/*
 * A process that waits for a child of vfork(), which no signal ends but
 * SIGKILL, and nothing freezes. Prints "ready"; when the child is gone, it
 * sleeps.
 */
#define _GNU_SOURCE
#include <unistd.h>

int main(void)
{
	if (vfork() == 0) {
		if (write(1, "ready\n", 6) != 6)
			_exit(1);
		pause();
		_exit(0);
	}
	pause();
	return 0;
}
