/*
 * Asks a memcached for as much as it gives, and tells what that was.
 *
 * Usage: cache_load SOCKET fill
 *        cache_load SOCKET SECONDS
 *
 * The first sets KEYS values, which the second needs. One connection to the Unix socket, one request at a time: nine of ten get one
 * of the values, the tenth sets it. Prints operations per second, and the
 * latency that half, 99 % and all of the operations stay below, in seconds.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define KEYS 2000
#define VALUE 1024
#define MAX_OPERATIONS (16ul << 20)

static int server;
static char value[VALUE + 1];
static uint32_t *latencies;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* Sends a request and waits for an answer that ends with `end`. */
static void ask(const char *request, size_t length, const char *end)
{
	char answer[VALUE + 256];
	size_t have = 0, tail = strlen(end);

	while (length) {
		ssize_t sent = write(server, request, length);

		if (sent <= 0)
			fail("write");
		request += sent;
		length -= (size_t)sent;
	}
	do {
		ssize_t got = read(server, answer + have, sizeof(answer) - have);

		if (got <= 0)
			fail("read");
		have += (size_t)got;
	} while (have < tail || memcmp(answer + have - tail, end, tail) != 0);
	/* A value that is not there is an answer of nothing but its end. */
	if (have == tail && strcmp(end, "END\r\n") == 0) {
		fprintf(stderr, "a value is lost\n");
		exit(1);
	}
}

static void set(unsigned key)
{
	char request[VALUE + 128];
	int length = snprintf(request, sizeof(request), "set key%u 0 0 %d\r\n%s\r\n", key, VALUE, value);

	ask(request, (size_t)length, "STORED\r\n");
}

static void get(unsigned key)
{
	char request[64];
	int length = snprintf(request, sizeof(request), "get key%u\r\n", key);

	ask(request, (size_t)length, "END\r\n");
}

static int by_size(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return (left > right) - (left < right);
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	uint64_t began, ended, before, after, count = 0;
	unsigned random = 1;

	if (argc != 3 || strlen(argv[1]) >= sizeof(address.sun_path)) {
		fprintf(stderr, "usage: cache_load SOCKET fill|SECONDS\n");
		return 2;
	}
	strcpy(address.sun_path, argv[1]);
	server = socket(AF_UNIX, SOCK_STREAM, 0);
	if (server < 0 || connect(server, (struct sockaddr *)&address, sizeof(address)) != 0)
		fail(argv[1]);
	latencies = malloc(MAX_OPERATIONS * sizeof(*latencies));
	if (!latencies)
		fail("malloc");
	memset(value, 'v', VALUE);
	if (strcmp(argv[2], "fill") == 0) {
		for (unsigned key = 0; key < KEYS; key++)
			set(key);
		return 0;
	}
	began = before = now();
	ended = began + strtoull(argv[2], NULL, 10) * 1000000000u;
	do {
		random = random * 1103515245u + 12345u;
		if (count % 10 == 9)
			set((random >> 8) % KEYS);
		else
			get((random >> 8) % KEYS);
		after = now();
		latencies[count++] = after - before > UINT32_MAX ? UINT32_MAX : (uint32_t)(after - before);
		before = after;
	} while (after < ended && count < MAX_OPERATIONS);
	qsort(latencies, count, sizeof(*latencies), by_size);
	printf("%.3f %.9f %.9f %.9f\n", (double)count * 1e9 / (double)(after - began), latencies[count / 2] / 1e9,
	       latencies[count - 1 - count / 100] / 1e9, latencies[count - 1] / 1e9);
	return 0;
}
