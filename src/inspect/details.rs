//! One process with all it has.

use serde::Serialize;

use crate::kernel::{Kernel, KernelError};
use crate::linux::{
    CgroupNamespace, IpcNamespace, MntNamespace, NetNamespace, Path, Pid, PidNamespace, PidType,
    Struct, Task, TimeNamespace, UserNamespace, UtsNamespace, settled,
};
use crate::memory::GuestVirt;

use super::InspectError;
use super::credentials::Credentials;
use super::files::{OpenFile, open_files};
use super::limits::{Limits, limits};
use super::maps::{Mapping, mappings};
use super::process::{Thread, command};
use super::signals::Signals;

/// What can be seen of a process. Paths are as the guest's init sees them, IDs
/// those of the initial namespaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Details {
    /// Process ID.
    pub pid: i32,
    /// The parent's.
    pub ppid: i32,
    /// Process group.
    pub pgid: i32,
    /// Session.
    pub sid: i32,
    /// Its ID in its own PID namespace.
    pub own_pid: i32,
    /// The first thread's name.
    pub comm: String,
    /// The first thread's state: the letter of `proc_pid_stat(5)`.
    pub state: char,
    /// Its arguments; empty where they are not resident.
    pub arguments: Vec<String>,
    /// The executable; `None` for kernel threads.
    pub exe: Option<String>,
    /// The working directory; `None` for zombies.
    pub cwd: Option<String>,
    /// The root directory.
    pub root: Option<String>,
    /// Mode bits that new files do not get.
    pub umask: Option<u32>,
    /// Namespaces; `None` for zombies.
    pub namespaces: Option<Namespaces>,
    /// Credentials of the first thread.
    pub credentials: Credentials,
    /// Signals.
    pub signals: Signals,
    /// Resource limits.
    pub limits: Limits,
    /// Threads, the first one first.
    pub threads: Vec<Thread>,
    /// VMAs by address; none for kernel threads and zombies.
    pub maps: Vec<Mapping>,
    /// Open files by descriptor.
    pub files: Vec<OpenFile>,
}

/// The inode numbers of a process's namespaces, as in `/proc/PID/ns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Namespaces {
    /// Cgroup namespace.
    pub cgroup: u32,
    /// IPC namespace.
    pub ipc: u32,
    /// Mount namespace.
    pub mnt: u32,
    /// Network namespace.
    pub net: u32,
    /// PID namespace.
    pub pid: u32,
    /// Time namespace.
    pub time: u32,
    /// User namespace.
    pub user: u32,
    /// UTS namespace.
    pub uts: u32,
}

impl Details {
    /// Looks at the process of this ID in the initial PID namespace.
    ///
    /// # Errors
    ///
    /// [`InspectError::NoProcess`], or where the guest's memory cannot be read.
    pub fn of(kernel: &Kernel, pid: i32) -> Result<Self, InspectError> {
        let details = settled(|| {
            let task = Task::find(kernel, pid)?;
            task.map(|task| Self::read(kernel, &task)).transpose()
        })?;
        details.ok_or(InspectError::NoProcess(pid))
    }

    fn read(kernel: &Kernel, task: &Task<'_>) -> Result<Self, KernelError> {
        let init_root = root_of_init(kernel)?;
        let show = |path: &Path<'_>| -> Result<String, KernelError> {
            Ok(String::from_utf8_lossy(&path.display(&init_root)?).into_owned())
        };
        let (mm, fs, signal) = (task.mm()?, task.fs()?, task.signal_struct()?);
        let exe = mm.map(|mm| mm.exe_file()).transpose()?.flatten();
        let thread_pid = task.thread_pid()?.ok_or_else(|| reaped(task, "thread_pid"))?;
        let cred = task.real_cred()?.ok_or_else(|| reaped(task, "real_cred"))?;
        let threads = task.threads()?.map(|thread| Thread::of(&thread?));
        Ok(Self {
            pid: task.tgid()?,
            ppid: task.real_parent()?.map_or(Ok(0), |parent| parent.tgid())?,
            pgid: signal.id(PidType::Pgid)?,
            sid: signal.id(PidType::Sid)?,
            own_pid: thread_pid.at_level(thread_pid.level()?)?.nr()?,
            comm: task.comm()?,
            state: task.state_letter()?,
            arguments: mm.map_or_else(Vec::new, |mm| command(&mm)),
            exe: exe.map(|file| show(&file.path()?)).transpose()?,
            cwd: fs.map(|fs| show(&fs.pwd()?)).transpose()?,
            root: fs.map(|fs| show(&fs.root()?)).transpose()?,
            umask: fs.map(|fs| fs.umask()).transpose()?,
            namespaces: Namespaces::of(task, &thread_pid, cred.user_ns()?)?,
            credentials: Credentials::of(task, &cred)?,
            signals: Signals::of(task)?,
            limits: limits(task)?,
            threads: threads.collect::<Result<_, _>>()?,
            maps: mm.map_or(Ok(Vec::new()), |mm| mappings(&mm, &init_root))?,
            files: open_files(task, &init_root)?,
        })
    }
}

/// The root directory that the guest's init has: what paths are shown from.
fn root_of_init(kernel: &Kernel) -> Result<Path<'_>, KernelError> {
    let idle = Task::init(kernel)?;
    let init = Task::find(kernel, 1)?.unwrap_or(idle);
    let fs = match init.fs()? {
        Some(fs) => Some(fs),
        None => idle.fs()?,
    };
    fs.ok_or_else(|| reaped(&init, "fs"))?.root()
}

fn reaped(task: &Task<'_>, field: &str) -> KernelError {
    KernelError::Corrupt {
        what: format!("task_struct.{field}"),
        addr: task.addr(),
        why: "it is null: the task is being reaped".into(),
    }
}

impl Namespaces {
    fn of(task: &Task<'_>, pid: &Pid<'_>, user: GuestVirt) -> Result<Option<Self>, KernelError> {
        let (kernel, nsproxy) = (task.kernel(), task.nsproxy()?);
        let Some(nsproxy) = nsproxy else { return Ok(None) };
        // The namespace that the process itself is in, which is not always the
        // one its children will be in (`task_active_pid_ns()`).
        let pid = pid.at_level(pid.level()?)?.ns()?;
        Ok(Some(Self {
            cgroup: CgroupNamespace::at(kernel, nsproxy.cgroup()?)?.ns()?.inum()?,
            ipc: IpcNamespace::at(kernel, nsproxy.ipc()?)?.ns()?.inum()?,
            mnt: MntNamespace::at(kernel, nsproxy.mnt()?)?.ns()?.inum()?,
            net: NetNamespace::at(kernel, nsproxy.net()?)?.ns()?.inum()?,
            pid: PidNamespace::at(kernel, pid)?.ns()?.inum()?,
            time: TimeNamespace::at(kernel, nsproxy.time()?)?.ns()?.inum()?,
            user: UserNamespace::at(kernel, user)?.ns()?.inum()?,
            uts: UtsNamespace::at(kernel, nsproxy.uts()?)?.ns()?.inum()?,
        }))
    }
}
