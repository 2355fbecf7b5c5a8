//! Processes that have ended.

use crate::linux::{PidType, Task};
use crate::snapshot::Zombie;

use super::error::CaptureError;
use super::thread;

/// Reads what is left of a process that its parent has yet to reap.
pub(super) fn read(task: &Task<'_>) -> Result<Zombie, CaptureError> {
    let signal = task.signal_struct()?;
    let parent = task.real_parent()?.map_or(Ok(0), |parent| parent.tgid())?;
    Ok(Zombie {
        pid: task.tgid()?.cast_unsigned(),
        ppid: parent.cast_unsigned(),
        pgid: signal.id(PidType::Pgid)?.cast_unsigned(),
        sid: signal.id(PidType::Sid)?.cast_unsigned(),
        // `wait_task_zombie()` (`kernel/exit.c`) takes the same one.
        exit_code: if signal.flags()? & GROUP_EXIT != 0 {
            signal.group_exit_code()?
        } else {
            task.exit_code()?
        },
        comm: thread::name(task)?.into(),
    })
}

/// `SIGNAL_GROUP_EXIT` (`include/linux/sched/signal.h`).
const GROUP_EXIT: u32 = 0x4;
