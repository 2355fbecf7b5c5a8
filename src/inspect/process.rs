//! All processes of a guest, as `ps` lists them.

use std::collections::HashSet;

use serde::Serialize;

use crate::control::{Jobctl, is_trapped};
use crate::kernel::{Kernel, KernelError};
use crate::linux::{Mm, Struct, Task, TaskFlags, cpus, settled};
use crate::memory::{GuestVirt, PAGE_SIZE};

/// Bytes of a command line that are read at most.
const MAX_COMMAND: usize = 64 << 10;
/// Bytes of all command lines together.
const MAX_COMMANDS: usize = 64 << 20;
/// Tasks that are listed at most. Lists that are short each can lead to one
/// another without end.
const MAX_TASKS: usize = 1 << 20;
/// Parts of counters that are read for a list: each process has some for each
/// CPU, and a guest can claim thousands of both.
const MAX_COUNTERS: usize = 1 << 26;

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Its ID in the initial PID namespace.
    pub pid: i32,
    /// Its parent's; 0 where the kernel is the parent.
    pub ppid: i32,
    /// The first thread's name.
    pub comm: String,
    /// The first thread's state: the letter of `proc_pid_stat(5)`.
    pub state: char,
    /// Whether the freezer trap holds all of its threads.
    pub frozen: bool,
    /// Effective user ID, as the initial user namespace knows it.
    pub uid: u32,
    /// How many threads it has.
    pub threads: u32,
    /// Whether it is a kernel thread.
    pub kernel_thread: bool,
    /// Resident memory in bytes; see [`Mm::resident_pages`] for how exact it
    /// is. `None` for kernel threads and zombies.
    pub resident: Option<u64>,
    /// Size of all mappings in bytes.
    pub size: Option<u64>,
    /// Its arguments as they are in its memory now; empty where it has none or
    /// they are not resident.
    pub arguments: Vec<String>,
    /// Its threads, where they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub thread_list: Vec<Thread>,
}

/// A thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Thread {
    /// Its ID in the initial PID namespace.
    pub tid: i32,
    /// Its name.
    pub comm: String,
    /// Its state: the letter of `proc_pid_stat(5)`.
    pub state: char,
    /// Whether the freezer trap holds it.
    pub frozen: bool,
    /// The CPU it runs or last ran on.
    pub cpu: u32,
}

/// All processes in the order of their IDs, `with_threads` or without.
///
/// # Errors
///
/// [`KernelError`] where the list of processes cannot be read.
pub fn processes(kernel: &Kernel, with_threads: bool) -> Result<Vec<Process>, KernelError> {
    settled(|| {
        let _remembering = kernel.space().memory().remember();
        let mut processes = Vec::new();
        let mut seen = HashSet::new();
        let mut room = Room { tasks: MAX_TASKS, commands: MAX_COMMANDS, counters: MAX_COUNTERS };
        for leader in Task::processes(kernel)? {
            let leader = leader?;
            let process = Process::of(&leader, with_threads, &mut room)?;
            // A task that is reused while the walk stands on it leads the walk
            // to where it has been.
            if !seen.insert(process.pid) {
                let why = format!("process {} is in it twice", process.pid);
                let what = "the list of processes".into();
                return Err(KernelError::Corrupt { what, addr: leader.addr(), why });
            }
            processes.push(process);
        }
        processes.sort_by_key(|process| process.pid);
        Ok(processes)
    })
}

/// What a list has room for yet.
struct Room {
    tasks: usize,
    commands: usize,
    counters: usize,
}

impl Room {
    fn threads<'k>(&mut self, leader: &Task<'k>) -> Result<Vec<Task<'k>>, KernelError> {
        let threads: Vec<_> = leader.threads()?.take(self.tasks + 1).collect::<Result<_, _>>()?;
        let left = self.tasks.checked_sub(threads.len());
        self.tasks = left.ok_or_else(|| too_long(leader.addr(), "tasks", MAX_TASKS))?;
        Ok(threads)
    }

    fn resident_pages(&mut self, mm: &Mm<'_>) -> Result<u64, KernelError> {
        let left = self.counters.checked_sub(cpus(mm.kernel())? as usize);
        self.counters = left.ok_or_else(|| too_long(mm.addr(), "counters", MAX_COUNTERS))?;
        mm.resident_pages()
    }

    fn arguments(&mut self, mm: &Mm<'_>) -> Vec<String> {
        let (arguments, len) = arguments(mm, self.commands.min(MAX_COMMAND));
        self.commands -= len;
        arguments
    }
}

fn too_long(addr: GuestVirt, of: &str, max: usize) -> KernelError {
    let why = format!("there are more than {max} {of}");
    KernelError::Corrupt { what: "the list of processes".into(), addr, why }
}

impl Process {
    fn of(leader: &Task<'_>, with_threads: bool, room: &mut Room) -> Result<Self, KernelError> {
        let flags = leader.flags()?;
        let kernel_thread = flags.contains(TaskFlags::KTHREAD);
        let mm = if kernel_thread { None } else { leader.mm()? };
        let cred = leader.real_cred()?;
        let threads = room.threads(leader)?;
        let mut frozen = !threads.is_empty();
        for thread in &threads {
            frozen &= is_frozen(thread)?;
        }
        let list = if with_threads { threads.as_slice() } else { &[] };
        Ok(Self {
            pid: leader.tgid()?,
            ppid: leader.real_parent()?.map_or(Ok(0), |parent| parent.tgid())?,
            comm: leader.comm()?,
            state: leader.state_letter()?,
            frozen,
            uid: cred.map_or(Ok(0), |cred| cred.euid())?,
            threads: leader.signal_struct()?.nr_threads()?,
            kernel_thread,
            resident: mm.map(|mm| room.resident_pages(&mm).map(bytes)).transpose()?,
            size: mm.map(|mm| mm.total_vm().map(bytes)).transpose()?,
            arguments: mm.map_or_else(Vec::new, |mm| room.arguments(&mm)),
            thread_list: list.iter().map(Thread::of).collect::<Result<_, _>>()?,
        })
    }
}

impl Thread {
    pub(super) fn of(task: &Task<'_>) -> Result<Self, KernelError> {
        Ok(Self {
            tid: task.pid()?,
            comm: task.comm()?,
            state: task.state_letter()?,
            frozen: is_frozen(task)?,
            cpu: task.cpu()?,
        })
    }
}

/// Whether the trap holds a thread, or would if it had not ended already.
pub(super) fn is_frozen(thread: &Task<'_>) -> Result<bool, KernelError> {
    let asked = Jobctl::from_bits_retain(thread.jobctl()?).contains(Jobctl::TRAP_FREEZE);
    Ok(asked && (thread.exit_state()? != 0 || is_trapped(thread)?))
}

fn bytes(pages: u64) -> u64 {
    pages.saturating_mul(PAGE_SIZE)
}

/// The arguments of a process.
pub(super) fn command(mm: &Mm<'_>) -> Vec<String> {
    arguments(mm, MAX_COMMAND).0
}

/// What lies between `arg_start` and `arg_end`, from `max` bytes, and how many
/// bytes these are. Memory of a running process may be swapped out or unmapped
/// at any moment, so that no error says more than that there is nothing to show.
fn arguments(mm: &Mm<'_>, max: usize) -> (Vec<String>, usize) {
    let read = || -> Result<Vec<u8>, KernelError> {
        let (start, end) = (mm.arg_start()?, mm.arg_end()?);
        let mut bytes = vec![0; end.saturating_sub(start).min(max as u64) as usize];
        mm.space()?.read(GuestVirt::new(start), &mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    (split(&bytes), bytes.len())
}

/// Splits at NUL bytes. A program that writes a title over its arguments pads
/// it with them.
fn split(bytes: &[u8]) -> Vec<String> {
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    match &bytes[..end] {
        [] => Vec::new(),
        used => used
            .split(|&byte| byte == 0)
            .map(|argument| String::from_utf8_lossy(argument).into_owned())
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn arguments_end_at_nul_and_may_be_empty() {
        assert_eq!(split(b"sh\0-c\0\0x\0"), ["sh", "-c", "", "x"]);
        assert_eq!(split(b"postgres: idle\0\0\0\0"), ["postgres: idle"]);
        assert_eq!(split(b"cut off"), ["cut off"]);
        assert!(split(b"\0\0").is_empty());
        assert!(split(b"").is_empty());
    }
}
