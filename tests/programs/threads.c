/*
 * Eight threads that hold known values in everything a thread has of its own,
 * and look at them without end: thread-local variables, the 16 AVX registers,
 * MXCSR, the x87 stack and control word, both segment bases. They pass a turn
 * around with a mutex and a condition variable. Even threads hold their
 * registers in user mode, odd ones across a system call that sleeps.
 *
 * Prints "ready", then "round N ok" each time the turn has come around a number
 * of times; at the first wrong value "FAIL ..." and exits with status 1.
 */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 8, REGISTERS = 16, LANES = 4, ROUNDS_A_LINE = 20 };

struct vectors {
	uint64_t lane[REGISTERS][LANES];
} __attribute__((aligned(32)));

static _Thread_local uint64_t local_values[32];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t moved = PTHREAD_COND_INITIALIZER;
static long turn;

static _Noreturn void fail(long thread, const char *what)
{
	printf("FAIL thread %ld: %s\n", thread, what);
	fflush(stdout);
	_exit(1);
}

static uint64_t pattern(long thread, int index)
{
	return 0x9e3779b97f4a7c15u * (uint64_t)(thread * 1000 + index + 1);
}

#define EACH_REGISTER(DO) \
	DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) \
	DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15)
#define LOAD(n) "vmovdqa " #n "*32(%[in]), %%ymm" #n "\n\t"
#define STORE(n) "vmovdqa %%ymm" #n ", " #n "*32(%[out])\n\t"
#define CLOBBER "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7", \
	"ymm8", "ymm9", "ymm10", "ymm11", "ymm12", "ymm13", "ymm14", "ymm15"

/* Holds the registers through `spins` turns of a loop in user mode. */
static void hold_running(const struct vectors *in, struct vectors *out, long spins)
{
	__asm__ volatile(EACH_REGISTER(LOAD)
			 "1: dec %[spins]\n\t"
			 "jnz 1b\n\t"
			 EACH_REGISTER(STORE)
			 : [spins] "+r"(spins)
			 : [in] "r"(in), [out] "r"(out)
			 : "memory", "cc", CLOBBER);
}

/* Holds the registers through nanosleep(2); whether it ends early is no matter. */
static void hold_sleeping(const struct vectors *in, struct vectors *out, long nanoseconds)
{
	struct timespec span = { 0, nanoseconds };
	long result = SYS_nanosleep;

	__asm__ volatile(EACH_REGISTER(LOAD)
			 "syscall\n\t"
			 EACH_REGISTER(STORE)
			 : "+a"(result)
			 : "D"(&span), "S"(NULL), [in] "r"(in), [out] "r"(out)
			 : "memory", "cc", "rcx", "r11", CLOBBER);
	if (result != 0 && result != -4)
		fail(-1, "nanosleep returned something else than 0 and EINTR");
}

/* Loads what changes rarely: TLS, segment base, and the two control words. */
static void set_up(long thread)
{
	uint32_t mxcsr = 0x1f80 | (uint32_t)(thread % 4) << 13;
	uint16_t control = 0x037f | (uint16_t)(thread % 4) << 10;

	for (int i = 0; i < 32; i++)
		local_values[i] = pattern(thread, 500 + i);
	if (syscall(SYS_arch_prctl, ARCH_SET_GS, 0x10000 * (thread + 1)) != 0)
		fail(thread, "cannot set the GS base");
	__asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
	__asm__ volatile("fninit\n\tfldcw %0\n\tfldpi" : : "m"(control));
}

static void check_rest(long thread)
{
	unsigned long gs = 0;
	uint32_t mxcsr;
	uint16_t control;
	long double pi;

	for (int i = 0; i < 32; i++)
		if (local_values[i] != pattern(thread, 500 + i))
			fail(thread, "a thread-local variable");
	syscall(SYS_arch_prctl, ARCH_GET_GS, &gs);
	if (gs != 0x10000 * (unsigned long)(thread + 1))
		fail(thread, "the GS base");
	__asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
	if ((mxcsr & ~0x3fu) != (0x1f80 | (uint32_t)(thread % 4) << 13))
		fail(thread, "MXCSR");
	__asm__ volatile("fnstcw %0" : "=m"(control));
	if (control != (0x037f | (uint16_t)(thread % 4) << 10))
		fail(thread, "the x87 control word");
	/* Down from the x87 stack and up again. */
	__asm__ volatile("fld %%st(0)\n\tfstpt %0" : "=m"(pi));
	if (pi < 3.14159265358979323L || pi > 3.14159265358979325L)
		fail(thread, "the top of the x87 stack");
}

static void *work(void *argument)
{
	long thread = (long)argument;
	struct vectors in, out;

	set_up(thread);
	for (int i = 0; i < REGISTERS * LANES; i++)
		in.lane[i / LANES][i % LANES] = pattern(thread, i);
	for (;;) {
		memset(&out, 0, sizeof(out));
		if (thread % 2 == 0)
			hold_running(&in, &out, 2000000);
		else
			hold_sleeping(&in, &out, 20 * 1000 * 1000);
		if (memcmp(&in, &out, sizeof(in)) != 0)
			fail(thread, "an AVX register");
		check_rest(thread);

		pthread_mutex_lock(&lock);
		while (turn % THREADS != thread)
			pthread_cond_wait(&moved, &lock);
		turn++;
		if (turn % (THREADS * ROUNDS_A_LINE) == 0) {
			printf("round %ld ok\n", turn / THREADS);
			fflush(stdout);
		}
		pthread_cond_broadcast(&moved);
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

int main(void)
{
	pthread_t thread;

	if (!__builtin_cpu_supports("avx"))
		fail(-1, "this CPU has no AVX");
	for (long i = 1; i < THREADS; i++)
		if (pthread_create(&thread, NULL, work, (void *)i) != 0)
			fail(i, "cannot be started");
	printf("ready\n");
	fflush(stdout);
	work((void *)0L);
}
