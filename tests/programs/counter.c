/*
 * Counts the expirations of an interval timer on standard output, one number a
 * line. A gap or a repeated number in the output is a lost or doubled tick.
 *
 * Usage: counter [MILLISECONDS]
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

static volatile sig_atomic_t ticks;

static void on_alarm(int signal)
{
	(void)signal;
	ticks++;
}

int main(int argc, char **argv)
{
	long milliseconds = argc > 1 ? atol(argv[1]) : 500;
	struct timeval period = { milliseconds / 1000, milliseconds % 1000 * 1000 };
	struct itimerval timer = { period, period };
	struct sigaction action = { .sa_handler = on_alarm };
	sigset_t alarm_only, before;

	sigaction(SIGALRM, &action, NULL);
	sigemptyset(&alarm_only);
	sigaddset(&alarm_only, SIGALRM);
	/* Ticks come in sigsuspend() only, so that none is missed in between. */
	sigprocmask(SIG_BLOCK, &alarm_only, &before);
	if (setitimer(ITIMER_REAL, &timer, NULL) != 0) {
		perror("setitimer");
		return 1;
	}
	for (long printed = 0;;) {
		while (printed == ticks)
			sigsuspend(&before);
		printf("%ld\n", ++printed);
		fflush(stdout);
	}
}
