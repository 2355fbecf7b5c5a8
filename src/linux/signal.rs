//! What a process shares of signals, and what is pending.

use crate::kernel::KernelError;
use crate::memory::GuestVirt;

use super::hrtimer::{CpuItimer, Hrtimer};
use super::list::ListHead;
use super::pid::Pid;
use super::view::{Array, Embedded, Raw, Struct};

/// Most queued signals that are read of one set; `RLIMIT_SIGPENDING` is lower
/// on any guest of a size that is moved.
const MAX_QUEUED: usize = 65536;

/// Bytes of a `siginfo_t` as user space sees it: `SI_MAX_SIZE`
/// (`include/uapi/asm-generic/siginfo.h`).
pub const SIGINFO_SIZE: usize = 128;

kernel_struct! {
    /// What the threads of a process share: `struct signal_struct`.
    pub struct SignalStruct: "signal_struct" {
        /// How many threads there are.
        nr_threads: u32 = ["nr_threads"],
        /// The threads, by [`Task::thread_node`](super::Task::thread_node).
        thread_head: Embedded<ListHead<'k>> = ["thread_head"],
        /// Signals pending for the process.
        shared_pending: Embedded<SigPending<'k>> = ["shared_pending"],
        /// Wait status of a group exit, or the signal of a group stop.
        group_exit_code: u32 = ["group_exit_code"],
        /// Threads that have yet to stop for the group stop under way.
        group_stop_count: u32 = ["group_stop_count"],
        /// The thread that waits in `execve()` for the others to die.
        group_exec_task: GuestVirt = ["group_exec_task", "group_exit_task"],
        /// `SIGNAL_*` bits.
        flags: u32 = ["flags"],
        /// `struct pid *` by `enum pid_type`.
        pids: Raw = ["pids"],
        /// Whether orphaned descendants become its children.
        is_child_subreaper: bool = ["is_child_subreaper"],
        /// Whether nobody waits for it (`CLONE_AUTOREAP`), since 7.1.
        autoreap: bool = ?["autoreap"],
        /// `ITIMER_REAL`.
        real_timer: Embedded<Hrtimer<'k>> = ["real_timer"],
        /// Its interval in nanoseconds.
        it_real_incr: u64 = ["it_real_incr"],
        /// `ITIMER_PROF` and `ITIMER_VIRTUAL`, in this order.
        it: Array<CpuItimer<'k>> = ["it"],
        /// Whether the `timer_*time` below are kept: a timer on the process's
        /// CPU time is set.
        cpu_timers_active: bool = ["posix_cputimers.timers_active"],
        /// User time of all threads so far in nanoseconds.
        timer_utime: u64 = ["cputimer.cputime_atomic.utime.counter"],
        /// Kernel time likewise.
        timer_stime: u64 = ["cputimer.cputime_atomic.stime.counter"],
        /// What they ran so far in nanoseconds, as the scheduler counts it.
        timer_runtime: u64 = ["cputimer.cputime_atomic.sum_exec_runtime.counter"],
        /// The first POSIX timer, see [`PosixTimer::next`](super::PosixTimer::next).
        first_posix_timer: GuestVirt = ["posix_timers.first", "posix_timers.next"],
        /// `struct rlimit[16]`.
        rlim: Raw = ["rlim"],
        /// Bias of the OOM killer.
        oom_score_adj: i32 = ["oom_score_adj"],
        /// The controlling terminal.
        tty: GuestVirt = ["tty"],
        /// User time of dead threads in nanoseconds.
        utime: u64 = ["utime"],
        /// Kernel time of dead threads in nanoseconds.
        stime: u64 = ["stime"],
        /// What dead threads ran in nanoseconds, as the scheduler counted it.
        sum_sched_runtime: u64 = ["sum_sched_runtime"],
    }
}

/// Kinds of ID in `signal_struct.pids`: `enum pid_type`
/// (`include/linux/pid_types.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PidType {
    /// The process group.
    Pgid = 2,
    /// The session.
    Sid = 3,
}

impl<'k> SignalStruct<'k> {
    /// The ID of this kind, as the initial namespace sees it; 0 for none.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn id(&self, kind: PidType) -> Result<i32, KernelError> {
        let slot = self.pids()?.addr().wrapping_add(kind as u64 * 8);
        let mut word = [0; 8];
        self.kernel().read(slot, &mut word)?;
        match u64::from_le_bytes(word) {
            0 => Ok(0),
            pid => Pid::at(self.kernel(), GuestVirt::new(pid))?.global(),
        }
    }

    /// Soft and hard resource limits by `RLIMIT_*`.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn rlimits(&self) -> Result<[(u64, u64); 16], KernelError> {
        let mut bytes = [0; 256];
        self.rlim()?.read(&mut bytes)?;
        let words = bytes.as_chunks().0;
        Ok(std::array::from_fn(|index| {
            (u64::from_le_bytes(words[2 * index]), u64::from_le_bytes(words[2 * index + 1]))
        }))
    }
}

kernel_struct! {
    /// Signal handlers: `struct sighand_struct`.
    pub struct Sighand: "sighand_struct" {
        /// `spinlock_t` over all signal state of the process.
        siglock: Raw = ["siglock"],
        /// Who waits for signals by a descriptor.
        signalfd_wqh: Raw = ["signalfd_wqh"],
        /// How many processes share it.
        count: u32 = ["count.refs.counter"],
        /// `struct k_sigaction[64]`.
        action: Array<Sigaction<'k>> = ["action"],
    }
}

kernel_struct! {
    /// What happens on one signal: `struct k_sigaction`.
    pub struct Sigaction: "k_sigaction" {
        /// `SIG_DFL`, `SIG_IGN` or the handler.
        handler: u64 = ["sa.sa_handler"],
        /// `SA_*`.
        flags: u64 = ["sa.sa_flags"],
        /// Where the handler returns to.
        restorer: u64 = ["sa.sa_restorer"],
        /// Signals blocked meanwhile.
        mask: u64 = ["sa.sa_mask.sig"],
    }
}

kernel_struct! {
    /// Pending signals: `struct sigpending`.
    pub struct SigPending: "sigpending" {
        /// Those with information.
        list: Embedded<ListHead<'k>> = ["list"],
        /// All, one bit each.
        signal: u64 = ["signal.sig"],
    }
}

kernel_struct! {
    /// A pending signal with its information: `struct sigqueue`.
    pub struct Sigqueue: "sigqueue" {
        /// Its place in [`SigPending::list`].
        list: Embedded<ListHead<'k>> = ["list"],
        /// `SIGQUEUE_PREALLOC`: it belongs to a POSIX timer.
        flags: u32 = ["flags"],
        /// `kernel_siginfo_t`: what the kernel keeps of a `siginfo_t`.
        info: Raw = ["info"],
    }
}

impl<'k> SigPending<'k> {
    /// The queued entries, oldest first.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for a queue that does not end.
    pub fn queued(&self) -> Result<Vec<Sigqueue<'k>>, KernelError> {
        let list = self.list()?;
        let mut queued = Vec::new();
        for entry in list.entries::<Sigqueue<'_>>("list") {
            if queued.len() == MAX_QUEUED {
                let why = format!("more than {MAX_QUEUED} signals are queued");
                return Err(KernelError::Corrupt {
                    what: "sigpending".into(),
                    addr: self.addr(),
                    why,
                });
            }
            queued.push(entry?);
        }
        Ok(queued)
    }
}

impl Sigqueue<'_> {
    /// What it tells, as `siginfo_t`.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn siginfo(&self) -> Result<[u8; SIGINFO_SIZE], KernelError> {
        let info = self.info()?;
        let mut bytes = [0; SIGINFO_SIZE];
        let len = usize::try_from(info.size()).unwrap_or(SIGINFO_SIZE).min(SIGINFO_SIZE);
        info.read(&mut bytes[..len])?;
        Ok(bytes)
    }
}
