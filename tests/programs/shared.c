/*
 * shared FOLDER KIND: shares memory of a kind with a child, prints "ready" and
 * waits. At SIGUSR1 both look whether it is as it was, and still the same
 * memory for both; it prints "FAIL WHAT" for each that is not, and "done, N
 * failures". FOLDER is there; for "files" it holds a file "mapped" of 64 KiB.
 * "huge" needs seven free huge pages of 2 MiB.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096
#define SEALED (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
#define READ_WRITE (PROT_READ | PROT_WRITE)

/* How parent and child talk, in memory that they share. */
static struct {
	volatile int asked, answered, failures;
	char said[2048];
} *talk;
static int is_child;
static volatile sig_atomic_t told;

static void expect(int holds, const char *format, ...)
{
	va_list args;
	size_t at = strlen(talk->said);

	if (holds)
		return;
	talk->failures++;
	at += snprintf(talk->said + at, sizeof(talk->said) - at, "FAIL %s",
		       is_child ? "of the child: " : "");
	va_start(args, format);
	at += vsnprintf(talk->said + at, sizeof(talk->said) - at, format, args);
	va_end(args);
	snprintf(talk->said + at, sizeof(talk->said) - at, " (%s)\n", strerror(errno));
}

/* For what is done before the process is saved. */
static int must(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
	return result;
}

static char *map(size_t size, int access, int flags, int fd, off_t offset)
{
	void *at = mmap(NULL, size, access, flags, fd, offset);

	must(at == MAP_FAILED ? -1 : 0, "mmap");
	return at;
}

static char pattern(unsigned seed, size_t at)
{
	return (char)((at + seed) * 2654435761u >> 13);
}

static void fill(char *memory, unsigned seed, size_t count)
{
	for (size_t at = 0; at < count; at++)
		memory[at] = pattern(seed, at);
}

static int holds(const char *memory, unsigned seed, size_t count)
{
	for (size_t at = 0; at < count; at++)
		if (memory[at] != pattern(seed, at))
			return 0;
	return 1;
}

static int is_zero(const char *memory, size_t count)
{
	for (size_t at = 0; at < count; at++)
		if (memory[at] != 0)
			return 0;
	return 1;
}

/* A number that the parent writes and the child reads, in each memory. */
static int *notes[8];
static int noted;

static void note_in(char *memory)
{
	notes[noted++] = (int *)memory;
}

static struct {
	char *plain, *sparse, *parted, *behind;
} anonymous;

static void make_anonymous(const char *folder)
{
	(void)folder;
	anonymous.plain = map(5 * PAGE, READ_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	fill(anonymous.plain, 1, 5 * PAGE - 100);
	note_in(anonymous.plain + 5 * PAGE - 64);
	anonymous.sparse =
		map(32 << 20, READ_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	fill(anonymous.sparse + (17 << 20), 2, 2 * PAGE);
	note_in(anonymous.sparse);
	/* One memory, in three areas. */
	anonymous.parted = map(3 * PAGE, READ_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	fill(anonymous.parted, 3, 3 * PAGE - 64);
	must(mprotect(anonymous.parted + PAGE, PAGE, PROT_READ), "mprotect");
	note_in(anonymous.parted + 3 * PAGE - 64);
	/* What is left is mapped from its second page on. */
	anonymous.behind = map(3 * PAGE, READ_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	fill(anonymous.behind, 4, 2 * PAGE);
	must(munmap(anonymous.behind, PAGE), "munmap");
	note_in(anonymous.behind + 2 * PAGE);
}

static void check_anonymous(void)
{
	expect(holds(anonymous.plain, 1, 5 * PAGE - 100), "shared anonymous memory");
	expect(is_zero(anonymous.sparse + 64, (17 << 20) - 64), "a hole is no longer one");
	expect(holds(anonymous.sparse + (17 << 20), 2, 2 * PAGE), "memory behind a hole");
	expect(holds(anonymous.parted, 3, 3 * PAGE - 64), "memory in parts");
	expect(anonymous.behind[PAGE] == pattern(4, PAGE), "memory without its first page");
}

static struct {
	int plain, again, reader, sealed, closing, empty, reserved;
	char *mapped, *copied, *read_only, *unnamed, *writing;
} memfd;

static int new_memfd(const char *name, unsigned flags, unsigned seed, off_t size)
{
	int fd = must(memfd_create(name, flags), "memfd_create");
	char *memory;

	must(ftruncate(fd, size), "ftruncate");
	memory = map((size_t)size, READ_WRITE, MAP_SHARED, fd, 0);
	fill(memory, seed, (size_t)size);
	must(munmap(memory, (size_t)size), "munmap");
	return fd;
}

static void make_memfd(const char *folder)
{
	char path[64];
	int gone;

	(void)folder;
	memfd.plain = new_memfd("with a \"name\"", MFD_CLOEXEC, 1, 3 * PAGE + 1000);
	must((int)lseek(memfd.plain, 5000, SEEK_SET), "lseek");
	memfd.again = must(dup(memfd.plain), "dup");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", memfd.plain);
	memfd.reader = must(open(path, O_RDONLY), path);
	memfd.mapped = map(2 * PAGE, READ_WRITE, MAP_SHARED, memfd.plain, PAGE);
	note_in(memfd.mapped + 64);
	memfd.read_only = map(PAGE, PROT_READ, MAP_SHARED, memfd.reader, 0);
	memfd.copied = map(2 * PAGE, READ_WRITE, MAP_PRIVATE, memfd.plain, 0);
	memfd.copied[10] = 'c';
	/* Sealed as a whole, with holes, and against later mappings alone. */
	memfd.sealed = new_memfd("sealed", MFD_ALLOW_SEALING, 2, 2 * PAGE);
	must(fcntl(memfd.sealed, F_ADD_SEALS, SEALED), "F_ADD_SEALS");
	memfd.closing = new_memfd("closing", MFD_ALLOW_SEALING, 3, PAGE);
	memfd.writing = map(PAGE, READ_WRITE, MAP_SHARED, memfd.closing, 0);
	note_in(memfd.writing + 128);
	must(fcntl(memfd.closing, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), "F_ADD_SEALS");
	memfd.empty = must(memfd_create("", MFD_CLOEXEC), "memfd_create");
	memfd.reserved = must(memfd_create("reserved", 0), "memfd_create");
	must(posix_fallocate(memfd.reserved, 0, 8 * PAGE) == 0 ? 0 : -1, "fallocate");
	must((int)pwrite(memfd.reserved, "deep", 4, 6 * PAGE), "pwrite");
	/* Nothing but mappings refers to it. */
	gone = new_memfd("unnamed", 0, 4, PAGE);
	memfd.unnamed = map(PAGE, READ_WRITE, MAP_SHARED, gone, 0);
	note_in(memfd.unnamed + 256);
	must(close(gone), "close");
}

static off_t size_of(int fd)
{
	struct stat st = { 0 };

	fstat(fd, &st);
	return st.st_size;
}

static void check_memfd(void)
{
	char bytes[PAGE], link[64], path[64];
	ssize_t length;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", memfd.plain);
	length = readlink(path, link, sizeof(link) - 1);
	link[length < 0 ? 0 : length] = 0;
	expect(strcmp(link, "/memfd:with a \"name\" (deleted)") == 0, "its name, it is %s", link);
	expect(size_of(memfd.plain) == 3 * PAGE + 1000, "its size");
	expect(lseek(memfd.plain, 0, SEEK_CUR) == 5000, "its offset");
	lseek(memfd.again, 5001, SEEK_SET);
	expect(lseek(memfd.plain, 0, SEEK_CUR) == 5001, "its duplicate");
	lseek(memfd.again, 5000, SEEK_SET);
	expect(lseek(memfd.reader, 0, SEEK_CUR) == 0, "the offset of what was opened again");
	expect(fcntl(memfd.plain, F_GETFD) == FD_CLOEXEC, "close-on-exec");
	expect((fcntl(memfd.reader, F_GETFL) & O_ACCMODE) == O_RDONLY, "read-only");
	expect(pwrite(memfd.reader, "x", 1, 0) < 0, "a reader writes");
	expect(fcntl(memfd.plain, F_GET_SEALS) == F_SEAL_SEAL, "it can be sealed");
	expect(pread(memfd.plain, bytes, PAGE, 2 * PAGE) == PAGE, "reading it");
	for (size_t at = 0; at < PAGE; at++)
		expect(bytes[at] == pattern(1, 2 * PAGE + at), "its byte %zu", 2 * PAGE + at);
	expect(memfd.mapped[0] == pattern(1, PAGE), "its mapping with an offset");
	expect(memfd.read_only[20] == pattern(1, 20), "its read-only mapping");
	expect(memfd.copied[10] == 'c', "a private copy");
	expect(memfd.copied[PAGE] == pattern(1, PAGE), "the page beside a private copy");
	expect(pread(memfd.plain, bytes, 1, 10) == 1 && bytes[0] == pattern(1, 10),
	       "a private copy is public");
	expect(fcntl(memfd.sealed, F_GET_SEALS) == SEALED, "its seals");
	expect(pwrite(memfd.sealed, "x", 1, 0) < 0 && errno == EPERM, "sealed memory is written");
	expect(pread(memfd.sealed, bytes, PAGE, 0) == PAGE && holds(bytes, 2, PAGE),
	       "sealed memory");
	expect(fcntl(memfd.closing, F_GET_SEALS) == F_SEAL_FUTURE_WRITE, "its later seal");
	memfd.writing[5] = 'w';
	expect(memfd.writing[6] == pattern(3, 6), "memory sealed against later mappings");
	expect(mmap(NULL, PAGE, READ_WRITE, MAP_SHARED, memfd.closing, 0) == MAP_FAILED,
	       "it is mapped writable");
	expect(size_of(memfd.empty) == 0, "memory without bytes");
	expect(size_of(memfd.reserved) == 8 * PAGE, "the size of what is reserved");
	expect(pread(memfd.reserved, bytes, PAGE, 6 * PAGE) == PAGE && !memcmp(bytes, "deep", 4) &&
		       is_zero(bytes + 4, PAGE - 4),
	       "what was written behind what is reserved");
	expect(pread(memfd.reserved, bytes, PAGE, 0) == PAGE && is_zero(bytes, PAGE),
	       "what is reserved");
	expect(memfd.unnamed[7] == pattern(4, 7), "memory that is only mapped");
}

static struct {
	int fd, deleted;
	char *mapped, *on_disk, *in_memory, *copied;
} file;

static void make_files(const char *folder)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/mapped", folder);
	file.fd = must(open(path, O_RDWR), path);
	file.mapped = map(3 * PAGE, READ_WRITE, MAP_SHARED, file.fd, 2 * PAGE);
	fill(file.mapped, 1, 2 * PAGE);
	note_in(file.mapped + 2 * PAGE);
	/* Deleted, on a disk and in memory. */
	snprintf(path, sizeof(path), "%s/deleted", folder);
	file.deleted = must(open(path, O_RDWR | O_CREAT | O_EXCL, 0600), path);
	must(ftruncate(file.deleted, 2 * PAGE), "ftruncate");
	file.on_disk = map(2 * PAGE, READ_WRITE, MAP_SHARED, file.deleted, 0);
	fill(file.on_disk, 2, 2 * PAGE);
	note_in(file.on_disk + 64);
	file.copied = map(2 * PAGE, READ_WRITE, MAP_PRIVATE, file.deleted, 0);
	file.copied[10] = 'c';
	must(unlink(path), path);
	snprintf(path, sizeof(path), "/dev/shm/ovmigrate-test-%d", getpid());
	fd = must(open(path, O_RDWR | O_CREAT | O_EXCL, 0600), path);
	must(ftruncate(fd, 32), "ftruncate");
	file.in_memory = map(32, READ_WRITE, MAP_SHARED, fd, 0);
	fill(file.in_memory, 3, 16);
	note_in(file.in_memory + 16);
	must(unlink(path), path);
	must(close(fd), "close");
}

static void check_files(void)
{
	char bytes[PAGE];

	expect(holds(file.mapped, 1, 2 * PAGE), "a file that is mapped");
	file.mapped[PAGE] = 'm';
	expect(pread(file.fd, bytes, 1, 3 * PAGE) == 1 && bytes[0] == 'm',
	       "what is written to a mapping is not in the file");
	file.mapped[PAGE] = pattern(1, PAGE);
	expect(holds(file.on_disk + 68, 2 + 68, 2 * PAGE - 68), "a deleted file on a disk");
	expect(pread(file.deleted, bytes, PAGE, PAGE) == PAGE && holds(bytes, 2 + PAGE, PAGE),
	       "a deleted file by its descriptor");
	expect(file.copied[10] == 'c', "a private copy of a deleted file");
	expect(file.copied[PAGE] == pattern(2, PAGE), "the page beside it");
	expect(holds(file.in_memory, 3, 16), "a deleted file in memory");
}

#define HUGE ((size_t)2 << 20)

static struct {
	char *own, *anonymous;
	int fd;
	char *mapped;
} huge;

static void make_huge(const char *folder)
{
	(void)folder;
	huge.own = map(2 * HUGE, READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	fill(huge.own + HUGE, 1, HUGE);
	huge.anonymous =
		map(2 * HUGE, READ_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	fill(huge.anonymous + HUGE + 64, 2, 100000);
	note_in(huge.anonymous + HUGE);
	huge.fd = must(memfd_create("huge", MFD_HUGETLB | MFD_ALLOW_SEALING), "memfd_create");
	must(ftruncate(huge.fd, 2 * HUGE), "ftruncate");
	huge.mapped = map(HUGE, READ_WRITE, MAP_SHARED, huge.fd, HUGE);
	fill(huge.mapped + 64, 3, 5000);
	note_in(huge.mapped);
	must(fcntl(huge.fd, F_ADD_SEALS, F_SEAL_SHRINK), "F_ADD_SEALS");
}

static void check_huge(void)
{
	expect(holds(huge.own + HUGE, 1, HUGE), "huge pages of its own");
	huge.own[HUGE] += is_child ? 1 : 2;
	expect(huge.own[HUGE] == (char)(pattern(1, 0) + (is_child ? 1 : 2)), "they are shared");
	huge.own[HUGE] = pattern(1, 0);
	expect(holds(huge.anonymous + HUGE + 64, 2, 100000), "shared huge pages");
	expect(holds(huge.mapped + 64, 3, 5000), "huge pages of a memfd");
	expect(fcntl(huge.fd, F_GET_SEALS) == F_SEAL_SHRINK, "the seals of huge pages");
	expect(size_of(huge.fd) == 2 * (off_t)HUGE, "the size of a memfd of huge pages");
}

static const struct {
	const char *name;
	void (*make)(const char *folder);
	void (*check)(void);
} kinds[] = {
	{ "anonymous", make_anonymous, check_anonymous },
	{ "memfd", make_memfd, check_memfd },
	{ "files", make_files, check_files },
	{ "huge", make_huge, check_huge },
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void write_notes(int number)
{
	for (int i = 0; i < noted; i++)
		*notes[i] = number * 100 + i;
}

static void check_notes(int number)
{
	for (int i = 0; i < noted; i++)
		expect(*notes[i] == number * 100 + i, "memory %d is another than the parent's", i);
}

static void child(void (*check)(void))
{
	sigset_t none;

	sigemptyset(&none);
	is_child = 1;
	must(prctl(PR_SET_PDEATHSIG, SIGKILL), "PR_SET_PDEATHSIG");
	for (;;) {
		sigsuspend(&none);
		if (talk->asked == talk->answered)
			continue;
		check();
		check_notes(talk->asked);
		talk->answered = talk->asked;
	}
}

static void tell(int signal)
{
	(void)signal;
	told = 1;
}

int main(int argc, char **argv)
{
	struct sigaction on_tell = { .sa_handler = tell };
	sigset_t none, usr1;
	size_t kind = 0;
	pid_t pid;

	while (kind < KINDS && (argc != 3 || strcmp(argv[2], kinds[kind].name) != 0))
		kind++;
	if (kind == KINDS) {
		fprintf(stderr, "usage: shared FOLDER anonymous|memfd|files|huge\n");
		return 2;
	}
	talk = (void *)map(sizeof(*talk), READ_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	kinds[kind].make(argv[1]);
	sigemptyset(&none);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigprocmask(SIG_BLOCK, &usr1, NULL);
	sigaction(SIGUSR1, &on_tell, NULL);
	pid = must(fork(), "fork");
	if (pid == 0)
		child(kinds[kind].check);
	puts("ready");
	fflush(stdout);
	for (;;) {
		sigsuspend(&none);
		if (!told)
			continue;
		told = 0;
		talk->failures = 0;
		talk->said[0] = 0;
		kinds[kind].check();
		write_notes(talk->asked + 1);
		talk->asked++;
		kill(pid, SIGUSR1);
		for (int tries = 0; talk->answered != talk->asked && tries < 30000; tries++)
			usleep(2000);
		expect(talk->answered == talk->asked, "the child does not share memory any more");
		printf("%sdone, %d failures\n", talk->said, talk->failures);
		fflush(stdout);
	}
}
