/*
 * Eight threads that hold known values in everything a thread has of its own,
 * and look at them without end: thread-local variables, the 16 vector registers
 * (as AVX has them, where the CPU has it, else SSE), MXCSR, the x87 stack and
 * control word, both segment bases. They pass a turn around with a mutex and a
 * condition variable. Even threads hold their registers in user mode, odd ones
 * across a system call that sleeps.
 *
 * Prints "ready", then "round N ok" each time the turn has come around a number
 * of times; at the first wrong value "FAIL ..." and exits with status 1.
 */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <pthread.h>
#include <stdbool.h>
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
static bool has_avx;

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

#define EACH_REGISTER(DO, MOVE, NAME) \
	DO(0, MOVE, NAME) DO(1, MOVE, NAME) DO(2, MOVE, NAME) DO(3, MOVE, NAME) \
	DO(4, MOVE, NAME) DO(5, MOVE, NAME) DO(6, MOVE, NAME) DO(7, MOVE, NAME) \
	DO(8, MOVE, NAME) DO(9, MOVE, NAME) DO(10, MOVE, NAME) DO(11, MOVE, NAME) \
	DO(12, MOVE, NAME) DO(13, MOVE, NAME) DO(14, MOVE, NAME) DO(15, MOVE, NAME)
#define LOAD(n, MOVE, NAME) MOVE " " #n "*32(%[in]), %%" NAME #n "\n\t"
#define STORE(n, MOVE, NAME) MOVE " %%" NAME #n ", " #n "*32(%[out])\n\t"
/* To the compiler, these name the AVX registers as well. */
#define CLOBBER "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", \
	"xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

/* Holds the registers through `spins` turns of a loop in user mode. */
#define HOLD_RUNNING(MOVE, NAME) \
	__asm__ volatile(EACH_REGISTER(LOAD, MOVE, NAME) \
			 "1: dec %[spins]\n\t" \
			 "jnz 1b\n\t" \
			 EACH_REGISTER(STORE, MOVE, NAME) \
			 : [spins] "+r"(spins) \
			 : [in] "r"(in), [out] "r"(out) \
			 : "memory", "cc", CLOBBER)

static void hold_running(const struct vectors *in, struct vectors *out, long spins)
{
	if (has_avx)
		HOLD_RUNNING("vmovdqa", "ymm");
	else
		HOLD_RUNNING("movdqa", "xmm");
}

/* Holds the registers through nanosleep(2); whether it ends early is no matter. */
#define HOLD_SLEEPING(MOVE, NAME) \
	__asm__ volatile(EACH_REGISTER(LOAD, MOVE, NAME) \
			 "syscall\n\t" \
			 EACH_REGISTER(STORE, MOVE, NAME) \
			 : "+a"(result) \
			 : "D"(&span), "S"(NULL), [in] "r"(in), [out] "r"(out) \
			 : "memory", "cc", "rcx", "r11", CLOBBER)

static void hold_sleeping(const struct vectors *in, struct vectors *out, long nanoseconds)
{
	struct timespec span = { 0, nanoseconds };
	long result = SYS_nanosleep;

	if (has_avx)
		HOLD_SLEEPING("vmovdqa", "ymm");
	else
		HOLD_SLEEPING("movdqa", "xmm");
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
	struct vectors in = { 0 }, out;

	set_up(thread);
	for (int i = 0; i < REGISTERS; i++)
		for (int lane = 0; lane < (has_avx ? LANES : LANES / 2); lane++)
			in.lane[i][lane] = pattern(thread, i * LANES + lane);
	for (;;) {
		memset(&out, 0, sizeof(out));
		if (thread % 2 == 0)
			hold_running(&in, &out, 2000000);
		else
			hold_sleeping(&in, &out, 20 * 1000 * 1000);
		if (memcmp(&in, &out, sizeof(in)) != 0)
			fail(thread, "a vector register");
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

	has_avx = __builtin_cpu_supports("avx");
	for (long i = 1; i < THREADS; i++)
		if (pthread_create(&thread, NULL, work, (void *)i) != 0)
			fail(i, "cannot be started");
	printf("ready\n");
	fflush(stdout);
	work((void *)0L);
}
