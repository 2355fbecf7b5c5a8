/*
 * aio: contexts of asynchronous I/O, one with events that were not taken.
 *
 * Usage: aio [busy]
 *
 * It prints "ready". At SIGUSR1 it takes the events, which must be those there were,
 * in their order, has more requests worked on in both contexts until the rings have
 * come round, and prints "FAIL WHAT" for each that is not as it is to be, and "done,
 * N failures". With "busy" a request is never done: it waits for a mount.
 */
#define _GNU_SOURCE
#include "check.h"
#include "asked.h"
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <sys/syscall.h>

#define WAITING 5

static int zero;

static void submit(aio_context_t context, int opcode, int fd, unsigned long data)
{
	static char bytes[64];
	struct iocb request = {
		.aio_data = data,
		.aio_lio_opcode = opcode,
		.aio_fildes = fd,
		.aio_buf = opcode == IOCB_CMD_POLL ? POLLPRI : (unsigned long)bytes,
		.aio_nbytes = opcode == IOCB_CMD_POLL ? 0 : sizeof(bytes),
	};
	struct iocb *requests[] = { &request };

	expect(syscall(SYS_io_submit, context, 1, requests) == 1, "a request is taken");
}

/* Takes one event, which must be that of a request. */
static void take(aio_context_t context, unsigned long data)
{
	struct timespec at_once = { 0 };
	struct io_event event = { 0 };
	long count = syscall(SYS_io_getevents, context, 0, 1, &event, &at_once);

	expect(count == 1, "there is an event for %lu: %ld", data, count);
	expect(event.data == data && event.res == 64, "it is that of %lu: %llu, %lld", data,
	       (unsigned long long)event.data, (long long)event.res);
}

static aio_context_t make(unsigned int requests)
{
	aio_context_t context = 0;

	must(syscall(SYS_io_setup, requests, &context), "io_setup");
	return context;
}

int main(int argc, char **argv)
{
	aio_context_t fresh = make(1), used = make(300);
	struct io_event none;
	struct timespec at_once = { 0 };

	(void)argv;
	zero = must(open("/dev/zero", O_RDWR), "/dev/zero");
	/* The ring has been used, and begins somewhere. */
	for (unsigned long i = 0; i < 100; i++) {
		submit(used, IOCB_CMD_PREAD, zero, i);
		take(used, i);
	}
	for (unsigned long i = 0; i < WAITING; i++)
		submit(used, IOCB_CMD_PREAD, zero, 1000 + i);
	if (argc > 1)
		submit(used, IOCB_CMD_POLL, must(open("/proc/self/mounts", O_RDONLY), "mounts"), 1);
	must(failures ? -1 : 0, "before it is saved");
	wait_until_asked();
	for (unsigned long i = 0; i < WAITING; i++)
		take(used, 1000 + i);
	expect(syscall(SYS_io_getevents, used, 0, 1, &none, &at_once) == 0, "no more events");
	for (unsigned long i = 0; i < 2000; i++) {
		submit(used, IOCB_CMD_PREAD, zero, i);
		take(used, i);
		submit(fresh, IOCB_CMD_PREAD, zero, i);
		take(fresh, i);
	}
	expect(syscall(SYS_io_destroy, used) == 0 && syscall(SYS_io_destroy, fresh) == 0,
	       "the contexts end");
	printf("done, %d failures\n", failures);
	fflush(stdout);
	for (;;)
		pause();
}
