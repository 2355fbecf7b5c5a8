//! A thread as the scheduler knows it.

use crate::kernel::{Kernel, KernelError};
use crate::memory::GuestVirt;

use super::cgroup::CssSet;
use super::cred::Cred;
use super::exec_state::TaskExecState;
use super::file::FilesStruct;
use super::io_context::IoContext;
use super::list::ListHead;
use super::mm::{ANONYMOUS, Mm};
use super::nsproxy::NsProxy;
use super::path::FsStruct;
use super::pid::Pid;
use super::restart_block::RestartBlock;
use super::sched::{CallSingleNode, UclampSe};
use super::seccomp::SeccompFilter;
use super::settle::settled;
use super::signal::{SigPending, Sighand, SignalStruct};
use super::view::{Array, Embedded, Ptr, Raw, Struct};

bitflags::bitflags! {
    /// What a thread is doing, for the scheduler: `TASK_*` in
    /// `include/linux/sched.h`. Zero is running or runnable.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct TaskState: u32 {
        /// Asleep; a signal wakes it.
        const INTERRUPTIBLE = 0x1;
        /// Asleep; only what it waits for wakes it.
        const UNINTERRUPTIBLE = 0x2;
        /// Stopped by a signal: `__TASK_STOPPED`.
        const STOPPED = 0x4;
        /// Stopped for its tracer: `__TASK_TRACED`.
        const TRACED = 0x8;
        /// Parked kernel thread.
        const PARKED = 0x40;
        /// Gone.
        const DEAD = 0x80;
        /// A fatal signal wakes it, with the other bits.
        const WAKEKILL = 0x100;
        /// About to be put on a run queue.
        const WAKING = 0x200;
        /// Does not count as load: `TASK_NOLOAD`.
        const NOLOAD = 0x400;
        /// Made, and not yet started.
        const NEW = 0x800;
        /// Waits for a lock that real-time kernels sleep on, since 5.16.
        const RTLOCK_WAIT = 0x1000;
        /// May be frozen where it sleeps, since 6.1.
        const FREEZABLE = 0x2000;
        /// Frozen for a suspend of the machine or by a v1 cgroup, since 6.1.
        const FROZEN = 0x8000;
        const _ = !0;
    }
}

impl TaskState {
    /// Bits of a state that are reported: `TASK_REPORT`.
    const REPORT: u32 = 0x7f;

    /// The letter for a state and `task_struct.exit_state`:
    /// `task_state_index()` and `task_index_to_char()`
    /// (`include/linux/sched.h`).
    pub fn letter(self, exit_state: u32) -> char {
        // `TASK_IDLE`: asleep like a kernel thread that has nothing to do.
        if self.contains(Self::UNINTERRUPTIBLE | Self::NOLOAD) {
            return 'I';
        }
        if self.intersects(Self::RTLOCK_WAIT | Self::FROZEN) {
            return 'D';
        }
        // By the number of the highest bit.
        const LETTERS: [char; 8] = ['R', 'S', 'D', 'T', 't', 'X', 'Z', 'P'];
        let reported = (self.bits() | exit_state) & Self::REPORT;
        LETTERS[(u32::BITS - reported.leading_zeros()) as usize]
    }
}

bitflags::bitflags! {
    /// `PF_*` in `include/linux/sched.h`, as far as they are looked at.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct TaskFlags: u32 {
        /// On its way out.
        const EXITING = 0x4;
        /// A user-mode helper of the kernel's (`PF_IO_WORKER` and the like).
        const IO_WORKER = 0x10;
        /// It chose what becomes of it when memory fails (`PR_MCE_KILL`).
        const MCE_PROCESS = 0x80;
        /// Its writes are throttled by its own device alone (`PR_SET_IO_FLUSHER`).
        const LOCAL_THROTTLE = 0x0010_0000;
        /// A kernel thread.
        const KTHREAD = 0x0020_0000;
        const _ = !0;
    }
}

kernel_struct! {
    /// A thread: `struct task_struct`.
    pub struct Task: "task_struct" {
        /// Scheduler state, [`TaskState`] bits.
        raw_state: u32 = ["__state", "state"],
        /// `EXIT_*`: non-zero for a zombie.
        exit_state: u32 = ["exit_state"],
        /// Wait status.
        exit_code: u32 = ["exit_code"],
        /// [`TaskFlags`] bits.
        raw_flags: u32 = ["flags"],
        /// `TIF_*` bits.
        thread_info_flags: u64 = ["thread_info.flags"],
        /// `SYSCALL_WORK_*` bits, since 5.11.
        syscall_work: u64 = ?["thread_info.syscall_work"],
        /// Which ports it may use (`ioperm()`).
        io_bitmap: GuestVirt = ?["thread.io_bitmap"],
        /// Whether it may use all (`iopl()`).
        iopl: u64 = ?["thread.iopl_emul"],
        /// The CPU it runs or last ran on.
        cpu: u32 = ["thread_info.cpu", "cpu"],
        /// Whether a CPU runs it now.
        on_cpu: u32 = ["on_cpu"],
        /// Whether it is on a run queue. Since 6.12 a task that sleeps stays on
        /// it until its lag is spent (`sched_entity.sched_delayed`).
        on_rq: u32 = ["on_rq"],
        /// Its link in another CPU's list of tasks to wake.
        wake_entry: Embedded<CallSingleNode<'k>> = ["wake_entry"],
        /// Whether the wake-up moved it to another CPU.
        sched_remote_wakeup: bool = ["sched_remote_wakeup"],
        /// `raw_spinlock_t` against concurrent wake-ups.
        pi_lock: Raw = ["pi_lock"],
        /// Base of the kernel stack.
        stack: GuestVirt = ["stack"],
        /// Where the kernel stack ends, while it does not run.
        kernel_sp: GuestVirt = ?["thread.sp"],
        /// Thread ID in the initial PID namespace.
        pid: i32 = ["pid"],
        /// Process ID in the initial PID namespace.
        tgid: i32 = ["tgid"],
        /// The thread's name.
        raw_comm: [u8; 16] = ["comm"],
        /// The thread's IDs in all its namespaces.
        thread_pid: Ptr<Pid<'k>> = ["thread_pid"],
        /// Its place in the list of all processes.
        tasks: Embedded<ListHead<'k>> = ["tasks"],
        /// Its place in `signal_struct.thread_head`.
        thread_node: Embedded<ListHead<'k>> = ["thread_node"],
        /// Resident pages by kind, `int[4]`, that it has yet to hand in to its
        /// memory's count; up to 6.1.
        rss_count: Raw = ?["rss_stat.count"],
        /// The process that started it.
        real_parent: Ptr<Task<'k>> = ["real_parent"],
        /// The first thread of its process.
        group_leader: Ptr<Task<'k>> = ["group_leader"],
        /// Its memory; null for kernel threads and zombies.
        mm: Ptr<Mm<'k>> = ["mm"],
        /// Its file descriptors.
        files: Ptr<FilesStruct<'k>> = ["files"],
        /// Its root and working directory.
        fs: Ptr<FsStruct<'k>> = ["fs"],
        /// Its namespaces.
        nsproxy: Ptr<NsProxy<'k>> = ["nsproxy"],
        /// Its cgroups.
        cgroups: Ptr<CssSet<'k>> = ["cgroups"],
        /// What its process shares of signals.
        signal: Ptr<SignalStruct<'k>> = ["signal"],
        /// Its signal handlers.
        sighand: Ptr<Sighand<'k>> = ["sighand"],
        /// Signals pending for this thread alone.
        pending: Embedded<SigPending<'k>> = ["pending"],
        /// Blocked signals.
        blocked: u64 = ["blocked.sig"],
        /// Blocked signals before `sigtimedwait()` put its own mask in place.
        real_blocked: u64 = ["real_blocked.sig"],
        /// The mask to put back after the system call, if `restore_sigmask`.
        saved_sigmask: u64 = ["saved_sigmask.sig"],
        /// Whether `saved_sigmask` is to be put back.
        restore_sigmask: bool = ?["restore_sigmask"],
        /// `JOBCTL_*` bits.
        jobctl: u64 = ["jobctl"],
        /// Whether the freezer trap counts it as frozen.
        frozen: bool = ["frozen"],
        /// Start of the alternate signal stack.
        sas_ss_sp: u64 = ["sas_ss_sp"],
        /// Its size in bytes.
        sas_ss_size: u64 = ["sas_ss_size"],
        /// `SS_*` flags.
        sas_ss_flags: u32 = ["sas_ss_flags"],
        /// Where the kernel clears the thread ID at exit.
        clear_child_tid: u64 = ["clear_child_tid"],
        /// Head of the robust futex list.
        robust_list: u64 = ["futex.robust_list", "robust_list"],
        /// The thread's `struct rseq`.
        rseq: u64 = ["rseq.usrptr", "rseq"],
        /// Its registered length, where the kernel keeps it (from 6.3).
        rseq_len: u32 = ?["rseq.len", "rseq_len"],
        /// The signature before an abort handler.
        rseq_sig: u32 = ["rseq.sig", "rseq_sig"],
        /// Credentials as others see them.
        real_cred: Ptr<Cred<'k>> = ["real_cred"],
        /// Credentials in force.
        cred: Ptr<Cred<'k>> = ["cred"],
        /// `ADDR_NO_RANDOMIZE` and its kind.
        personality: u32 = ["personality"],
        /// `PFA_*` bits, no-new-privileges among them.
        atomic_flags: u64 = ["atomic_flags"],
        /// `SECCOMP_MODE_*`.
        seccomp_mode: u32 = ["seccomp.mode"],
        /// Its last filter.
        seccomp_filter: Ptr<SeccompFilter<'k>> = ["seccomp.filter"],
        /// What its parent gets when it ends; -1 for a thread that is not the first.
        exit_signal: i32 = ["exit_signal"],
        /// What its parent waits for in `vfork()`.
        vfork_done: GuestVirt = ["vfork_done"],
        /// Signal at the parent's death.
        pdeath_signal: u32 = ["pdeath_signal"],
        /// `SCHED_*`.
        policy: u32 = ["policy"],
        /// 120 plus the nice value.
        static_prio: i32 = ["static_prio"],
        /// Real-time priority, 1 to 99.
        rt_priority: u32 = ["rt_priority"],
        /// Whether its children begin with the default policy
        /// (`SCHED_RESET_ON_FORK`).
        sched_reset_on_fork: bool = ["sched_reset_on_fork"],
        /// How its block I/O is treated, once it did some.
        io_context: Ptr<IoContext<'k>> = ["io_context"],
        /// What keeps it from sharing a core with others (`PR_SCHED_CORE`), since
        /// 5.14, where kernels have it.
        core_cookie: u64 = ?["core_cookie"],
        /// Least and most use of a CPU that it asked for (`sched_setattr()`), where
        /// kernels have it.
        uclamp_requests: Array<UclampSe<'k>> = ?["uclamp_req"],
        /// Whether it asked for a slice of its own (`sched_setattr()`), since 6.12.
        custom_slice: bool = ?["se.custom_slice"],
        /// The NUMA nodes it prefers (`set_mempolicy()`), where kernels have any.
        mempolicy: GuestVirt = ?["mempolicy"],
        /// CPUs the thread may run on.
        cpus_ptr: GuestVirt = ["cpus_ptr"],
        /// How many they are.
        allowed_cpus: u32 = ["nr_cpus_allowed"],
        /// How late its timers may be in nanoseconds, so that they come together
        /// with others.
        timer_slack: u64 = ["timer_slack_ns"],
        /// Whether it is traced: `PT_*`.
        ptrace: u32 = ["ptrace"],
        /// Protection-key rights, kept apart from the XSAVE area since 5.14.
        pkru: u32 = ?["thread.pkru"],
        /// Audit login user; -1 for none.
        login_uid: u32 = ?["loginuid.val"],
        /// Its children, by their `sibling`.
        children: Embedded<ListHead<'k>> = ["children"],
        /// Its place among its parent's children.
        sibling: Embedded<ListHead<'k>> = ["sibling"],
        /// User `FS` base, while it does not run.
        fs_base: u64 = ["thread.fsbase"],
        /// User `GS` base, while it does not run.
        gs_base: u64 = ["thread.gsbase"],
        /// User `FS` selector.
        fs_index: u32 = ["thread.fsindex"],
        /// User `GS` selector.
        gs_index: u32 = ["thread.gsindex"],
        /// User `DS` selector.
        ds: u32 = ["thread.ds"],
        /// User `ES` selector.
        es: u32 = ["thread.es"],
        /// What `restart_syscall()` would go on from.
        restart_block: Embedded<RestartBlock<'k>> = ["restart_block"],
        /// Its io_uring, if it ever made one.
        io_uring: GuestVirt = ["io_uring"],
        /// The parts of the security modules, one behind the other.
        security: GuestVirt = ?["security"],
        /// SysV semaphore adjustments to undo at exit; any process with threads
        /// has the list (`CLONE_SYSVSEM`).
        sysv_undo: Ptr<SemUndoList<'k>> = ["sysvsem.undo_list"],
        /// User time in nanoseconds, not counting the last tick.
        utime: u64 = ["utime"],
        /// Kernel time in nanoseconds.
        stime: u64 = ["stime"],
        /// What it ran in nanoseconds, as the scheduler counts it.
        sum_exec_runtime: u64 = ["se.sum_exec_runtime"],
        /// Start time in nanoseconds of `CLOCK_BOOTTIME`.
        start_boottime: u64 = ["start_boottime"],
        /// The FPU state, where it is a part of the structure (up to 6.12).
        fpu: Raw = ?["thread.fpu"],
        /// What `execve()` left, in a structure of its own since 7.2.
        exec_state: Ptr<TaskExecState<'k>> = ?["exec_state"],
    }
}

kernel_struct! {
    /// What a process's exit does to SysV semaphores: `struct sem_undo_list`.
    pub struct SemUndoList: "sem_undo_list" {
        /// One entry for each set of semaphores.
        list_proc: Embedded<ListHead<'k>> = ["list_proc"],
    }
}

impl<'k> Task<'k> {
    /// Anonymous pages that it has mapped, or freed where negative, and not yet
    /// handed in to the count of its memory. None since 6.2.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn anonymous_pages(&self) -> Result<i64, KernelError> {
        let Some(counters) = self.rss_count()? else { return Ok(0) };
        let mut word = [0; 4];
        self.kernel().read(counters.addr().wrapping_add(ANONYMOUS * 4), &mut word)?;
        Ok(i32::from_le_bytes(word).into())
    }

    /// The idle task of the first CPU, head of the list of all processes.
    ///
    /// # Errors
    ///
    /// [`KernelError::MissingSymbol`].
    pub fn init(kernel: &'k Kernel) -> Result<Self, KernelError> {
        Self::at(kernel, super::symbol(kernel, "init_task")?)
    }

    /// All processes (their first threads), in the order of their creation.
    ///
    /// # Errors
    ///
    /// As [`init`](Self::init). Errors of the walk come with the entries.
    pub fn processes(
        kernel: &'k Kernel,
    ) -> Result<impl Iterator<Item = Result<Self, KernelError>> + use<'k>, KernelError> {
        Ok(Self::init(kernel)?.tasks()?.entries::<Self>("tasks"))
    }

    /// The process of this ID in the initial PID namespace.
    ///
    /// # Errors
    ///
    /// Errors of the walk.
    pub fn find(kernel: &'k Kernel, tgid: i32) -> Result<Option<Self>, KernelError> {
        settled(|| {
            for task in Self::processes(kernel)? {
                let task = task?;
                if task.tgid()? == tgid {
                    return Ok(Some(task));
                }
            }
            Ok(None)
        })
    }

    /// All threads of its process, the first thread first.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] for a task without `signal_struct` (one that is
    /// being reaped). Errors of the walk come with the entries.
    pub fn threads(
        &self,
    ) -> Result<impl Iterator<Item = Result<Self, KernelError>> + use<'k>, KernelError> {
        Ok(self.signal_struct()?.thread_head()?.entries::<Self>("thread_node"))
    }

    /// `signal`, which every task has that is not being reaped.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] where it is null.
    pub fn signal_struct(&self) -> Result<SignalStruct<'k>, KernelError> {
        self.signal()?.ok_or_else(|| self.gone("signal"))
    }

    /// `sighand`, which every task has that is not being reaped.
    ///
    /// # Errors
    ///
    /// [`KernelError::Corrupt`] where it is null.
    pub fn sighand_struct(&self) -> Result<Sighand<'k>, KernelError> {
        self.sighand()?.ok_or_else(|| self.gone("sighand"))
    }

    /// The scheduler state.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn state(&self) -> Result<TaskState, KernelError> {
        self.raw_state().map(TaskState::from_bits_retain)
    }

    /// Whether it is not runnable and has left both CPU and run queue.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn is_off_queue(&self) -> Result<bool, KernelError> {
        Ok(self.on_cpu()? == 0 && self.on_rq()? == 0 && !self.state()?.is_empty())
    }

    /// The flags.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn flags(&self) -> Result<TaskFlags, KernelError> {
        self.raw_flags().map(TaskFlags::from_bits_retain)
    }

    /// The letter for its state in `/proc/PID/stat`.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn state_letter(&self) -> Result<char, KernelError> {
        Ok(self.state()?.letter(self.exit_state()?))
    }

    /// The thread's name, with bytes that are not UTF-8 replaced.
    ///
    /// # Errors
    ///
    /// Where guest memory cannot be read.
    pub fn comm(&self) -> Result<String, KernelError> {
        let raw = self.raw_comm()?;
        let len = raw.iter().position(|&byte| byte == 0).unwrap_or(raw.len());
        Ok(String::from_utf8_lossy(&raw[..len]).into_owned())
    }

    fn gone(&self, field: &str) -> KernelError {
        KernelError::Corrupt {
            what: format!("task_struct.{field}"),
            addr: self.addr(),
            why: "it is null: the task is being reaped".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_the_letters_of_proc() {
        let letter = |state, exit_state| TaskState::from_bits_retain(state).letter(exit_state);
        assert_eq!(letter(0, 0), 'R');
        assert_eq!(letter(0x200, 0), 'R');
        assert_eq!(letter(0x2001, 0), 'S');
        assert_eq!(letter(0x2, 0), 'D');
        assert_eq!(letter(0x402, 0), 'I');
        assert_eq!(letter(0x2402, 0), 'I');
        assert_eq!(letter(0x104, 0), 'T');
        assert_eq!(letter(0x8, 0), 't');
        assert_eq!(letter(0x80, 0x20), 'Z');
        assert_eq!(letter(0x80, 0x10), 'X');
        assert_eq!(letter(0x40, 0), 'P');
        assert_eq!(letter(u32::MAX, u32::MAX), 'I');
    }
}
