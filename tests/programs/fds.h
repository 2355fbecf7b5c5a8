/* Bytes of a pattern in descriptors, and descriptors in messages. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static char pattern(unsigned seed, size_t at)
{
	return (char)((at + seed) * 2654435761u >> 13);
}

static int holds(const char *bytes, unsigned seed, size_t from, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (bytes[i] != pattern(seed, from + i))
			return 0;
	return 1;
}

/* In one go. */
static void put(int fd, unsigned seed, size_t from, size_t count)
{
	char *bytes = malloc(count + 1);

	for (size_t i = 0; i < count; i++)
		bytes[i] = pattern(seed, from + i);
	if (write(fd, bytes, count) != (ssize_t)count) {
		perror("write");
		exit(1);
	}
	free(bytes);
}

/* Whether `count` bytes of the pattern come next. */
static int get(int fd, unsigned seed, size_t from, size_t count)
{
	char bytes[4096];

	while (count > 0) {
		ssize_t part = read(fd, bytes, count < sizeof(bytes) ? count : sizeof(bytes));

		if (part <= 0 || !holds(bytes, seed, from, (size_t)part))
			return 0;
		from += (size_t)part;
		count -= (size_t)part;
	}
	return 1;
}

static int waiting(int fd)
{
	int bytes = -1;

	ioctl(fd, FIONREAD, &bytes);
	return bytes;
}

static void send_fds(int fd, const char *bytes, const int *fds, size_t count)
{
	_Alignas(struct cmsghdr) char control[256] = { 0 };
	struct iovec data = { (char *)bytes, strlen(bytes) };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control };
	struct cmsghdr *header = (struct cmsghdr *)control;

	message.msg_controllen = CMSG_SPACE(count * sizeof(int));
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(header), fds, count * sizeof(int));
	if (sendmsg(fd, &message, 0) != (ssize_t)data.iov_len) {
		perror("sendmsg");
		exit(1);
	}
}

/* How many descriptors come with the next `count` bytes; at most four. */
static int receive_fds(int fd, char *bytes, size_t count, int *fds)
{
	_Alignas(struct cmsghdr) char control[256] = { 0 };
	struct iovec data = { bytes, count };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = sizeof(control) };
	struct cmsghdr *header = (struct cmsghdr *)control;
	size_t got;

	if (recvmsg(fd, &message, MSG_DONTWAIT) != (ssize_t)count || message.msg_controllen == 0 ||
	    header->cmsg_type != SCM_RIGHTS)
		return -1;
	got = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(fds, CMSG_DATA(header), (got < 4 ? got : 4) * sizeof(int));
	return (int)got;
}
