/*
 * raw KIND...: makes sockets of these kinds that are below TCP and UDP, or talk to
 * the kernel, prints "ready" and waits. At SIGUSR1 it looks
 * whether all of them are as they were, prints "FAIL WHAT" for each that is not,
 * and "done, N failures".
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/icmp.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "asked.h"
#include "check.h"
#include "kinds.h"

static int socket_of(int protocol)
{
	return must(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol), "socket");
}

static void bind_to(int fd, unsigned port, unsigned groups)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_pid = port, .nl_groups = groups };

	must(bind(fd, (struct sockaddr *)&address, sizeof(address)), "bind");
}

static struct sockaddr_nl name_of(int fd)
{
	struct sockaddr_nl address = { 0 };
	socklen_t length = sizeof(address);

	getsockname(fd, (struct sockaddr *)&address, &length);
	return address;
}

static void set(int fd, int level, int name, int value)
{
	must(setsockopt(fd, level, name, &value, sizeof(value)), "setsockopt");
}

static int option(int fd, int name)
{
	int value = -1;
	socklen_t length = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &length) == 0 ? value : -1;
}

static void check_bound(const char *what, int fd, int protocol, unsigned port, unsigned groups)
{
	struct sockaddr_nl address = name_of(fd);

	expect(option(fd, SO_PROTOCOL) == protocol, "%s: protocol %d", what, option(fd, SO_PROTOCOL));
	expect(address.nl_pid == port, "%s: port %u instead of %u", what, address.nl_pid, port);
	expect(address.nl_groups == groups, "%s: groups %#x instead of %#x", what, address.nl_groups,
	       groups);
}

/* Whether the kernel tells of a network device that is asked for by its number. */
static int is_answered(int fd)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg link;
	} request = {
		.header = { .nlmsg_len = sizeof(request), .nlmsg_type = RTM_GETLINK,
			    .nlmsg_flags = NLM_F_REQUEST, .nlmsg_seq = 7 },
		.link = { .ifi_family = AF_UNSPEC, .ifi_index = 1 },
	};
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	union {
		struct nlmsghdr header;
		char bytes[8192];
	} answer;
	ssize_t count;

	if (sendto(fd, &request, sizeof(request), 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0)
		return 0;
	count = recv(fd, &answer, sizeof(answer), 0);
	return count > (ssize_t)sizeof(answer.header) && answer.header.nlmsg_type == RTM_NEWLINK &&
	       answer.header.nlmsg_seq == 7;
}

#define PORT 0x7654321

static struct {
	int fresh, asking, listening, events, diagnosing, members[2];
	unsigned automatic;
} netlink;

static void make_netlink(void)
{
	struct sock_filter accept_all[] = { BPF_STMT(BPF_RET | BPF_K, 0xffff) };
	struct sock_fprog program = { 1, accept_all };

	netlink.fresh = socket_of(NETLINK_ROUTE);
	netlink.asking = socket_of(NETLINK_ROUTE);
	bind_to(netlink.asking, 0, 0);
	netlink.automatic = name_of(netlink.asking).nl_pid;
	netlink.listening = socket_of(NETLINK_ROUTE);
	bind_to(netlink.listening, PORT, RTMGRP_LINK | RTMGRP_IPV4_IFADDR);
	set(netlink.listening, SOL_SOCKET, SO_RCVBUF, 100000);
	must(fcntl(netlink.listening, F_SETFL, O_NONBLOCK), "F_SETFL");
	netlink.events = socket_of(NETLINK_KOBJECT_UEVENT);
	bind_to(netlink.events, PORT, 2);
	set(netlink.events, SOL_SOCKET, SO_PASSCRED, 1);
	must(setsockopt(netlink.events, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)), "filter");
	netlink.diagnosing = socket_of(NETLINK_SOCK_DIAG);
	for (int i = 0; i < 2; i++)
		netlink.members[i] = socket_of(NETLINK_USERSOCK);
	bind_to(netlink.members[0], PORT, 0);
	set(netlink.members[0], SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, 5);
}

static void check_netlink(void)
{
	struct sockaddr_nl group = { .nl_family = AF_NETLINK, .nl_groups = 1 << 4 };
	struct nlmsghdr message = { .nlmsg_len = sizeof(message), .nlmsg_seq = 99 }, got = { 0 };
	socklen_t length = 0;

	check_bound("fresh", netlink.fresh, NETLINK_ROUTE, 0, 0);
	check_bound("asking", netlink.asking, NETLINK_ROUTE, netlink.automatic, 0);
	expect(is_answered(netlink.asking) && is_answered(netlink.fresh), "answers");
	check_bound("listening", netlink.listening, NETLINK_ROUTE, PORT, RTMGRP_LINK | RTMGRP_IPV4_IFADDR);
	expect(option(netlink.listening, SO_RCVBUF) == 200000 &&
	       fcntl(netlink.listening, F_GETFL) == (O_RDWR | O_NONBLOCK), "options");
	check_bound("events", netlink.events, NETLINK_KOBJECT_UEVENT, PORT, 2);
	expect(option(netlink.events, SO_PASSCRED) == 1, "SO_PASSCRED");
	expect(getsockopt(netlink.events, SOL_SOCKET, SO_ATTACH_FILTER, NULL, &length) == 0 && length == 1,
	       "filter: %d instructions", length);
	check_bound("diagnosing", netlink.diagnosing, NETLINK_SOCK_DIAG, 0, 0);
	check_bound("members", netlink.members[0], NETLINK_USERSOCK, PORT, 1 << 4);
	/* The kernel, whom it goes to besides, does not listen. */
	expect(sendto(netlink.members[1], &message, sizeof(message), 0, (struct sockaddr *)&group,
		      sizeof(group)) == -1 && errno == ECONNREFUSED &&
	       recv(netlink.members[0], &got, sizeof(got), MSG_DONTWAIT) == sizeof(got) &&
	       got.nlmsg_seq == 99, "a message to a group");
}

static int value_of(int fd, int level, int name)
{
	int value = -1;
	socklen_t length = sizeof(value);

	return getsockopt(fd, level, name, &value, &length) == 0 ? value : -1;
}

/* Raw sockets. */

/* A protocol for experiments, of which nothing comes by itself. */
#define PROTOCOL 253
#ifndef IPV6_HDRINCL
#define IPV6_HDRINCL 36
#endif

static struct {
	int icmp, bound, header, icmp6, header6;
} raw;
static const struct sockaddr_in here = { .sin_family = AF_INET, .sin_addr = { 0x0100007f } };
static struct icmp6_filter filter6;

static void make_raw(void)
{
	struct icmp_filter filter = { ~(1u << ICMP_ECHOREPLY) };

	raw.icmp = must(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP), "icmp");
	must(setsockopt(raw.icmp, SOL_RAW, ICMP_FILTER, &filter, sizeof(filter)), "ICMP_FILTER");
	raw.bound = must(socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK, PROTOCOL), "raw");
	must(bind(raw.bound, (struct sockaddr *)&here, sizeof(here)), "bind");
	raw.header = must(socket(AF_INET, SOCK_RAW, IPPROTO_RAW), "raw");
	set(raw.header, IPPROTO_IP, 22 /* IP_NODEFRAG */, 1);
	raw.icmp6 = must(socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6), "icmp6");
	ICMP6_FILTER_SETBLOCKALL(&filter6);
	ICMP6_FILTER_SETPASS(200, &filter6);
	must(setsockopt(raw.icmp6, IPPROTO_ICMPV6, ICMP6_FILTER, &filter6, sizeof(filter6)), "filter");
	raw.header6 = must(socket(AF_INET6, SOCK_RAW, PROTOCOL), "raw6");
	set(raw.header6, IPPROTO_IPV6, IPV6_HDRINCL, 1);
}

/* An echo request comes back as a request and an answer, of which one is let through. */
static int echoes(int fd)
{
	struct icmphdr request = { .type = ICMP_ECHO, .checksum = (uint16_t)~ICMP_ECHO };
	struct {
		char header[20];
		struct icmphdr answer;
	} got;

	if (sendto(fd, &request, sizeof(request), 0, (struct sockaddr *)&here, sizeof(here)) < 0)
		return 0;
	return recv(fd, &got, sizeof(got), 0) == sizeof(got) && got.answer.type == ICMP_ECHOREPLY &&
	       recv(fd, &got, sizeof(got), MSG_DONTWAIT) == -1;
}

static void check_raw(void)
{
	struct sockaddr_in name = { 0 };
	struct icmp6_filter got = { { 0 } };
	struct icmp_filter filter = { 0 };
	socklen_t length = sizeof(filter);
	char bytes[30];

	expect(getsockopt(raw.icmp, SOL_RAW, ICMP_FILTER, &filter, &length) == 0 &&
	       filter.data == ~(1u << ICMP_ECHOREPLY), "ICMP_FILTER: %#x", filter.data);
	length = sizeof(name);
	expect(getsockname(raw.bound, (struct sockaddr *)&name, &length) == 0 &&
	       name.sin_addr.s_addr == here.sin_addr.s_addr, "address");
	expect(echoes(raw.icmp), "an echo");
	expect(option(raw.bound, SO_TYPE) == SOCK_RAW && option(raw.bound, SO_PROTOCOL) == PROTOCOL,
	       "protocol %d", option(raw.bound, SO_PROTOCOL));
	expect(sendto(raw.bound, "x", 1, 0, (struct sockaddr *)&here, sizeof(here)) == 1 &&
	       recv(raw.bound, bytes, sizeof(bytes), 0) == 21 && bytes[20] == 'x', "a packet");
	expect(value_of(raw.bound, IPPROTO_IP, IP_HDRINCL) == 0, "no IP_HDRINCL");
	expect(value_of(raw.header, IPPROTO_IP, IP_HDRINCL) == 1 &&
	       value_of(raw.header, IPPROTO_IP, 22) == 1, "IP_HDRINCL, IP_NODEFRAG");
	length = sizeof(got);
	expect(getsockopt(raw.icmp6, IPPROTO_ICMPV6, ICMP6_FILTER, &got, &length) == 0 &&
	       memcmp(&got, &filter6, sizeof(got)) == 0, "ICMP6_FILTER");
	expect(value_of(raw.header6, IPPROTO_IPV6, IPV6_HDRINCL) == 1, "IPV6_HDRINCL");
}

/* A raw socket with a peer, which CRIU itself takes for a TCP connection at a dump. */

static int connected;

static void make_connected(void)
{
	struct sockaddr_in there = here;

	there.sin_port = htons(9);
	connected = must(socket(AF_INET, SOCK_RAW, PROTOCOL + 1), "raw");
	must(connect(connected, (struct sockaddr *)&there, sizeof(there)), "connect");
}

static void check_connected(void)
{
	struct sockaddr_in name = { 0 };
	socklen_t length = sizeof(name);
	char bytes[30];

	expect(getpeername(connected, (struct sockaddr *)&name, &length) == 0 &&
	       name.sin_addr.s_addr == here.sin_addr.s_addr && name.sin_port == htons(9), "peer");
	expect(send(connected, "yz", 2, 0) == 2 && recv(connected, bytes, sizeof(bytes), 0) == 22,
	       "a packet over a connection");
}

/* Sockets of packets. */

/* Types of packets for experiments, of which nothing comes by itself. */
#define ONE 0x88b5
#define OTHER 0x88b6

static struct {
	int fresh, one, other;
} packet;

static int packet_socket(int type, int protocol, int device)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons((uint16_t)protocol),
				       .sll_ifindex = device };
	int fd = must(socket(AF_PACKET, type, htons((uint16_t)protocol)), "packet");

	if (device != 0)
		must(bind(fd, (struct sockaddr *)&address, sizeof(address)), "bind");
	return fd;
}

static void make_packet(void)
{
	struct packet_mreq all = { .mr_ifindex = 1, .mr_type = PACKET_MR_PROMISC };
	struct packet_mreq some = { 1, PACKET_MR_MULTICAST, 6, { 1, 2, 3, 4, 5, 6 } };

	packet.fresh = packet_socket(SOCK_RAW, 0, 0);
	packet.one = packet_socket(SOCK_DGRAM, ONE, 1);
	set(packet.one, SOL_PACKET, PACKET_VERSION, TPACKET_V2);
	set(packet.one, SOL_PACKET, PACKET_RESERVE, 24);
	set(packet.one, SOL_PACKET, PACKET_COPY_THRESH, 500);
	set(packet.one, SOL_PACKET, PACKET_TIMESTAMP, 1 << 6);
	set(packet.one, SOL_PACKET, PACKET_AUXDATA, 1);
	set(packet.one, SOL_PACKET, PACKET_LOSS, 1);
	must(setsockopt(packet.one, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof(all)), "promiscuous");
	must(setsockopt(packet.one, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &some, sizeof(some)), "multicast");
	packet.other = packet_socket(SOCK_RAW | SOCK_NONBLOCK, OTHER, 0);
	set(packet.other, SOL_PACKET, PACKET_VNET_HDR, 1);
	set(packet.other, SOL_PACKET, PACKET_ORIGDEV, 1);
}

/* Of the device lo, from sysfs. */
static int is_promiscuous(void)
{
	FILE *flags = fopen("/sys/class/net/lo/flags", "r");
	unsigned value = 0;

	if (flags == NULL || fscanf(flags, "%x", &value) != 1)
		value = 0;
	if (flags != NULL)
		fclose(flags);
	return (value & 0x100) != 0;
}

static void check_packet_name(const char *what, int fd, int protocol, int device)
{
	struct sockaddr_ll name = { 0 };
	socklen_t length = sizeof(name);

	expect(getsockname(fd, (struct sockaddr *)&name, &length) == 0 &&
	       name.sll_protocol == htons((uint16_t)protocol) && name.sll_ifindex == device,
	       "%s: protocol %#x, device %d", what, ntohs(name.sll_protocol), name.sll_ifindex);
}

static void check_packet(void)
{
	struct sockaddr_ll there = { .sll_family = AF_PACKET, .sll_ifindex = 1, .sll_halen = 6 };
	char bytes[100];

	check_packet_name("fresh", packet.fresh, 0, 0);
	check_packet_name("one", packet.one, ONE, 1);
	check_packet_name("other", packet.other, OTHER, 0);
	expect(option(packet.one, SO_TYPE) == SOCK_DGRAM && option(packet.other, SO_TYPE) == SOCK_RAW,
	       "types");
	expect(value_of(packet.one, SOL_PACKET, PACKET_VERSION) == TPACKET_V2, "PACKET_VERSION");
	expect(value_of(packet.one, SOL_PACKET, PACKET_RESERVE) == 24, "PACKET_RESERVE");
	expect(value_of(packet.one, SOL_PACKET, PACKET_TIMESTAMP) == 1 << 6, "PACKET_TIMESTAMP");
	expect(value_of(packet.one, SOL_PACKET, PACKET_AUXDATA) == 1, "PACKET_AUXDATA");
	expect(value_of(packet.one, SOL_PACKET, PACKET_ORIGDEV) == 0, "no PACKET_ORIGDEV");
	expect(value_of(packet.one, SOL_PACKET, PACKET_LOSS) == 1, "PACKET_LOSS");
	expect(value_of(packet.one, SOL_PACKET, PACKET_VNET_HDR) == 0, "no PACKET_VNET_HDR");
	expect(value_of(packet.other, SOL_PACKET, PACKET_VNET_HDR) == 1, "PACKET_VNET_HDR");
	expect(value_of(packet.other, SOL_PACKET, PACKET_ORIGDEV) == 1, "PACKET_ORIGDEV");
	expect(is_promiscuous(), "membership");
	there.sll_protocol = htons(ONE);
	expect(sendto(packet.one, "packet", 6, 0, (struct sockaddr *)&there, sizeof(there)) == 6 &&
	       recv(packet.one, bytes, sizeof(bytes), 0) == 6 && memcmp(bytes, "packet", 6) == 0,
	       "a packet");
	there.sll_protocol = htons(OTHER);
	expect(sendto(packet.one, "other", 5, 0, (struct sockaddr *)&there, sizeof(there)) == 5 &&
	       recv(packet.other, bytes, sizeof(bytes), 0) == 10 + 14 + 5, "a packet with its headers");
	close(packet.one);
	expect(!is_promiscuous(), "membership ends");
}

static const struct kind kinds[] = {
	{ "raw", make_raw, check_raw },
	{ "connected", make_connected, check_connected },
	{ "packet", make_packet, check_packet },
	{ "netlink", make_netlink, check_netlink },
};

int main(int argc, char **argv)
{
	make_and_check(kinds, SIZE(kinds), argc, argv);
}
