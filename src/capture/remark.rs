//! What CRIU does not keep and that is no reason not to save a process: it decides
//! where and when that runs, not what it does.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::control::{Target, Tree};
use crate::kernel::KernelError;
use crate::linux::{CgroupSubsys, Cpuset, Struct, Task, settled};

use super::error::CaptureError;

/// Something that a process has, and has no more after a restore.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Remark {
    /// The process.
    pub pid: i32,
    /// Its name.
    pub comm: String,
    /// What it has, for example `its core dumps hold other memory than is usual`.
    pub what: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, comm, what } = self;
        write!(f, "process {pid} ({comm}): {what}, which is not kept")
    }
}

/// `timer_slack_ns` of `init_task` (`init/init_task.c`); threads of real time have
/// none.
const USUAL_SLACK: [u64; 2] = [0, 50_000];

/// What of a tree is not kept. The processes may run on; of those that end
/// meanwhile nothing is told.
///
/// # Errors
///
/// Where guest memory cannot be read.
pub fn remarks(tree: &Tree<'_>) -> Result<Vec<Remark>, CaptureError> {
    let kernel = tree.root().leader().kernel();
    let init = Task::find(kernel, 1)?;
    let usual = Usual {
        dump_filter: init.map_or(Ok(None), |init| dump_filter(&init))?,
        cpusets: CgroupSubsys::named(kernel, "cpuset")?,
    };
    let mut remarks = Vec::new();
    for target in tree.members() {
        let Ok(found) = settled(|| usual.unlike(target)) else { continue };
        remarks.extend(found.into_iter().map(|what| Remark {
            pid: target.pid(),
            comm: target.comm().to_owned(),
            what,
        }));
    }
    Ok(remarks)
}

/// What a process has that did not ask for anything else.
struct Usual<'k> {
    dump_filter: Option<u64>,
    /// The controller that says which CPUs it may run on.
    cpusets: Option<CgroupSubsys<'k>>,
}

impl Usual<'_> {
    fn unlike(&self, target: &Target<'_>) -> Result<Vec<String>, KernelError> {
        let mut found = Vec::new();
        let (mut pinned, mut slack) = (0, 0);
        let threads = target.threads()?;
        for thread in &threads {
            pinned += usize::from(self.is_pinned(thread)?);
            slack += usize::from(!USUAL_SLACK.contains(&thread.timer_slack()?));
        }
        for (count, what) in [
            (pinned, "may not run on all CPUs (sched_setaffinity)"),
            (slack, "have a timer slack of their own (PR_SET_TIMERSLACK)"),
        ] {
            if count != 0 {
                found.push(format!("{count} of its threads {what}"));
            }
        }
        if dump_filter(&target.leader())? != self.dump_filter {
            found.push("its core dumps hold other memory than is usual (coredump_filter)".into());
        }
        Ok(found)
    }

    /// Whether a thread may run on fewer CPUs than its cgroup lets it.
    fn is_pinned(&self, thread: &Task<'_>) -> Result<bool, KernelError> {
        let Some(cpusets) = &self.cpusets else { return Ok(false) };
        let Some(state) = thread.controller_state(cpusets)? else { return Ok(false) };
        let usual = Cpuset::of(state)?.effective()?.len();
        Ok((thread.allowed_cpus()? as usize) < usual)
    }
}

fn dump_filter(task: &Task<'_>) -> Result<Option<u64>, KernelError> {
    task.mm()?.map(|mm| mm.dump_filter()).transpose()
}
