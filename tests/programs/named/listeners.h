/* What listens, or is only bound. */
#define OWNED PATH("/run/" PREFIX "owned")
#define LINKED PATH("/var/run/" PREFIX "linked")
#define RELATIVE PATH(PREFIX "relative")
#define DOTTED PATH("./" PREFIX "dotted")
#define DELETED PATH("/run/" PREFIX "deleted")
#define REPLACED PATH("/run/" PREFIX "replaced")
#define SILENT PATH("/run/" PREFIX "silent")

static struct {
	int owned, linked, relative, abstract, deleted, replaced, replacing, silent;
} listeners;

static void make_listeners(void)
{
	listeners.owned = listening(SOCK_STREAM, OWNED, 3);
	must(chmod(OWNED.bytes, 0640), "chmod");
	must(chown(OWNED.bytes, 1000, 1001), "chown");
	listeners.linked = listening(SOCK_SEQPACKET, LINKED, 5);
	must(chdir("/run"), "chdir");
	listeners.relative = listening(SOCK_STREAM, RELATIVE, 5);
	must(chdir("/"), "chdir");
	listeners.abstract = listening(SOCK_STREAM, ABSTRACT("a\0b"), 5);
	listeners.deleted = listening(SOCK_STREAM, DELETED, 5);
	must(unlink(DELETED.bytes), "unlink");
	listeners.replaced = listening(SOCK_STREAM, REPLACED, 5);
	listeners.replacing = listening(SOCK_STREAM, REPLACED, 5);
	listeners.silent = bound(SOCK_STREAM, SILENT);
}

/* A path that CRIU itself does not find where it begins. */

static int dotted;

static void make_dotted(void)
{
	must(chdir("/run"), "chdir");
	dotted = listening(SOCK_STREAM, DOTTED, 5);
	must(chdir("/"), "chdir");
}

static void check_dotted(void)
{
	expect(chdir("/run") == 0 && is_reached(dotted, SOCK_STREAM, DOTTED), "path with a dot");
	must(chdir("/"), "chdir");
}

/* How many may connect without being accepted. */
static int room(struct name name)
{
	int clients[20], count = 0;

	while (count < 20) {
		clients[count] = must(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
		if (connect_to(clients[count++], name) != 0)
			break;
	}
	for (int i = 0; i < count; i++)
		close(clients[i]);
	return count - 1;
}

static void check_listeners(void)
{
	struct stat file = { 0 };
	int count;

	expect(is_named(listeners.owned, OWNED) && is_reached(listeners.owned, SOCK_STREAM, OWNED),
	       "stream at a path");
	expect(stat(OWNED.bytes, &file) == 0 && file.st_mode == (S_IFSOCK | 0640) &&
	       file.st_uid == 1000 && file.st_gid == 1001, "owner and mode: %d, %d, %o", file.st_uid,
	       file.st_gid, file.st_mode);
	count = room(OWNED);
	expect(count == 4, "backlog: room for %d", count);
	expect(is_reached(listeners.linked, SOCK_SEQPACKET, LINKED), "seqpacket behind a symbolic link");
	expect(chdir("/run") == 0 && is_reached(listeners.relative, SOCK_STREAM, RELATIVE),
	       "relative path");
	expect(chdir("/") == 0 && is_reached(listeners.abstract, SOCK_STREAM, ABSTRACT("a\0b")),
	       "abstract name");
	expect(is_named(listeners.deleted, DELETED) && option(listeners.deleted, SO_ACCEPTCONN) == 1 &&
	       access(DELETED.bytes, F_OK) != 0, "deleted path");
	expect(is_named(listeners.replaced, REPLACED) &&
	       is_reached(listeners.replacing, SOCK_STREAM, REPLACED), "path of another by now");
	expect(is_named(listeners.silent, SILENT) && option(listeners.silent, SO_ACCEPTCONN) == 0 &&
	       listen(listeners.silent, 5) == 0 && is_reached(listeners.silent, SOCK_STREAM, SILENT),
	       "bound, not listening");
}
