//! State of processes and their descriptors that is refused, but for sockets.

use super::Case;

pub const UNSUPPORTED: &[Case] = &[
    (
        "a process that is traced",
        // PTRACE_SEIZE and PTRACE_CONT, with the signals that come
        "import ctypes; l = ctypes.CDLL(None); r, w = os.pipe()\n\
         if os.fork() == 0:\n    pid = os.getppid()\n    \
             assert l.ptrace(0x4206, pid, None, None) == 0\n    os.write(w, b'x')\n    \
             while True: l.ptrace(7, pid, None, ctypes.c_void_p(os.waitpid(pid, 0)[1] >> 8))\n\
         os.read(r, 1)",
        "is traced (thread ",
    ),
    (
        "memory that processes share (CLONE_VM)",
        "import ctypes; l = ctypes.CDLL(None); s = mmap.mmap(-1, 65536); \
         at = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(s)) + 65536); \
         assert l.clone(ctypes.cast(l.pause, ctypes.c_void_p), at, 0x100 | 17, None) > 0",
        "it shares its memory with process",
    ),
    (
        "memory that is locked in the future (mlockall)",
        "import ctypes; assert ctypes.CDLL(None).mlockall(2) == 0",
        "it has called mlockall()",
    ),
    (
        "a local descriptor table",
        // modify_ldt(): a segment of data of 4 GiB
        "import ctypes; x = (ctypes.c_uint32 * 4)(0, 0, 0xfffff, 0x51); \
         assert ctypes.CDLL(None).syscall(154, 1, ctypes.byref(x), ctypes.c_size_t(16)) == 0",
        "it has a local descriptor table (modify_ldt)",
    ),
    (
        "memory that is watched by userfaultfd",
        // UFFDIO_API, UFFDIO_REGISTER for pages that are missing
        "import ctypes, struct; x = ctypes.CDLL(None).syscall(323, 0); assert x > 0; \
         fcntl.ioctl(x, 0xc018aa3f, struct.pack('QQQ', 0xaa, 0, 0)); \
         m = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS); \
         at = ctypes.addressof(ctypes.c_char.from_buffer(m)); \
         fcntl.ioctl(x, 0xc020aa00, struct.pack('QQQQ', at, 4096, 1, 0))",
        "is watched by userfaultfd",
    ),
    (
        "the policy SCHED_DEADLINE",
        // sched_setattr(): 5 ms in each 10 ms
        "import ctypes, struct; x = struct.pack('IIQiIQQQ', 48, 6, 0, 0, 0, 5000000, 10000000, 10000000); \
         assert ctypes.CDLL(None).syscall(314, 0, x, 0) == 0",
        "has a deadline scheduling policy",
    ),
    (
        "semaphores of SysV to undo at the end",
        // semop() by one, with SEM_UNDO
        "import ctypes, struct; l = ctypes.CDLL(None); x = l.semget(0x6f76, 1, 0o1600); \
         assert l.semop(x, struct.pack('HhH', 0, 1, 0x1000), ctypes.c_size_t(1)) == 0",
        "has SysV semaphore adjustments to undo",
    ),
    (
        "access to I/O ports (ioperm)",
        "import ctypes; assert ctypes.CDLL(None).ioperm(0x80, 1, 1) == 0",
        "may use I/O ports (ioperm, iopl)",
    ),
    (
        "a time-stamp counter that may not be read (PR_SET_TSC)",
        "import ctypes; assert ctypes.CDLL(None).prctl(26, 2) == 0",
        "may not read the time-stamp counter (PR_SET_TSC)",
    ),
    (
        "a choice of what happens when memory fails (PR_MCE_KILL)",
        // PR_MCE_KILL_SET, PR_MCE_KILL_EARLY
        "import ctypes; assert ctypes.CDLL(None).prctl(33, 1, 1, 0, 0) == 0",
        "chose what becomes of it when memory fails (PR_MCE_KILL)",
    ),
    (
        "a process that serves a device (PR_SET_IO_FLUSHER)",
        "import ctypes; assert ctypes.CDLL(None).prctl(57, 1, 0, 0, 0) == 0",
        "serves a device (PR_SET_IO_FLUSHER)",
    ),
    (
        "keys of a process",
        // keyctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_PROCESS_KEYRING, make it)
        "import ctypes; assert ctypes.CDLL(None).syscall(250, 0, -2, 1) > 0",
        "has keys of its own (keyctl)",
    ),
    (
        "a directory whose changes are told by a signal (F_NOTIFY)",
        "os.mkdir(F); y = os.open(F, os.O_RDONLY); x = os.open(F, os.O_RDONLY); os.close(y); \
         fcntl.fcntl(x, fcntl.F_NOTIFY, fcntl.DN_CREATE)",
        "is a directory whose changes are told by a signal (F_NOTIFY)",
    ),
    (
        "a lease that is being broken",
        "signal.signal(signal.SIGIO, signal.SIG_IGN); x = open(F, 'w'); \
         fcntl.fcntl(x, 1024, fcntl.F_WRLCK); os.system(f'cat {F} & sleep 0.5')",
        "is being broken",
    ),
    (
        "a BPF map",
        // BPF_MAP_CREATE: an array
        "import ctypes; x = (ctypes.c_uint32 * 4)(2, 4, 4, 1); \
         assert ctypes.CDLL(None).syscall(321, 0, ctypes.byref(x), 16) > 0",
        "is a BPF map",
    ),
    (
        "a perf event",
        // The clock of CPU 0, switched off.
        "import ctypes, struct; x = struct.pack('IIQ24xQ16x', 1, 64, 0, 1); \
         assert ctypes.CDLL(None).syscall(298, x, -1, 0, -1, 0) > 0",
        "is a perf event",
    ),
    (
        "a POSIX message queue",
        "import ctypes; l = ctypes.CDLL('librt.so.1'); \
         assert l.mq_open(b'/ovmigrate', os.O_CREAT | os.O_RDWR, 0o600, None) > 0; \
         l.mq_unlink(b'/ovmigrate')",
        "is a POSIX message queue",
    ),
    ("a descriptor of a namespace", "x = open('/proc/self/ns/net')", "is a namespace"),
    (
        "fanotify with marks that the kernel may drop (FAN_MARK_EVICTABLE)",
        "import ctypes; l = ctypes.CDLL(None); x = l.fanotify_init(0, 0); \
         assert l.fanotify_mark(x, 0x201, ctypes.c_uint64(2), -100, b'/var') == 0",
        "FAN_MARK_EVICTABLE",
    ),
    (
        "fanotify with what it ignores (FAN_MARK_IGNORE)",
        "import ctypes; l = ctypes.CDLL(None); x = l.fanotify_init(0, 0); \
         assert l.fanotify_mark(x, 0x441, ctypes.c_uint64(2), -100, b'/var') == 0",
        "FAN_MARK_IGNORE",
    ),
];

/// The same for some kernels only.
pub const UNSUPPORTED_ON: &[(&[&str], Case)] = &[
    (
        &["6.1", "6.12", "7.2"],
        (
            "system calls that are dispatched to the program",
            // PR_SET_SYSCALL_USER_DISPATCH: all but from below the middle
            "import ctypes; l = ctypes.CDLL(None); \
             assert l.prctl(59, 1, ctypes.c_ulong(0), ctypes.c_ulong(1 << 47), None) == 0",
            "has its system calls dispatched",
        ),
    ),
    (
        &["6.12", "7.2"],
        (
            "a pidfd of a thread",
            "import ctypes; assert ctypes.CDLL(None).syscall(434, os.getpid(), 0x80) > 0",
            "is a pidfd of a thread (PIDFD_THREAD)",
        ),
    ),
    (
        &["6.12", "7.2"],
        (
            "secret memory",
            "import ctypes; assert ctypes.CDLL(None).syscall(447, 0) > 0",
            "is secret memory",
        ),
    ),
    (
        &["6.12", "7.2"],
        (
            "memory that may not come to be executable (PR_SET_MDWE)",
            "import ctypes; assert ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0",
            "may not make memory executable that was writable (PR_SET_MDWE)",
        ),
    ),
    (
        &["6.12", "7.2"],
        (
            "equal pages that are merged (PR_SET_MEMORY_MERGE)",
            "import ctypes; assert ctypes.CDLL(None).prctl(67, 1, 0, 0, 0) == 0",
            "has all its equal pages merged (PR_SET_MEMORY_MERGE)",
        ),
    ),
    (
        &["6.12", "7.2"],
        (
            "a time slice of its own",
            // sched_setattr(): SCHED_OTHER, 5 ms. Older kernels take it and do nothing.
            "import ctypes, platform, struct; \
             assert tuple(map(int, platform.release().split('.')[:2])) >= (6, 12); \
             x = struct.pack('IIQiIQQQ', 48, 0, 0, 0, 0, 5000000, 0, 0); \
             assert ctypes.CDLL(None).syscall(314, 0, x, 0) == 0",
            "has a time slice of its own (sched_setattr)",
        ),
    ),
    (
        &["7.2"],
        (
            "limits of utilisation (uclamp)",
            // sched_setattr() with SCHED_FLAG_KEEP_ALL and SCHED_FLAG_UTIL_CLAMP_MIN
            "import ctypes, struct; \
             x = struct.pack('IIQiIQQQII', 56, 0, 0x38, 0, 0, 0, 0, 0, 100, 0); \
             assert ctypes.CDLL(None).syscall(314, 0, x, 0) == 0",
            "has limits of utilisation (uclamp)",
        ),
    ),
    (
        &["7.2"],
        (
            "huge pages only where they were asked for",
            // PR_THP_DISABLE_EXCEPT_ADVISED
            "import ctypes; assert ctypes.CDLL(None).prctl(41, 1, 2, 0, 0) == 0",
            "it has huge pages only where it asked for them (PR_THP_DISABLE_EXCEPT_ADVISED)",
        ),
    ),
];
