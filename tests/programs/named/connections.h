/* Connections that were accepted. */
#define SERVER PATH("/run/" PREFIX "server")
#define PACKETS PATH(PREFIX "packets")
#define CLIENT PATH("/run/" PREFIX "client")
#define GONE PATH("/run/" PREFIX "gone")

static struct {
	int server, client[3], of[3], packets, packet_client, of_packets, gone[2], gone_client[2];
} connections;

static void make_connections(void)
{
	int fd;

	connections.server = listening(SOCK_STREAM, SERVER, 5);
	connections.client[0] = must(socket(AF_UNIX, SOCK_STREAM, 0), "socket");
	connections.client[1] = bound(SOCK_STREAM, CLIENT);
	connections.client[2] = bound(SOCK_STREAM, ABSTRACT("client"));
	for (int i = 0; i < 3; i++) {
		must(connect_to(connections.client[i], SERVER), "connect");
		connections.of[i] = must(accept(connections.server, NULL, NULL), "accept");
	}
	say(connections.client[1], "request");
	say(connections.of[1], "answer");
	must(shutdown(connections.client[2], SHUT_WR), "shutdown");
	must(chdir("/run"), "chdir");
	connections.packets = listening(SOCK_SEQPACKET, PACKETS, 5);
	connections.packet_client = connected(SOCK_SEQPACKET, PACKETS);
	must(chdir("/"), "chdir");
	connections.of_packets = must(accept(connections.packets, NULL, NULL), "accept");
	say(connections.of_packets, "packet");
	/* Those of a listener that is no more, whose file is still there. */
	fd = listening(SOCK_STREAM, GONE, 5);
	for (int i = 0; i < 2; i++) {
		connections.gone_client[i] = connected(SOCK_STREAM, GONE);
		connections.gone[i] = must(accept(fd, NULL, NULL), "accept");
	}
	close(fd);
}

static void check_connections(void)
{
	const struct name names[] = { NONE, CLIENT, ABSTRACT("client") };
	struct stat file;

	for (int i = 0; i < 3; i++) {
		int client = connections.client[i], server = connections.of[i];

		expect(is_named(client, names[i]) && has_peer(server, names[i]), "name of client %d", i);
		expect(is_named(server, SERVER) && has_peer(client, SERVER), "name for client %d", i);
	}
	expect(comes_from(connections.of[1], "request", CLIENT) &&
	       comes_from(connections.client[1], "answer", SERVER), "data of a connection");
	expect(are_connected(connections.client[0], connections.of[0]) &&
	       are_connected(connections.client[1], connections.of[1]), "connections");
	expect(recv(connections.of[2], &file, 1, MSG_DONTWAIT) == 0, "shut down");
	expect(is_reached(connections.server, SOCK_STREAM, SERVER), "another connection");
	expect(is_named(connections.of_packets, PACKETS) &&
	       comes_from(connections.packet_client, "packet", PACKETS) &&
	       are_connected(connections.packet_client, connections.of_packets), "seqpacket");
	expect(chdir("/run") == 0 && is_reached(connections.packets, SOCK_SEQPACKET, PACKETS),
	       "another connection for packets");
	for (int i = 0; i < 2; i++)
		expect(is_named(connections.gone[i], GONE) && has_peer(connections.gone_client[i], GONE) &&
		       are_connected(connections.gone[i], connections.gone_client[i]),
		       "connection %d of a listener that was closed", i);
	expect(stat(GONE.bytes, &file) == 0 && S_ISSOCK(file.st_mode), "the file of one that was closed");
}
