//! `core-TID.img`: one thread, and for a leader its process.

use super::EncodeError;
use super::cgroup::set_id;
use super::container::{ImageKind, ImageWriter};
use super::proto;
use super::seccomp::Filters;
use super::{registers, timers};
use crate::snapshot::{
    AltStack, Credentials, KernelString, Mm, Process, ProcessState, Scheduling, SigHand, SigInfo,
    Snapshot, Thread, Zombie,
};

/// Values of `task_core_entry.task_state`.
pub mod task_state {
    /// It runs.
    pub const ALIVE: u32 = 1;
    /// It is a zombie.
    pub const DEAD: u32 = 2;
    /// A signal stopped it.
    pub const STOPPED: u32 = 3;
}

/// Length of the kernel's `struct robust_list_head` in bytes, the only one
/// that `set_robust_list()` takes.
pub const ROBUST_LIST_HEAD: u32 = 24;

const SIGKILL: usize = 9;
const SIGSTOP: usize = 19;

/// `core-TID.img` of one thread of a process.
pub fn image(
    snapshot: &Snapshot,
    process: &Process,
    thread: &Thread,
    filters: &Filters,
) -> Result<Vec<u8>, EncodeError> {
    let is_leader = thread.tid == process.pid;
    let task = is_leader.then(|| task_entry(snapshot, process, thread)).transpose()?;
    let mut image = ImageWriter::new(ImageKind::Core);
    image.record(&proto::CoreEntry {
        mtype: proto::core_entry::March::X8664 as i32,
        thread_info: Some(registers::thread_info(thread)),
        tc: task,
        ids: None,
        thread_core: Some(thread_entry(process, thread, filters)),
    })?;
    Ok(image.finish())
}

/// `core-PID.img` of a process that has ended.
pub fn zombie_image(zombie: &Zombie) -> Result<Vec<u8>, EncodeError> {
    let mut image = ImageWriter::new(ImageKind::Core);
    image.record(&proto::CoreEntry {
        mtype: proto::core_entry::March::X8664 as i32,
        tc: Some(proto::TaskCoreEntry {
            task_state: task_state::DEAD,
            exit_code: zombie.exit_code,
            comm: comm(&zombie.comm),
            ..proto::TaskCoreEntry::default()
        }),
        ..proto::CoreEntry::default()
    })?;
    Ok(image.finish())
}

fn task_entry(
    snapshot: &Snapshot,
    process: &Process,
    leader: &Thread,
) -> Result<proto::TaskCoreEntry, EncodeError> {
    let sighand = snapshot.sighands.get(process.sighand).ok_or(EncodeError::Dangling("sighand"))?;
    let mm = snapshot.mms.get(process.mm).ok_or(EncodeError::Dangling("mm"))?;
    let (task_state, stop_signo) = match process.state {
        ProcessState::Alive => (task_state::ALIVE, None),
        ProcessState::Stopped { signal } => (task_state::STOPPED, Some(signal)),
    };
    Ok(proto::TaskCoreEntry {
        task_state,
        exit_code: process.exit_code,
        personality: process.personality,
        flags: process.flags,
        blk_sigset: leader.blocked.0,
        comm: comm(&leader.comm),
        timers: Some(timers::entry(process)),
        rlimits: Some(proto::TaskRlimitsEntry {
            rlimits: process
                .rlimits
                .iter()
                .map(|limit| proto::RlimitEntry { cur: limit.cur, max: limit.max })
                .collect(),
        }),
        signals_s: Some(signal_queue(&process.pending)),
        loginuid: process.login_uid,
        oom_score_adj: Some(process.oom_score_adj),
        sigactions: sigactions(sighand),
        child_subreaper: Some(process.child_subreaper),
        stop_signo,
        membarrier_registration_mask: membarrier_registrations(mm),
        cg_set: process.cgroups.map(set_id),
        ..proto::TaskCoreEntry::default()
    })
}

fn thread_entry(process: &Process, thread: &Thread, filters: &Filters) -> proto::ThreadCoreEntry {
    let is_leader = thread.tid == process.pid;
    let (seccomp_mode, seccomp_filter) = filters.of_thread(process, thread.seccomp, is_leader);
    let AltStack { sp, size, flags } = thread.alt_stack;
    let Scheduling { policy, nice, rt_priority } = thread.scheduling;
    proto::ThreadCoreEntry {
        futex_rla: thread.robust_list,
        futex_rla_len: ROBUST_LIST_HEAD,
        sched_nice: Some(nice),
        sched_policy: Some(policy),
        sched_prio: (rt_priority != 0).then_some(rt_priority),
        // The leader's is with its process.
        blk_sigset: (!is_leader).then_some(thread.blocked.0),
        sas: Some(proto::ThreadSasEntry { ss_sp: sp, ss_size: size, ss_flags: flags }),
        pdeath_sig: (thread.pdeath_signal != 0).then_some(thread.pdeath_signal),
        signals_p: Some(signal_queue(&thread.pending)),
        creds: Some(credentials(&thread.credentials)),
        seccomp_mode,
        seccomp_filter,
        comm: Some(comm(&thread.comm)),
        rseq_entry: thread.rseq.map(|rseq| proto::RseqEntry {
            rseq_abi_pointer: rseq.address,
            rseq_abi_size: rseq.len,
            signature: rseq.signature,
            rseq_cs_pointer: None,
        }),
        // CRIU 4 looks here, older ones at the process's.
        cg_set: process.cgroups.map(set_id),
        ..proto::ThreadCoreEntry::default()
    }
}

/// `TASK_COMM_LEN` less the NUL.
fn comm(name: &KernelString) -> Vec<u8> {
    name.as_bytes().iter().copied().take(15).collect()
}

fn signal_queue(pending: &[SigInfo]) -> proto::SignalQueueEntry {
    proto::SignalQueueEntry {
        signals: pending
            .iter()
            .map(|info| proto::SiginfoEntry { siginfo: info.0.to_vec() })
            .collect(),
    }
}

/// All but the two that have no handler.
fn sigactions(sighand: &SigHand) -> Vec<proto::SaEntry> {
    (1..)
        .zip(&sighand.actions)
        .filter(|(signal, _)| !matches!(*signal, SIGKILL | SIGSTOP))
        .map(|(_, action)| proto::SaEntry {
            sigaction: action.handler,
            flags: action.flags,
            restorer: action.restorer,
            mask: action.mask.0,
            compat_sigaction: Some(false),
            mask_extended: None,
        })
        .collect()
}

fn credentials(cred: &Credentials) -> proto::CredsEntry {
    let words = |set: u64| vec![set as u32, (set >> 32) as u32];
    proto::CredsEntry {
        uid: cred.uid,
        gid: cred.gid,
        euid: cred.euid,
        egid: cred.egid,
        suid: cred.suid,
        sgid: cred.sgid,
        fsuid: cred.fsuid,
        fsgid: cred.fsgid,
        cap_inh: words(cred.cap_inheritable),
        cap_prm: words(cred.cap_permitted),
        cap_eff: words(cred.cap_effective),
        cap_bnd: words(cred.cap_bounding),
        secbits: cred.securebits,
        groups: cred.groups.clone(),
        no_new_privs: Some(u32::from(cred.no_new_privs)),
        cap_amb: words(cred.cap_ambient),
        lsm_profile: cred.apparmor_profile.clone(),
        ..proto::CredsEntry::default()
    }
}

/// What `MEMBARRIER_CMD_GET_REGISTRATIONS` would return: the command that
/// makes each registration (`kernel/sched/membarrier.c`).
fn membarrier_registrations(mm: &Mm) -> Option<u32> {
    const COMMAND_OF_STATE: [(u32, u32); 4] = [
        (1 << 1, 1 << 4), // private expedited
        (1 << 3, 1 << 2), // global expedited
        (1 << 5, 1 << 6), // private expedited, core-serializing
        (1 << 7, 1 << 8), // private expedited, rseq
    ];
    let commands = COMMAND_OF_STATE
        .iter()
        .filter(|(state, _)| mm.membarrier_state & state != 0)
        .fold(0, |mask, (_, command)| mask | command);
    (commands != 0).then_some(commands)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_of_sigkill_and_sigstop_are_left_out() {
        let mut sighand = SigHand::default();
        for (signal, action) in (1..).zip(&mut sighand.actions) {
            action.handler = signal;
        }
        let handlers: Vec<u64> = sigactions(&sighand).iter().map(|sa| sa.sigaction).collect();
        let expected: Vec<u64> = (1..=64).filter(|signal| ![9, 19].contains(signal)).collect();
        assert_eq!(handlers, expected);
    }
}
