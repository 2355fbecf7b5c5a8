/*
 * named KIND...: makes sockets of the Unix family of these kinds that have names,
 * or are connected to some that have, prints "ready" and waits. At SIGUSR1 it
 * looks whether all of them are as they were, prints "FAIL WHAT" for each that is
 * not, and "done, N failures".
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "asked.h"
#include "check.h"
#include "fds.h"
#include "kinds.h"
#include "named/names.h"

#include "named/connections.h"
#include "named/datagrams.h"
#include "named/kin.h"
#include "named/listeners.h"
#include "named/pending.h"

static const struct kind kinds[] = {
	{ "listeners", make_listeners, check_listeners },
	{ "connections", make_connections, check_connections },
	{ "dotted", make_dotted, check_dotted },
	{ "pending", make_pending, check_pending },
	{ "pending_data", make_pending_data, check_pending_data },
	{ "pending_flight", make_pending_flight, check_pending_flight },
	{ "datagrams", make_datagrams, check_datagrams },
	{ "kin", make_kin, check_kin },
};

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	make_and_check(kinds, SIZE(kinds), argc, argv);
}
