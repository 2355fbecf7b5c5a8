//! What cannot be saved is refused by name before anything is touched.

mod processes;
mod sockets;

use crate::harness::{
    Guest, Guests, Job, TestKernel, guests, ovmigrate, refused, unknown, wait_for,
};

/// What is made, Python statements that make it, and what it is to be called.
type Case = (&'static str, &'static str, &'static str);

const UNSUPPORTED: &[Case] = &[
    // What a process has a part in that is not saved.
    (
        "a FIFO or pipe that others have open",
        "os.system(f'mkfifo {F}; sleep 99 <>{F} &'); x = os.open(F, os.O_RDWR)",
        "a pipe that process",
    ),
    (
        "an end of a pipe that others have, too",
        "a, b = os.pipe(); os.set_inheritable(a, True); os.system('sleep 99 &')",
        "is a pipe that process",
    ),
    (
        "a flock lock that others hold, too",
        "x = open(F, 'w'); fcntl.flock(x, 2); os.set_inheritable(x.fileno(), True); \
         os.system('sleep 99 &')",
        "a lock that process",
    ),
    ("a pipe of packets (O_DIRECT)", "x = os.pipe2(os.O_DIRECT)", "O_DIRECT"),
    (
        "signal-driven I/O to others",
        "import ctypes; x = open('/dev/null'); fcntl.fcntl(x, fcntl.F_SETOWN, 1)",
        "signals I/O to 1",
    ),
    (
        "an eventfd of EFD_SEMAPHORE",
        "import ctypes; x = ctypes.CDLL(None).eventfd(1, 1)",
        "an eventfd that counts down by one (EFD_SEMAPHORE)",
    ),
    (
        "an eventfd that has counted to more than 32 bits",
        "import ctypes; x = ctypes.CDLL(None).eventfd(0, 0); \
         os.write(x, (1 << 32).to_bytes(8, 'little'))",
        "an eventfd that has counted to 4294967296, which is more than 32 bits",
    ),
    (
        "an eventfd that others have, too",
        "import ctypes; x = ctypes.CDLL(None).eventfd(0, 0); os.system('sleep 99 &')",
        "is an eventfd that process",
    ),
    (
        "a signalfd for signals that libc has for itself",
        "import ctypes; l = ctypes.CDLL(None); \
         x = l.syscall(289, -1, ctypes.byref(ctypes.c_uint64(1 << 32)), ctypes.c_size_t(8), 0); \
         assert x > 0",
        "a signalfd for signal 33",
    ),
    (
        "epoll on a descriptor that is closed while its file is open",
        "e = select.epoll(); r, w = os.pipe(); e.register(r); x = os.dup(r); os.close(r)",
        "which is another's or closed in process",
    ),
    (
        "epoll on a pipe or socket that was told of once (EPOLLONESHOT)",
        "e = select.epoll(); r, w = os.pipe(); \
         e.register(r, select.EPOLLIN | select.EPOLLONESHOT); os.write(w, b'x'); e.poll()",
        "once, and was told of it (EPOLLONESHOT)",
    ),
    (
        "epoll on a signalfd for a process that is not the first to have it",
        "import ctypes; l = ctypes.CDLL(None); e = select.epoll(); r, w = os.pipe(); \
         s = l.syscall(289, -1, ctypes.byref(ctypes.c_uint64(2)), ctypes.c_size_t(8), 0)\n\
         if os.fork() == 0:\n    e.register(s)\n    os.write(w, b'x')\n    \
         while True: signal.pause()\n\
         os.read(r, 1)",
        "for signals to another process than the first that has it",
    ),
    (
        "inotify with events that were not read",
        "import ctypes; l = ctypes.CDLL(None); x = l.inotify_init1(0); os.mkdir(F); \
         assert l.inotify_add_watch(x, F.encode(), 0x100) > 0; open(F + '/x', 'w')",
        "an inotify instance with 1 events that were not read",
    ),
    (
        "inotify of IN_ONESHOT or IN_EXCL_UNLINK",
        "import ctypes; l = ctypes.CDLL(None); x = l.inotify_init1(0); \
         assert l.inotify_add_watch(x, b'/var', 0x80000100) > 0; y = l.inotify_init1(0); \
         assert l.inotify_add_watch(y, b'/var', 0x4000100) > 0",
        "whose watch 1 has IN_ONESHOT, which CRIU loses",
    ),
    (
        "inotify on what was deleted",
        "import ctypes; l = ctypes.CDLL(None); x = open(F, 'w'); y = l.inotify_init1(0); \
         assert l.inotify_add_watch(y, F.encode(), 2) > 0; os.unlink(F)",
        "which was deleted",
    ),
    (
        "inotify on a symbolic link",
        "import ctypes; l = ctypes.CDLL(None); os.symlink('nowhere', F); y = l.inotify_init1(0); \
         assert l.inotify_add_watch(y, F.encode(), 0x2000002) > 0",
        "is a symbolic link",
    ),
    (
        "a group of fanotify that may be asked for permissions",
        "import ctypes; x = ctypes.CDLL(None).fanotify_init(4, 0); assert x > 0",
        "a fanotify group that may be asked for permissions",
    ),
    (
        "fanotify on a whole file system",
        "import ctypes; l = ctypes.CDLL(None); x = l.fanotify_init(0, 0); \
         assert l.fanotify_mark(x, 0x101, ctypes.c_uint64(2), -100, b'/dev/shm') == 0",
        "a fanotify group that watches a whole file system",
    ),
    (
        "fanotify with events that were not read",
        "import ctypes; l = ctypes.CDLL(None); x = l.fanotify_init(0, 0); open(F, 'w').close(); \
         assert l.fanotify_mark(x, 1, ctypes.c_uint64(2), -100, F.encode()) == 0; \
         open(F, 'w').write('x')",
        "a fanotify group with 1 events that were not read",
    ),
    (
        "a timerfd on an alarm clock",
        "import ctypes; x = ctypes.CDLL(None).timerfd_create(8, 0); assert x > 0",
        "a timerfd on clock 8",
    ),
    (
        "a timerfd that is off but told when the clock is set",
        "import ctypes; l = ctypes.CDLL(None); x = l.timerfd_create(0, 0); \
         assert l.timerfd_settime(x, 3, ctypes.byref((ctypes.c_long * 4)()), None) == 0",
        "a timerfd that is off but tells when its clock is set",
    ),
    (
        "a timerfd that has yet to tell that the clock was set",
        "import ctypes, time; l = ctypes.CDLL(None); x = l.timerfd_create(0, 0); \
         assert l.timerfd_settime(x, 3, ctypes.byref((ctypes.c_long * 4)(0, 0, 1 << 40)), None) == 0; \
         time.clock_settime(0, time.clock_gettime(0))",
        "a timerfd that has yet to tell that its clock was set",
    ),
    (
        "memory that others share",
        "x = os.memfd_create('x', 0); os.set_inheritable(x, True); os.system('sleep 99 &')",
        "is memory that process",
    ),
    (
        "SysV shared memory",
        "import ctypes; c = ctypes.CDLL(None); c.shmat.restype = ctypes.c_void_p; \
         x = c.shmget(0, 4096, 0o600); c.shmat(x, None, 0); c.shmctl(x, 0, None)",
        "a segment of SysV shared memory",
    ),
    ("a /proc file of others", "x = open('/proc/1/maps')", "of process 1, which is not saved"),
    ("a file of cgroup2", "x = os.open('/sys/fs/cgroup', os.O_RDONLY)", "a file of cgroup2"),
    (
        "a deleted directory in a deleted one",
        "os.makedirs(F + '/x'); os.chdir(F + '/x'); os.removedirs(F + '/x')",
        "was deleted with its directory",
    ),
    (
        "a deleted directory whose name is taken",
        "os.mkdir(F); os.chdir(F); os.rmdir(F); os.mkdir(F); x = os.open(F, 0)",
        "is a deleted directory whose name is another's by now",
    ),
    ("a pidfd of others", "x = os.pidfd_open(1)", "is a pidfd of process 1, which is not saved"),
    (
        "a deleted name of a file with other links",
        "x = open(F, 'w'); os.link(F, F + '2'); os.unlink(F)",
        "a file that has others",
    ),
    (
        "a deleted file above --ghost-limit",
        "x = open(F, 'w'); os.truncate(F, 1 << 21); os.unlink(F)",
        "takes 2097152 bytes, more than the limit of 1048576 (--ghost-limit)",
    ),
    (
        "a deleted file on a disk, not in the page cache",
        "x = open(F, 'w+b'); x.write(bytes(12288)); x.flush(); os.unlink(F); os.fsync(x); \
         os.posix_fadvise(x.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)",
        "of which 3 are not in memory",
    ),
    (
        "a namespace of its own",
        "import ctypes; ctypes.CDLL(None).unshare(0x04000000)",
        "UTS namespace",
    ),
];

/// The same for some kernels only.
const UNSUPPORTED_ON: &[(&[&str], Case)] = &[
    (
        &["6.1", "6.12", "7.2"],
        (
            "a byte of MSG_OOB in a Unix socket",
            "import ctypes; a, b = socket.socketpair(); \
             assert ctypes.CDLL(None).send(a.fileno(), b'x', ctypes.c_size_t(1), 1) == 1",
            "holds a byte of MSG_OOB",
        ),
    ),
    (
        &["6.1", "6.12", "7.2"],
        (
            "a socket of Multipath TCP",
            "x = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)",
            "a socket of Multipath TCP (MPTCP)",
        ),
    ),
    (
        &["6.1", "6.12", "7.2"],
        (
            "a Landlock domain",
            // landlock_create_ruleset(LANDLOCK_ACCESS_FS_MAKE_SYM), landlock_restrict_self()
            "import ctypes; l = ctypes.CDLL(None); l.prctl(38, 1, 0, 0, 0); \
             x = l.syscall(444, ctypes.byref(ctypes.c_uint64(1 << 12)), ctypes.c_size_t(8), 0); \
             assert x > 0 and l.syscall(446, x, 0) == 0; os.close(x)",
            "is restricted by Landlock",
        ),
    ),
    (
        &["6.1", "6.12", "7.2"],
        (
            "a socket that looks for no other route (SO_TXREHASH)",
            "x = socket.socket(socket.AF_INET6); x.setsockopt(1, 74, 0)",
            "is a socket with SO_TXREHASH",
        ),
    ),
    (
        &["6.12", "7.2"],
        (
            "epoll that polls network cards",
            // EPIOCSPARAMS: 10 microseconds, 8 packets
            "import ctypes; e = select.epoll(); x = ctypes.c_uint64(8 << 32 | 10); \
             assert ctypes.CDLL(None).ioctl(e.fileno(), 0x40088a01, ctypes.byref(x)) == 0",
            "an epoll instance that polls network cards (EPIOCSPARAMS)",
        ),
    ),
    (
        &["6.12", "7.2"],
        (
            "sealed memory (mseal)",
            "import ctypes; x = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS); \
             at = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(x))); \
             assert ctypes.CDLL(None).syscall(462, at, ctypes.c_size_t(4096), 0) == 0",
            "sealed (mseal)",
        ),
    ),
];

fn spawn<'a>(guests: &'a Guests, statement: &str) -> Job<'a> {
    let script = format!(
        "import fcntl, mmap, os, select, signal, socket\n\
         F = '/var/tmp/ovmigrate-tests/' + str(os.getpid())\n\
         signal.signal(signal.SIGUSR1, lambda *_: print('done', flush=True))\n\
         {statement}\nprint('ready\\n', flush=True)\nwhile True: signal.pause()\n"
    );
    guests.source.spawn(&["python3", "-c", &script])
}

fn start<'a>(guests: &'a Guests, statement: &str) -> Job<'a> {
    let job = spawn(guests, statement);
    wait_for(&format!("{statement} is done"), || job.log().contains("ready").then_some(()));
    job
}

#[test]
fn what_is_not_supported_is_named_and_the_process_runs_on() {
    let guests = guests();
    let kernel = TestKernel::chosen().release;
    let some = UNSUPPORTED_ON.iter().chain(processes::UNSUPPORTED_ON);
    let (here, later): (Vec<_>, Vec<_>) = some.partition(|(kernels, _)| kernels.contains(&kernel));
    for (_, (state, statement, _)) in later {
        let job = spawn(&guests, statement);
        job.wait_for_end();
        let log = job.log();
        let is_refused = ["AssertionError", "OSError"].iter().any(|error| log.contains(error));
        assert!(is_refused, "{statement}: {log}");
        unknown(&[state]);
    }
    let everywhere = [UNSUPPORTED, sockets::UNSUPPORTED, processes::UNSUPPORTED];
    let everywhere = everywhere.into_iter().flatten();
    for (state, statement, name) in everywhere.chain(here.iter().map(|(_, case)| case)) {
        let job = start(&guests, statement);
        let message = guests.save(job.pid, &[]).failure();
        assert!(message.contains(name), "{statement}: {name:?} is not in {message}");
        assert!(message.contains(&format!("process {}", job.pid)), "{message}");
        assert!(!std::path::Path::new(&guests.images()).exists(), "{statement}: images were begun");
        job.ask();
        job.guest.sh(&format!("kill -KILL -{}", job.pid));
        refused(state, name);
    }
}

/// Python statements that give a process what is in no image, and what it is to
/// be called.
const IN_NO_IMAGE: [(&str, &str, &str); 6] = [
    // ioprio_set(IOPRIO_WHO_PROCESS, 0, best effort, level 3)
    ("an I/O priority", "libc.syscall(251, 1, 0, 2 << 13 | 3)", "an I/O priority (ionice)"),
    // ADDR_COMPAT_LAYOUT
    ("a personality", "libc.personality(0x0200000)", "a personality (setarch)"),
    (
        "SCHED_RESET_ON_FORK",
        "os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))",
        "resets its scheduling policy on fork",
    ),
    // set_mempolicy(MPOL_PREFERRED, node 0)
    (
        "a NUMA memory policy",
        "libc.syscall(238, 1, ctypes.byref(ctypes.c_ulong(1)), 64)",
        "a NUMA memory policy",
    ),
    // On the CPU time of process 1.
    (
        "a POSIX timer on the CPU time of another process",
        "timer(~1 << 3 | 2, 0, 0)",
        "runs on the CPU time of process 1",
    ),
    (
        "a POSIX timer for a thread that has ended",
        "thread = threading.Thread(target=lambda: timer(1, 4, threading.get_native_id())); \
         thread.start(); thread.join(); wait_for_end(thread)",
        "which has ended",
    ),
];

#[test]
fn what_is_in_no_image_is_refused_by_name() {
    let guests = guests();
    let statements: String = IN_NO_IMAGE.iter().map(|(_, code, _)| format!("{code}\n")).collect();
    let script = format!(
        "import ctypes, os, signal, struct, threading, time\n\
         libc = ctypes.CDLL(None)\n\
         def timer(clock, notify, tid):\n    \
             event = struct.pack('<Qiii44x', 0, signal.SIGUSR2, notify, tid)\n    \
             number = ctypes.c_int(-1)\n    \
             assert libc.syscall(222, clock, event, ctypes.byref(number)) == 0\n    \
             return number.value\n\
         def wait_for_end(thread):\n    \
             while os.path.exists(f'/proc/self/task/{{thread.native_id}}'): time.sleep(0.01)\n\
         {statements}\
         print('ready\\n', flush=True)\nwhile True: signal.pause()\n"
    );
    let job = guests.source.spawn(&["python3", "-c", &script]).once_it_prints("ready");
    let pid = job.pid.to_string();
    let at = ["--domain", guests.source.name, "--pid", &pid];
    let said = ovmigrate(["check"].iter().chain(&at)).stdout;
    for (state, statement, name) in IN_NO_IMAGE {
        assert!(said.contains(name), "{statement}: {name:?} is not in {said}");
        refused(state, name);
    }
    assert!(job.is_alive());
}

#[test]
fn check_and_a_dry_run_list_all_of_it() {
    let guests = guests();
    let job = start(
        &guests,
        "x = os.eventfd(0, os.EFD_SEMAPHORE), socket.socket(socket.AF_NETLINK, 2), \
         os.pipe2(os.O_DIRECT)",
    );
    let pid = job.pid.to_string();
    let at = ["--domain", guests.source.name, "--pid", &pid];
    let check = ovmigrate(["check"].iter().chain(&at));
    let dry_run = ovmigrate(["save", "--dry-run"].iter().chain(&at));
    assert_eq!((check.status.code(), dry_run.status.code()), (Some(1), Some(1)));
    for text in [check.stdout, dry_run.stdout] {
        for (fd, name) in [(3, "an eventfd that counts down"), (4, "a socket"), (6, "a pipe")] {
            assert!(text.contains(&format!("fd {fd} is {name}")), "fd {fd} is missing: {text}");
        }
    }
    let fine = guests.source.start("sleepers", &["pause", "0"], "1 begin");
    let pid = fine.pid.to_string();
    let said = ovmigrate(["check", "--domain", guests.source.name, "--pid", &pid]).stdout();
    assert!(said.contains("can be saved"), "{said}");
    assert_eq!(fine.states(), "S");
}

#[test]
fn a_child_that_nobody_is_to_wait_for_is_refused() {
    let guests = guests();
    // clone3(CLONE_AUTOREAP)
    let statement = "import ctypes, struct; x = struct.pack('8Q', 1 << 34, 0, 0, 0, 0, 0, 0, 0); \
                     y = ctypes.CDLL(None).syscall(435, x, ctypes.c_size_t(64)); assert y >= 0\n\
                     while y == 0: signal.pause()";
    let state = "a child that nobody is to wait for (CLONE_AUTOREAP)";
    if TestKernel::chosen().release != "7.2" {
        let job = spawn(&guests, statement);
        job.wait_for_end();
        assert!(job.log().contains("AssertionError"), "{}", job.log());
        unknown(&[state]);
        return;
    }
    let job = start(&guests, statement);
    let message = guests.save(job.pid, &[]).failure();
    let name = "nobody is to wait for it (CLONE_AUTOREAP)";
    assert!(message.contains(name), "{message}");
    job.ask();
    refused(state, name);
}

#[test]
fn kernel_threads_and_init_are_refused() {
    let guests = guests();
    for pid in [1, 2] {
        let message = guests.save(pid, &[]).failure();
        assert!(message.contains(&format!("process {pid} (")), "{message}");
    }
}

#[test]
fn memory_that_is_swapped_out_is_refused_and_counted() {
    let guests = guests();
    let guest = &guests.source;
    guest.sh("cd /var/tmp && dd if=/dev/zero of=swap bs=1M count=64 2>/dev/null && chmod 600 swap && mkswap swap && swapon swap");
    let swap = SwapFile(guest);
    // MADV_PAGEOUT
    let job = start(
        &guests,
        "x = mmap.mmap(-1, 8 << 20, 0x22); x.write(b'x' * (8 << 20)); x.madvise(21)",
    );
    let status = guest.sh(&format!("grep VmSwap /proc/{}/status", job.pid));
    let kib: u64 =
        status.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("VmSwap");
    assert!(kib >= 4 << 10, "the pages were to be swapped out: {status}");
    let message = guests.save(job.pid, &[]).failure();
    let told = message.split_once(" pages of its memory are swapped out");
    let told = told.and_then(|(before, _)| before.rsplit(' ').next()?.parse::<u64>().ok());
    // The kernel counts in batches, for each thread or each CPU.
    assert!(told.is_some_and(|pages| pages.abs_diff(kib / 4) <= 128), "{kib} KiB: {message}");
    refused("memory that is swapped out", "pages of its memory are swapped out");
    job.ask();
    job.kill("KILL");
    job.wait_for_end();
    let job =
        start(&guests, "x = mmap.mmap(-1, 1 << 20); x.write(b'x' * (1 << 20)); x.madvise(21)");
    let message = guests.save(job.pid, &[]).failure();
    let told = message.split_once(" pages of the file mapped at ");
    let told = told.and_then(|(before, _)| before.rsplit(' ').next()?.parse::<u64>().ok());
    assert!(told.is_some_and(|pages| (1..=256).contains(&pages)), "{message}");
    refused("shared memory that is swapped out", "are swapped out");
    job.ask();
    job.kill("KILL");
    job.wait_for_end();
    drop(swap);
}

/// The guest's swap file, until dropped.
struct SwapFile<'a>(&'a Guest);

impl Drop for SwapFile<'_> {
    fn drop(&mut self) {
        self.0.try_sh("swapoff /var/tmp/swap; rm -f /var/tmp/swap");
    }
}
