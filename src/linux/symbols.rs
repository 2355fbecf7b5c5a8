//! The symbols that are read, and the list of all declarations.

use crate::kernel::{Declarations, Kernel, KernelError, SymbolDecl};
use crate::memory::GuestVirt;

use super::*;

/// A symbol under its own name that every kernel has.
const fn required(names: &'static [&'static str]) -> SymbolDecl {
    SymbolDecl { name: names[0], names, optional: false }
}

/// A symbol under its own name that some kernels have.
const fn optional(names: &'static [&'static str]) -> SymbolDecl {
    SymbolDecl { name: names[0], names, optional: true }
}

/// Everything that the program reads of a kernel.
pub static DECLARATIONS: Declarations = Declarations {
    structs: &[
        Task::declaration(),
        SemUndoList::declaration(),
        TaskExecState::declaration(),
        Mm::declaration(),
        KioctxTable::declaration(),
        Kioctx::declaration(),
        KioctxCpu::declaration(),
        VdsoImage::declaration(),
        Page::declaration(),
        PageFlags::declaration(),
        NsProxy::declaration(),
        MmRssStat::declaration(),
        PercpuCounter::declaration(),
        Vma::declaration(),
        SpecialMapping::declaration(),
        MapleTree::declaration(),
        ListHead::declaration(),
        SignalStruct::declaration(),
        Sighand::declaration(),
        Sigaction::declaration(),
        SigPending::declaration(),
        Sigqueue::declaration(),
        Hrtimer::declaration(),
        HrtimerClockBase::declaration(),
        CpuItimer::declaration(),
        Alarm::declaration(),
        CpuTimer::declaration(),
        PosixTimer::declaration(),
        Timekeeper::declaration(),
        TkData::declaration(),
        Pid::declaration(),
        Upid::declaration(),
        EventfdCtx::declaration(),
        SignalfdCtx::declaration(),
        TimerfdCtx::declaration(),
        Eventpoll::declaration(),
        Epitem::declaration(),
        EppollEntry::declaration(),
        FsnotifyGroup::declaration(),
        FsnotifyMark::declaration(),
        FsnotifyMarkConnector::declaration(),
        InotifyInodeMark::declaration(),
        DnotifyMark::declaration(),
        DnotifyStruct::declaration(),
        RbRoot::declaration(),
        RbNode::declaration(),
        PipeInodeInfo::declaration(),
        PipeBuffer::declaration(),
        Socket::declaration(),
        Sock::declaration(),
        SockFlags::declaration(),
        SkFilter::declaration(),
        BpfProg::declaration(),
        SockFprogKern::declaration(),
        SkBuffHead::declaration(),
        SkBuff::declaration(),
        SkbSharedInfo::declaration(),
        BioVec::declaration(),
        SkbFrag::declaration(),
        InetSock::declaration(),
        Ipv6Pinfo::declaration(),
        InetConnectionSock::declaration(),
        TcpSock::declaration(),
        UdpSock::declaration(),
        SockReuseport::declaration(),
        NetlinkSock::declaration(),
        PacketSock::declaration(),
        PacketSockFlags::declaration(),
        PacketMclist::declaration(),
        RawSock::declaration(),
        Raw6Sock::declaration(),
        UnixSock::declaration(),
        UnixAddress::declaration(),
        UnixSkbParms::declaration(),
        ScmFpList::declaration(),
        TtyFilePrivate::declaration(),
        Tty::declaration(),
        Ktermios::declaration(),
        Winsize::declaration(),
        TtyStructFlags::declaration(),
        TtyPort::declaration(),
        TtyBufhead::declaration(),
        TtyBuffer::declaration(),
        TtyLdisc::declaration(),
        TtyLdiscOps::declaration(),
        NTtyData::declaration(),
        Cred::declaration(),
        GroupInfo::declaration(),
        LsmBlobSizes::declaration(),
        SelinuxState::declaration(),
        LandlockCred::declaration(),
        AaLabel::declaration(),
        AaProxy::declaration(),
        AaProfile::declaration(),
        AaNs::declaration(),
        AaTaskCtx::declaration(),
        SeccompFilter::declaration(),
        CssSet::declaration(),
        CgrpCsetLink::declaration(),
        Cgroup::declaration(),
        CgroupSubsysState::declaration(),
        CgroupRoot::declaration(),
        CgroupSubsys::declaration(),
        KernfsNode::declaration(),
        KernfsIattrs::declaration(),
        TaskGroup::declaration(),
        CfsBandwidth::declaration(),
        Cpuset::declaration(),
        MemCgroup::declaration(),
        PageCounter::declaration(),
        HugetlbCgroup::declaration(),
        Hstate::declaration(),
        PidsCgroup::declaration(),
        Freezer::declaration(),
        CgroupClsState::declaration(),
        DevCgroup::declaration(),
        RdmaCgroup::declaration(),
        MiscCg::declaration(),
        MiscRes::declaration(),
        Blkcg::declaration(),
        BlkcgGq::declaration(),
        BlkcgPolicy::declaration(),
        RequestQueue::declaration(),
        Gendisk::declaration(),
        BackingDevInfo::declaration(),
        ThrotlGrp::declaration(),
        IocCgrp::declaration(),
        IocGq::declaration(),
        UtsNamespace::declaration(),
        IpcNamespace::declaration(),
        MntNamespace::declaration(),
        NetNamespace::declaration(),
        CgroupNamespace::declaration(),
        TimeNamespace::declaration(),
        PidNamespace::declaration(),
        UserNamespace::declaration(),
        NsCommon::declaration(),
        ProcNsOperations::declaration(),
        FilesStruct::declaration(),
        Fdtable::declaration(),
        File::declaration(),
        BackingFile::declaration(),
        FownStruct::declaration(),
        Path::declaration(),
        FsStruct::declaration(),
        Dentry::declaration(),
        Inode::declaration(),
        PageCache::declaration(),
        ShmemInodeInfo::declaration(),
        HugetlbfsInodeInfo::declaration(),
        XArray::declaration(),
        XaNode::declaration(),
        FileLockContext::declaration(),
        FileLock::declaration(),
        SuperBlock::declaration(),
        FileSystemType::declaration(),
        Mount::declaration(),
        Seqlock::declaration(),
        VfsMount::declaration(),
        Fpu::declaration(),
        Fpstate::declaration(),
        PtRegs::declaration(),
        RestartBlock::declaration(),
        IoContext::declaration(),
        Rq::declaration(),
        UclampSe::declaration(),
        CpuInfo::declaration(),
        FpuStateConfig::declaration(),
        CallSingleNode::declaration(),
    ],
    symbols: &[
        required(&["init_task"]),
        required(&["__per_cpu_offset"]),
        required(&["nr_cpu_ids"]),
        required(&["runqueues"]),
        required(&["call_single_queue"]),
        required(&["cpu_info"]),
        required(&["special_mapping_vmops"]),
        required(&["signal_wake_up_state"]),
        SymbolDecl { name: "timekeeper", names: &["timekeeper_data", "tk_core"], optional: false },
        optional(&["fpu_kernel_xstate_size"]),
        optional(&["xfeatures_mask_all"]),
        required(&["boot_cpu_data"]),
        optional(&["fpu_user_cfg"]),
        optional(&["fpu_user_xstate_size"]),
        required(&["cgroup_subsys"]),
        required(&["cgrp_dfl_root"]),
        optional(&["cgrp_dfl_visible"]),
        optional(&["hugetlb_max_hstate"]),
        optional(&["hstates"]),
        optional(&["blkcg_policy_throtl"]),
        optional(&["blkcg_policy_iocost"]),
        optional(&["landlock_blob_sizes"]),
        optional(&["landlock_initialized"]),
        optional(&["apparmor_blob_sizes"]),
        optional(&["apparmor_initialized"]),
        optional(&["selinux_state"]),
        // What tells one kind of open file from another: `file.f_op`.
        optional(&["memory_fops"]),
        optional(&["null_fops"]),
        optional(&["zero_fops"]),
        optional(&["full_fops"]),
        optional(&["random_fops"]),
        optional(&["urandom_fops"]),
        optional(&["pipefifo_fops"]),
        optional(&["pipeanon_fops"]),
        optional(&["socket_file_ops"]),
        optional(&["eventfd_fops"]),
        optional(&["eventpoll_fops"]),
        optional(&["signalfd_fops"]),
        optional(&["timerfd_fops"]),
        optional(&["inotify_fops"]),
        optional(&["fanotify_fops"]),
        optional(&["tty_fops"]),
        optional(&["console_fops"]),
        optional(&["hung_up_tty_fops"]),
        optional(&["ptmx_fops"]),
        // What tells the marks of `F_NOTIFY` from others: `fsnotify_group.ops`.
        optional(&["dnotify_fsnotify_ops"]),
        // What a socket of packets sends by (`packet_sock.xmit`), in older kernels.
        optional(&["packet_direct_xmit"]),
        // What tells an end of a pseudoterminal from other terminals: `tty_struct.ops`.
        optional(&["ptm_unix98_ops"]),
        optional(&["pty_unix98_ops"]),
        optional(&["io_uring_fops"]),
        optional(&["userfaultfd_fops"]),
        optional(&["perf_fops"]),
        optional(&["bpf_map_fops"]),
        optional(&["bpf_prog_fops"]),
        optional(&["bpf_link_fops"]),
        optional(&["ns_file_operations"]),
        optional(&["aio_ring_fops"]),
        optional(&["pidfd_fops"]),
        optional(&["pidfs_file_operations"]),
        optional(&["seccomp_notify_ops"]),
        optional(&["mqueue_file_operations"]),
        optional(&["shm_file_operations"]),
        optional(&["shm_file_operations_huge"]),
        optional(&["shmem_file_operations"]),
        optional(&["hugetlbfs_file_operations"]),
        optional(&["secretmem_fops"]),
        optional(&["dma_buf_fops"]),
        // What tells that a path may be another while it is read.
        optional(&["rename_lock"]),
        optional(&["mount_lock"]),
        // The mounts of files in memory that have no place in any directory.
        optional(&["shm_mnt"]),
        optional(&["hugetlbfs_vfsmount"]),
        // What tells which bit of `file.f_mode` means what.
        SymbolDecl {
            name: "fsnotify_open_perm_and_set_mode",
            names: &[
                "fsnotify_open_perm_and_set_mode",
                "file_set_fsnotify_mode_from_watchers",
                "file_set_fsnotify_mode",
            ],
            optional: true,
        },
        // What tells the kinds of slots of a pipe: `pipe_buffer.ops`.
        optional(&["anon_pipe_buf_ops"]),
        optional(&["page_cache_pipe_buf_ops"]),
        optional(&["user_page_pipe_buf_ops"]),
        optional(&["default_pipe_buf_ops"]),
        optional(&["nosteal_pipe_buf_ops"]),
        // What an interrupted system call would be restarted by.
        optional(&["do_no_restart_syscall"]),
        optional(&["do_restart_poll"]),
        optional(&["hrtimer_nanosleep_restart"]),
        optional(&["futex_wait_restart"]),
        optional(&["posix_cpu_nsleep_restart"]),
        optional(&["alarm_timer_nsleep_restart"]),
        // Frames that stand for memory nobody has written to.
        SymbolDecl { name: "zero_pfn", names: &["zero_page_pfn", "zero_pfn"], optional: false },
        required(&["huge_zero_pfn"]),
        // Standard-format layout of the XSAVE area, by component.
        required(&["xstate_offsets"]),
        required(&["xstate_sizes"]),
        optional(&["xstate_flags"]),
    ],
};

/// The address of a symbol of [`DECLARATIONS`] that must be there.
///
/// # Errors
///
/// [`KernelError::MissingSymbol`].
pub fn symbol(kernel: &Kernel, name: &'static str) -> Result<GuestVirt, KernelError> {
    kernel.symbol(name).ok_or_else(|| KernelError::MissingSymbol {
        release: kernel.release().to_owned(),
        names: DECLARATIONS
            .symbols
            .iter()
            .find(|decl| decl.name == name)
            .map_or(&[], |decl| decl.names),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{ProfileLibrary, lookup};

    #[test]
    fn profiles_that_are_built_in_hold_all_that_must_be_read() {
        let mut releases = Vec::new();
        for known in ProfileLibrary::built_in().all() {
            let release = known.profile.release.clone();
            let looked = lookup(&known.profile, &DECLARATIONS);
            let missing: Vec<_> = looked.iter().filter(|item| item.is_missing()).collect();
            assert!(missing.is_empty(), "{release}: run `make kernel-profiles`: {missing:#?}");
            assert!(known.profile.build_id.len() >= 40, "{release}");
            releases.push(release);
        }
        for line in ["5.10.", "6.1.", "6.12.", "7.2."] {
            assert!(releases.iter().any(|release| release.starts_with(line)), "{line} is missing");
        }
    }
}
