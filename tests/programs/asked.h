/* How programs wait, in pause(2), until SIGUSR1 asks them to look at what they have. */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static volatile sig_atomic_t asked;

static void ask(int signal)
{
	(void)signal;
	asked = 1;
}

static void wait_until_asked(void)
{
	signal(SIGUSR1, ask);
	printf("ready\n");
	fflush(stdout);
	while (!asked)
		pause();
}
