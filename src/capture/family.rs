//! How the processes of a tree belong together.

use std::collections::{HashMap, HashSet};

use crate::control::Tree;
use crate::linux::{PidType, Task};
use crate::snapshot::{Kin, LineageProblem, Zombie, in_session_of_root, lineage_problems};

use super::error::CaptureError;
use super::obstacle::{Obstacle, Obstacles};
use super::zombie;

const SIGCHLD: i32 = nix::libc::SIGCHLD;

/// Notes what stands in the way of making the tree again; of a shell's job the
/// session is that of whoever restores it.
pub(super) fn survey(tree: &Tree<'_>, shell_job: bool) -> Result<Vec<Obstacle>, CaptureError> {
    let mut found = Vec::new();
    let mut kin = Vec::new();
    let mut names = HashMap::new();
    for (position, target) in tree.members().iter().enumerate() {
        let mut obstacles = Obstacles::of(target);
        let looked = member(target.leader(), position == 0, &mut obstacles).and_then(|own| {
            let tracer = target.traced_thread()?;
            obstacles.add_if(tracer.is_some(), "it is traced");
            Ok(own)
        });
        match looked {
            Ok(own) => {
                names.insert(own.pid, target.comm().to_owned());
                kin.push(own);
            }
            // It has ended since the tree was looked at.
            Err(_) if target.is_ending()? => continue,
            Err(error) => return Err(error),
        }
        found.extend(obstacles.into_vec());
    }
    for task in tree.zombies()? {
        // One that was reaped since has no signals any more.
        let Ok(zombie) = zombie::read(&task) else { continue };
        let comm = zombie.comm.to_string();
        let mut obstacles = Obstacles::named(zombie.pid.cast_signed(), &comm);
        of_zombie(&zombie, &mut obstacles);
        obstacles.add_if(
            task.exit_signal()? != SIGCHLD,
            "it has ended with a signal other than SIGCHLD for its parent (clone)",
        );
        found.extend(obstacles.into_vec());
        names.insert(zombie.pid, comm);
        kin.push(zombie.kin());
    }
    let mut kin = settled_kin(kin);
    if shell_job {
        in_session_of_root(&mut kin);
    }
    let root = kin.first().map(|kin| kin.pid);
    for LineageProblem { pid, mut why, of_session } in lineage_problems(&kin) {
        if of_session && Some(pid) == root {
            why.push_str(" (a shell's job is saved with --shell-job)");
        }
        let comm = names.get(&pid).map_or("", String::as_str);
        let mut obstacles = Obstacles::named(pid.cast_signed(), comm);
        obstacles.add(why);
        found.extend(obstacles.into_vec());
    }
    Ok(found)
}

/// Those of a tree that runs which are neither being made nor being reaped, and
/// whose ancestors are not.
fn settled_kin(mut kin: Vec<Kin>) -> Vec<Kin> {
    let mut there = HashSet::new();
    kin.retain(|kin| {
        let parent_is_there = there.is_empty() || there.contains(&kin.ppid);
        kin.sid != 0 && kin.pgid != 0 && parent_is_there && there.insert(kin.pid)
    });
    kin
}

fn member(leader: Task<'_>, is_root: bool, obstacles: &mut Obstacles) -> Result<Kin, CaptureError> {
    let signal = leader.signal_struct()?;
    let parent = leader.real_parent()?;
    let ppid = parent.map_or(Ok(0), |parent| parent.tgid())?;
    let dies_with = leader.pdeath_signal()? != 0;
    if is_root {
        // CRIU is its parent, and ends.
        obstacles.add_if(dies_with, "it gets a signal when its parent dies (PR_SET_PDEATHSIG)");
    } else {
        obstacles.add_if(
            leader.exit_signal()? != SIGCHLD,
            "its parent gets another signal than SIGCHLD when it ends (clone)",
        );
        // After a restore all children are those of first threads.
        let by_thread = parent
            .map_or(Ok(false), |parent| Ok::<_, CaptureError>(parent.pid()? != parent.tgid()?))?;
        obstacles.add_if(
            dies_with && by_thread,
            "it gets a signal when a thread of its parent dies that is not the first \
             (PR_SET_PDEATHSIG)",
        );
    }
    Ok(Kin {
        pid: leader.tgid()?.cast_unsigned(),
        ppid: if is_root { 0 } else { ppid.cast_unsigned() },
        pgid: signal.id(PidType::Pgid)?.cast_unsigned(),
        sid: signal.id(PidType::Sid)?.cast_unsigned(),
    })
}

/// CRIU makes a zombie by a process that ends in the same way
/// (`restore_one_zombie()`, `criu/cr-restore.c`), which not all can be.
fn of_zombie(zombie: &Zombie, obstacles: &mut Obstacles) {
    let code = zombie.exit_code;
    obstacles.add_if(
        code & 0x7f == 0 && code & 0x8000 != 0,
        format!("it is a zombie with exit status {}, of which CRIU keeps 7 bits", code >> 8 & 0xff),
    );
    obstacles.add_if(code & 0x80 != 0, "it is a zombie that dumped core");
}
