/*
 * registered: what threads have registered with the kernel.
 *
 * One thread is in a restartable sequence all the time: wherever it is interrupted
 * there, it must go on at the abort handler, which counts and begins anew. A child
 * holds a robust mutex in memory that both share. The program prints
 *
 *     sequence START END ABORT
 *     ready
 *
 * At SIGUSR1 it looks whether the thread was sent to the abort handler, ends the
 * child, and takes the mutex: it must be told that its owner died. It prints "FAIL
 * WHAT" for each that is not so, and "done, N failures".
 */
#define _GNU_SOURCE
#include "check.h"
#include "asked.h"
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* As the kernel has them (include/uapi/linux/rseq.h). */
struct sequence {
	uint32_t version, flags;
	uint64_t start, length, abort;
} __attribute__((aligned(32)));

struct registration {
	uint32_t cpu_id_start, cpu_id;
	uint64_t sequence;
	uint32_t flags;
};

/* Where libc has registered it for each thread (glibc 2.35 and later). */
extern const ptrdiff_t __rseq_offset;
extern const unsigned int __rseq_size;

static struct sequence sequence;
static volatile uint64_t aborts;
static volatile int leave;

static struct registration *registration(void)
{
	return (struct registration *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

static void *be_in_sequence(void *argument)
{
	(void)argument;
	__asm__ volatile(
		"leaq 1f(%%rip), %%rax\n\t"
		"movq %%rax, %[start]\n\t"
		"leaq 2f(%%rip), %%rcx\n\t"
		"subq %%rax, %%rcx\n\t"
		"movq %%rcx, %[length]\n\t"
		"leaq 4f(%%rip), %%rax\n\t"
		"movq %%rax, %[abort]\n\t"
		"3:\n\t"
		"leaq %[sequence], %%rax\n\t"
		"movq %%rax, %[registered]\n\t"
		"1:\n\t"
		"cmpl $0, %[leave]\n\t"
		"je 1b\n\t"
		"2:\n\t"
		"jmp 5f\n\t"
		/* The signature that the kernel looks for before the handler. */
		".byte 0x0f, 0xb9, 0x3d\n\t"
		".long 0x53053053\n\t"
		"4:\n\t"
		"lock incq %[aborts]\n\t"
		"jmp 3b\n\t"
		"5:\n\t"
		: [start] "=m"(sequence.start), [length] "=m"(sequence.length),
		  [abort] "=m"(sequence.abort), [registered] "=m"(registration()->sequence),
		  [aborts] "+m"(aborts)
		: [sequence] "m"(sequence), [leave] "m"(leave)
		: "rax", "rcx", "memory", "cc");
	return NULL;
}

/* A mutex that tells when its owner has died. */
static pthread_mutex_t *make_mutex(void)
{
	pthread_mutexattr_t attributes;
	pthread_mutex_t *mutex = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	must(mutex == MAP_FAILED ? -1 : 0, "mmap");
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	must(-pthread_mutex_init(mutex, &attributes), "pthread_mutex_init");
	return mutex;
}

int main(void)
{
	pthread_mutex_t *mutex = make_mutex();
	uint64_t before;
	pthread_t thread;
	int locked[2], result;
	pid_t child;

	must(__rseq_size == 0 ? -1 : 0, "libc has registered no restartable sequences");
	must(pipe(locked), "pipe");
	child = must(fork(), "fork");
	if (child == 0) {
		must(-pthread_mutex_lock(mutex), "pthread_mutex_lock");
		must(write(locked[1], "x", 1), "write");
		for (;;)
			pause();
	}
	must(read(locked[0], &result, 1), "read");
	must(-pthread_create(&thread, NULL, be_in_sequence, NULL), "pthread_create");
	while (*(volatile uint64_t *)&sequence.abort == 0)
		usleep(1000);
	printf("sequence %lx %lx %lx\n", sequence.start, sequence.start + sequence.length,
	       sequence.abort);
	wait_until_asked();
	before = aborts;
	/* A signal is what it is sent to the handler by, then as before. */
	for (int i = 0; i < 1000 && aborts == before; i++) {
		pthread_kill(thread, SIGUSR1);
		usleep(10000);
	}
	expect(aborts > before, "the sequence is still registered: %lu", aborts);
	leave = 1;
	expect(pthread_join(thread, NULL) == 0, "the thread ends");
	expect(pthread_mutex_trylock(mutex) == EBUSY, "the mutex is held");
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	result = pthread_mutex_lock(mutex);
	expect(result == EOWNERDEAD, "the owner has died: %d", result);
	printf("done, %d failures\n", failures);
	fflush(stdout);
	for (;;)
		pause();
}
