//! Typed views of the guest kernel's structures and collections.
//!
//! One file for each structure, named as in the kernel. A view is an address
//! and a layout; each accessor reads guest memory when it is called. What
//! differs between kernels stands in the declarations, in none of the walks.

#[macro_use]
mod view;

mod cred;
mod exec_state;
mod file;
mod file_lock;
mod fpu;
mod hrtimer;
mod io_context;
mod landlock;
mod list;
mod maple_tree;
mod mm;
mod mount;
mod namespace;
mod nsproxy;
mod page;
mod page_cache;
mod path;
mod percpu;
mod percpu_counter;
mod pid;
mod pipe;
mod posix_timer;
mod pt_regs;
mod pte_marker;
mod restart_block;
mod sched;
mod settle;
mod shmem;
mod signal;
mod string;
mod symbols;
mod task;
#[cfg(test)]
mod tests;
mod thread_info;
mod timekeeping;
mod vma;
mod wchan;
mod xarray;

pub use cred::{Cred, GroupInfo};
pub use exec_state::TaskExecState;
pub use file::{BackingFile, Fdtable, File, FilesStruct, FownStruct, OpenFd};
pub use file_lock::{FileLock, FileLockContext, LockFlags};
pub use fpu::{Fpstate, Fpu};
pub use hrtimer::{Alarm, CpuItimer, CpuTimer, Hrtimer, HrtimerClockBase};
pub use io_context::IoContext;
pub use landlock::{LandlockCred, LsmBlobSizes};
pub use list::{ListHead, MAX_ENTRIES};
pub use maple_tree::MapleTree;
pub use mm::{Mm, MmFlags, MmRssStat, VdsoImage};
pub use mount::{Mount, VfsMount};
pub use namespace::{
    CgroupNamespace, IpcNamespace, MntNamespace, NetNamespace, NsCommon, PidNamespace,
    ProcNsOperations, TimeNamespace, UserNamespace, UtsNamespace,
};
pub use nsproxy::NsProxy;
pub use page::{Page, PageFlags};
pub use page_cache::{CachedPages, CachedPlace, PageCache};
pub use path::{Dentry, FileSystemType, FsStruct, Inode, Path, ResolvedPath, Stop, SuperBlock};
pub use percpu::{cpus, per_cpu};
pub use percpu_counter::PercpuCounter;
pub use pid::{Pid, Upid};
pub use pipe::{PipeBuffer, PipeInodeInfo};
pub use posix_timer::{PosixTimer, TimerState};
pub use pt_regs::PtRegs;
pub use pte_marker::PteMarker;
pub use restart_block::{RestartBlock, RestartedCall};
pub use sched::{CallSingleNode, CpuInfo, Rq};
pub use settle::settled;
pub use shmem::{HugetlbfsInodeInfo, ShmemInodeInfo, unlinked_files};
pub use signal::{PidType, SIGINFO_SIZE, SigPending, Sigaction, Sighand, SignalStruct, Sigqueue};
pub use symbols::{DECLARATIONS, symbol};
pub use task::{SemUndoList, Task, TaskFlags, TaskState};
pub use timekeeping::{Timekeeper, TkData};
pub use view::{Place, Struct};
pub use vma::{SpecialMapping, VmFlags, Vma};
pub use xarray::{XArray, XaEntry, XaNode, XaValue};
