//! Whether a tree of processes can be made again.
//!
//! A session is made by `setsid()` and inherited from the parent only; a process
//! group is joined by `setpgid()` within the session. A tree whose members have
//! seen others end may have sessions that no order of forks makes again.

use std::collections::HashMap;

/// A process's place among others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kin {
    /// Process ID.
    pub pid: u32,
    /// PID of the parent; of no meaning for the root.
    pub ppid: u32,
    /// Process group.
    pub pgid: u32,
    /// Session.
    pub sid: u32,
}

/// A bond between processes that cannot be made again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LineageProblem {
    /// The process.
    pub pid: u32,
    /// Whether it is about its session, or else its group.
    pub of_session: bool,
    /// Why, as a clause.
    pub why: String,
}

/// What of a tree, the root first and parents before children, `criu restore`
/// cannot make again (`prepare_pstree_ids()`, `criu/pstree.c`).
pub fn lineage_problems(tree: &[Kin]) -> Vec<LineageProblem> {
    let Some(root) = tree.first() else { return Vec::new() };
    let mut problems = Vec::new();
    for (id, name) in [(root.sid, "session"), (root.pgid, "process group")] {
        if id != root.pid {
            let why = format!("it does not lead its {name}, {id} does");
            problems.push(LineageProblem { pid: root.pid, of_session: name == "session", why });
        }
    }
    let lineage = Lineage { of: tree.iter().map(|kin| (kin.pid, kin)).collect() };
    let mut born_in = BornIn::default();
    for kin in &tree[1..] {
        let session = lineage.session(kin, &mut born_in).map_err(|why| (true, why));
        if let Err((of_session, why)) =
            session.and_then(|()| lineage.group(kin).map_err(|why| (false, why)))
        {
            problems.push(LineageProblem { pid: kin.pid, of_session, why });
        }
    }
    problems
}

/// Takes the session that the root is in for one that it leads: where a shell
/// outside leads it, all that are in it are in that of `criu restore` afterwards
/// (`prepare_pstree_for_shell_job()`, `criu/pstree.c`).
pub fn in_session_of_root(tree: &mut [Kin]) {
    let Some(&Kin { pid, sid, .. }) = tree.first() else { return };
    for kin in tree.iter_mut().filter(|kin| kin.sid == sid) {
        kin.sid = pid;
    }
}

/// By PID, the session that a process was born in, and the way from it up to a
/// process that is in it.
type BornIn = HashMap<u32, (u32, Way)>;

/// Where a way up ends.
#[derive(Clone, Copy)]
enum Way {
    Found,
    /// At a process that cannot have been born in the session.
    Broken,
    /// Behind the root.
    Lost,
}

struct Lineage<'a> {
    of: HashMap<u32, &'a Kin>,
}

impl Lineage<'_> {
    /// A process has its parent's session, or one of its own, or that of an
    /// ancestor, if all in between were in it and then made their own. The first
    /// ancestor that is in it still is looked at by itself.
    fn session(&self, kin: &Kin, born_in: &mut BornIn) -> Result<(), String> {
        let sid = kin.sid;
        let parent = self.of.get(&kin.ppid);
        if sid == kin.pid || parent.is_some_and(|parent| parent.sid == sid) {
            return Ok(());
        }
        match self.way(sid, parent.copied(), born_in) {
            Way::Found => Ok(()),
            Way::Broken => Err(format!(
                "it is in session {sid}, which its parent cannot have been in before its own"
            )),
            Way::Lost if self.of.contains_key(&sid) => {
                Err(format!("it is in the session of {sid}, which is no ancestor of it"))
            }
            Way::Lost => Err(format!("the leader of its session, {sid}, has ended")),
        }
    }

    /// The way up to an ancestor in a session, from the first one that must have been
    /// in it. No process is passed twice.
    fn way(&self, sid: u32, first: Option<&Kin>, born_in: &mut BornIn) -> Way {
        let mut ancestor = first;
        let mut passed = Vec::new();
        let way = loop {
            let Some(between) = ancestor else { break Way::Lost };
            if between.sid == sid {
                break Way::Found;
            }
            if let Some(&(born, way)) = born_in.get(&between.pid) {
                break if born == sid { way } else { Way::Broken };
            }
            // In a circle it is come back to.
            born_in.insert(between.pid, (sid, Way::Broken));
            passed.push(between.pid);
            if between.sid != between.pid {
                break Way::Broken;
            }
            ancestor = self.of.get(&between.ppid).copied();
        };
        born_in.extend(passed.into_iter().map(|pid| (pid, (sid, way))));
        way
    }

    /// A group is led by a process of the same session. Where the leader has
    /// ended, CRIU makes one for as long as it takes.
    fn group(&self, kin: &Kin) -> Result<(), String> {
        match self.of.get(&kin.pgid) {
            Some(leader) if leader.sid != kin.sid => {
                Err(format!("its process group {} is in another session", kin.pgid))
            }
            Some(leader) if leader.pgid != leader.pid => {
                Err(format!("its process group {0} is one that {0} has left", kin.pgid))
            }
            Some(_) => Ok(()),
            None if kin.pgid > 1 => Ok(()),
            None => Err(format!("its process group is {}", kin.pgid)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kin(pid: u32, ppid: u32, pgid: u32, sid: u32) -> Kin {
        Kin { pid, ppid, pgid, sid }
    }

    fn problems_of(rest: &[Kin]) -> Vec<LineageProblem> {
        let tree: Vec<Kin> = [kin(10, 0, 10, 10)].into_iter().chain(rest.iter().copied()).collect();
        lineage_problems(&tree)
    }

    #[test]
    fn what_forks_make_is_no_problem() {
        let good = [
            kin(11, 10, 10, 10),
            kin(12, 10, 12, 10),
            kin(13, 12, 12, 10),
            // A session of its own, and a group in it.
            kin(14, 10, 14, 14),
            kin(15, 14, 15, 14),
            // Forked by 14 before its `setsid()`.
            kin(16, 14, 12, 10),
            // The same, and the parent of 19 has always been in that session.
            kin(18, 13, 18, 10),
            kin(19, 18, 19, 19),
            kin(20, 19, 18, 10),
            // The leader of its group has ended.
            kin(17, 10, 99, 10),
        ];
        assert_eq!(problems_of(&good), []);
    }

    #[test]
    fn what_no_fork_makes_is_told() {
        let told = |rest: &[Kin], pid: u32, why: &str| {
            let problems = problems_of(rest);
            assert!(
                problems.iter().any(|problem| problem.pid == pid && problem.why.contains(why)),
                "{rest:?}: {problems:?}"
            );
        };
        told(&[kin(11, 10, 77, 77)], 11, "the leader of its session, 77, has ended");
        told(&[kin(11, 10, 11, 11), kin(12, 10, 11, 11)], 12, "no ancestor");
        told(&[kin(11, 10, 11, 11), kin(12, 10, 11, 10)], 12, "in another session");
        told(&[kin(11, 10, 10, 10), kin(12, 10, 11, 10)], 12, "has left");
        told(&[kin(11, 10, 1, 10)], 11, "its process group is 1");
        // 12 was born in the session of 10 or of 11.
        let both =
            [kin(11, 10, 11, 11), kin(12, 11, 12, 12), kin(13, 12, 11, 11), kin(14, 12, 10, 10)];
        told(&both, 14, "cannot have been in");
        // What was found out of the parent is so for its next child.
        let again = [&both[..], &[kin(15, 12, 10, 10)]].concat();
        told(&again, 15, "cannot have been in");
        let lost = [kin(11, 10, 11, 11), kin(12, 11, 12, 77), kin(13, 11, 13, 77)];
        told(&lost, 13, "the leader of its session, 77, has ended");
        let root = lineage_problems(&[kin(10, 0, 7, 7)]);
        assert_eq!(root.len(), 2, "{root:?}");
    }

    #[test]
    fn a_job_of_a_shell_is_in_the_session_of_its_root() {
        let of_shell = [kin(10, 0, 10, 7), kin(11, 10, 11, 7), kin(12, 10, 12, 12)];
        assert!(!lineage_problems(&of_shell).is_empty());
        let mut job = of_shell;
        in_session_of_root(&mut job);
        assert_eq!(job.map(|kin| kin.sid), [10, 10, 12]);
        assert_eq!(lineage_problems(&job), []);
    }

    #[test]
    fn a_circle_ends() {
        let circle = [kin(11, 12, 11, 11), kin(12, 11, 12, 12), kin(13, 12, 13, 99)];
        assert!(!problems_of(&circle).is_empty());
    }
}
