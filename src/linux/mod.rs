//! Typed views of the guest kernel's structures and collections.
//!
//! One file for each structure, named as in the kernel. A view is an address
//! and a layout; each accessor reads guest memory when it is called. What
//! differs between kernels stands in the declarations, in none of the walks.

#[macro_use]
mod view;

mod aio;
mod apparmor;
mod bpf;
mod cgroup;
mod children;
mod cpu;
mod cred;
mod dnotify;
mod eventfd;
mod eventpoll;
mod exec_state;
mod file;
mod file_lock;
mod fpu;
mod fsnotify;
mod hrtimer;
mod io_context;
mod landlock;
mod list;
mod lsm;
mod maple_tree;
mod mm;
mod mm_flags;
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
mod rbtree;
mod restart_block;
mod sched;
mod seccomp;
mod seqlock;
mod settle;
mod shmem;
mod signal;
mod signalfd;
mod socket;
mod string;
mod symbols;
mod task;
#[cfg(test)]
mod tests;
mod thread_info;
mod timekeeping;
mod timerfd;
mod tty;
mod vma;
mod wchan;
mod xarray;

pub use aio::{Kioctx, KioctxCpu, KioctxTable, RequestCount};
pub use apparmor::{AaLabel, AaNs, AaProfile, AaProxy, AaTaskCtx, Confinement, LabelFlags};
pub use bpf::{BpfProg, SockFprogKern};
pub use cgroup::{
    BackingDevInfo, Blkcg, BlkcgGq, BlkcgPolicy, CfsBandwidth, Cgroup, CgroupClsState, CgroupFlags,
    CgroupRoot, CgroupSubsys, CgroupSubsysState, CgrpCsetLink, Cpuset, CpusetFlags, CssSet,
    DevCgroup, Freezer, Gendisk, Hstate, HugetlbCgroup, IoLimits, IocCgrp, IocGq, KernfsIattrs,
    KernfsNode, MAX_HIERARCHIES, MemCgroup, MiscCg, MiscRes, PageCounter, PidsCgroup, RdmaCgroup,
    RequestQueue, TaskGroup, ThrotlGrp,
};
pub use children::Looks;
pub use cpu::{FpuStateConfig, user_xsave_size};
pub use cred::{Cred, GroupInfo};
pub use dnotify::{DnotifyMark, DnotifyStruct};
pub use eventfd::EventfdCtx;
pub use eventpoll::{Epitem, EppollEntry, Eventpoll};
pub use exec_state::TaskExecState;
pub use file::{BackingFile, Fdtable, File, FilesStruct, FownStruct, OpenFd};
pub use file_lock::{FileLock, FileLockContext, LockFlags};
pub use fpu::{Fpstate, Fpu};
pub use fsnotify::{FsnotifyGroup, FsnotifyMark, FsnotifyMarkConnector, InotifyInodeMark};
pub use hrtimer::{Alarm, CpuItimer, CpuTimer, Hrtimer, HrtimerClockBase};
pub use io_context::IoContext;
pub use landlock::LandlockCred;
pub use list::{ListHead, MAX_ENTRIES};
pub use lsm::{LsmBlobSizes, SelinuxState, is_selinux_on};
pub use maple_tree::MapleTree;
pub use mm::{Mm, MmRssStat, VdsoImage};
pub use mm_flags::MmSettings;
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
pub use rbtree::{RbNode, RbRoot};
pub use restart_block::{RestartBlock, RestartedCall};
pub use sched::{CallSingleNode, CpuInfo, Rq, UclampSe};
pub use seccomp::SeccompFilter;
pub use seqlock::Seqlock;
pub use settle::settled;
pub use shmem::{HugetlbfsInodeInfo, ShmemInodeInfo, unlinked_files};
pub use signal::{PidType, SIGINFO_SIZE, SigPending, Sigaction, Sighand, SignalStruct, Sigqueue};
pub use signalfd::SignalfdCtx;
pub use socket::{
    BioVec, InetConnectionSock, InetFlags, InetSock, Ipv6Pinfo, NetlinkSock, PacketMclist,
    PacketSock, PacketSockFlags, Raw6Sock, RawSock, ScmFpList, SkBuff, SkBuffHead, SkFilter,
    SkbFrag, SkbSharedInfo, Sock, SockFlags, SockReuseport, Socket, TcpSock, UdpSock, UnixAddress,
    UnixSkbParms, UnixSock,
};
pub use symbols::{DECLARATIONS, symbol};
pub use task::{SemUndoList, Task, TaskFlags, TaskState};
pub use thread_info::FaultingInstructions;
pub use timekeeping::{Timekeeper, TkData};
pub use timerfd::TimerfdCtx;
pub use tty::{
    Ktermios, NTtyData, Tty, TtyBuffer, TtyBufhead, TtyFilePrivate, TtyFlag, TtyKind, TtyLdisc,
    TtyLdiscOps, TtyPort, TtyStructFlags, UnreadInput, Winsize,
};
pub use view::{Place, Struct};
pub use vma::{SpecialMapping, VmFlags, Vma};
pub use xarray::{XArray, XaEntry, XaNode, XaValue};
