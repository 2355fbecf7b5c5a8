//! What processes share that `clone()` without `CLONE_THREAD` can share.

use std::collections::{HashMap, HashSet};
use std::thread::sleep;
use std::time::Duration;

use crate::control::{Target, Tree};
use crate::kernel::KernelError;
use crate::linux::{Struct, Task, settled};

use super::error::CaptureError;
use super::obstacle::{Obstacle, Obstacles};

/// The kinds in the order of [`parts`].
const NAMES: [&str; 4] =
    ["memory", "file descriptors", "root and working directory", "signal handlers"];
/// The only kind that CRIU restores as shared, and only with the parent
/// (`dump_task_kobj_ids()`, `criu/cr-dump.c`).
const FILES: usize = 1;
const FS: usize = 2;

/// How often a process that shares what it may not is looked at, and after how
/// long.
const ATTEMPTS: u32 = 20;
const PATIENCE: Duration = Duration::from_millis(2);

/// Where what a task can share lies in the kernel.
type Parts = [Option<u64>; 4];

fn parts(task: &Task<'_>) -> Result<Parts, KernelError> {
    Ok([
        task.mm()?.map(|mm| mm.addr().get()),
        task.files()?.map(|files| files.addr().get()),
        task.fs()?.map(|fs| fs.addr().get()),
        task.sighand()?.map(|sighand| sighand.addr().get()),
    ])
}

/// Notes what is shared in a way that is not restored.
pub(super) fn survey(tree: &Tree<'_>) -> Result<Vec<Obstacle>, CaptureError> {
    let mut found = Vec::new();
    let mut members: Vec<(&Target<'_>, Parts)> = Vec::new();
    for target in tree.members() {
        if is_about_to_execute(tree, target)? {
            continue;
        }
        let leader = target.leader();
        let looked = parts(&leader).and_then(|own| Ok((own, threads(target, &own)?)));
        match looked {
            Ok((own, obstacles)) => {
                members.push((target, own));
                found.extend(obstacles);
            }
            Err(_) if target.is_ending()? => {}
            Err(error) => return Err(error.into()),
        }
    }
    found.extend(between_members(&members)?);
    found.extend(with_others(tree, &members)?);
    Ok(found)
}

/// Whether a process is between `vfork()` and `execve()`, its parent waiting
/// for it: it shares memory for that long only, and is not frozen there.
pub(super) fn is_about_to_execute(
    tree: &Tree<'_>,
    target: &Target<'_>,
) -> Result<bool, CaptureError> {
    let is_root = target.pid() == tree.root().pid();
    Ok(!is_root && !target.leader().vfork_done()?.is_null())
}

/// Whether a process keeps what it was seen to share: between `vfork()` and
/// `execve()` there are moments in which its parent does not show as waiting.
fn is_lasting(target: &Target<'_>, kind: usize, object: u64) -> Result<bool, CaptureError> {
    let leader = target.leader();
    for _ in 0..ATTEMPTS {
        let executes = !leader.vfork_done()?.is_null();
        if target.is_ending()? || executes || parts(&leader)?[kind] != Some(object) {
            return Ok(false);
        }
        sleep(PATIENCE);
    }
    Ok(true)
}

/// Threads that have something for themselves which the others share.
fn threads(target: &Target<'_>, own: &Parts) -> Result<Vec<Obstacle>, KernelError> {
    let mut obstacles = Obstacles::of(target);
    for thread in target.threads()? {
        let has = parts(&thread)?;
        for kind in [FILES, FS] {
            let differs = has[kind].is_some() && has[kind] != own[kind];
            let tid = thread.pid()?;
            obstacles.add_if(differs, format!("thread {tid} has {} of its own", NAMES[kind]));
        }
    }
    Ok(obstacles.into_vec())
}

fn between_members(members: &[(&Target<'_>, Parts)]) -> Result<Vec<Obstacle>, CaptureError> {
    let mut found = Vec::new();
    let mut holders: HashMap<(usize, u64), i32> = HashMap::new();
    let of_pid: HashMap<i32, &Parts> =
        members.iter().map(|(target, parts)| (target.pid(), parts)).collect();
    for (target, own) in members {
        let parent = target.leader().real_parent()?.map_or(Ok(0), |parent| parent.tgid())?;
        for (kind, object) in own.iter().enumerate() {
            let Some(object) = *object else { continue };
            let Some(&other) = holders.get(&(kind, object)) else {
                holders.insert((kind, object), target.pid());
                continue;
            };
            let with_parent = of_pid.get(&parent).is_some_and(|parts| parts[kind] == Some(object));
            if (kind != FILES || !with_parent) && is_lasting(target, kind, object)? {
                let mut obstacles = Obstacles::of(target);
                obstacles.add(format!("it shares its {} with process {other}", NAMES[kind]));
                found.extend(obstacles.into_vec());
            }
        }
    }
    Ok(found)
}

/// One look at all other processes of the guest.
fn with_others(
    tree: &Tree<'_>,
    members: &[(&Target<'_>, Parts)],
) -> Result<Vec<Obstacle>, CaptureError> {
    let kernel = tree.root().leader().kernel();
    let ours: HashSet<i32> = tree.members().iter().map(Target::pid).collect();
    let others = settled(|| {
        let mut others = Vec::new();
        for task in Task::processes(kernel)? {
            let task = task?;
            let parent = task.real_parent()?.map_or(Ok(0), |parent| parent.tgid())?;
            // A member, or a child of one that was started since.
            if !ours.contains(&task.pid()?) && !ours.contains(&parent) {
                others.push((task.pid()?, parts(&task)?));
            }
        }
        Ok(others)
    })?;
    let mut owners: HashMap<(usize, u64), &Target<'_>> = HashMap::new();
    for (target, own) in members {
        for (kind, object) in own.iter().enumerate() {
            if let Some(object) = *object {
                owners.entry((kind, object)).or_insert(target);
            }
        }
    }
    let mut found = Vec::new();
    for (pid, parts) in &others {
        for (kind, object) in parts.iter().enumerate() {
            let owner = object.and_then(|object| owners.get(&(kind, object)));
            if let Some(owner) = owner {
                let mut obstacles = Obstacles::of(owner);
                obstacles.add(format!("it shares its {} with process {pid}", NAMES[kind]));
                found.extend(obstacles.into_vec());
            }
        }
    }
    Ok(found)
}
