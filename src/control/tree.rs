//! The processes that are acted on together.

use std::collections::{HashMap, HashSet};
use std::thread::sleep;
use std::time::Duration;

use crate::kernel::{Kernel, KernelError};
use crate::linux::{MAX_ENTRIES, Struct, Task, settled};

use super::error::ControlError;
use super::target::Target;

/// How often a walk over a tree that runs is begun anew, and after how long: one
/// of its processes may be ending.
const ATTEMPTS: u32 = 10;
const PATIENCE: Duration = Duration::from_millis(5);

/// A process alone, or with all its descendants.
#[derive(Clone, Debug)]
pub struct Tree<'k> {
    /// The root first, parents before children.
    members: Vec<Target<'k>>,
    /// Where each of them is, by PID.
    places: HashMap<i32, usize>,
    /// Whether descendants belong to it.
    whole: bool,
}

/// A process and its threads at one moment, the first thread first.
#[derive(Clone, Debug)]
pub(super) struct Member<'k> {
    pub(super) target: Target<'k>,
    pub(super) threads: Vec<Task<'k>>,
}

impl<'k> Tree<'k> {
    /// A process without its descendants.
    pub fn alone(root: Target<'k>) -> Self {
        Self::some(vec![root])
    }

    /// A process and its descendants now. While they run there may be others
    /// at any moment; [`freeze`](super::freeze) finds those.
    ///
    /// # Errors
    ///
    /// [`ControlError::Unsuitable`] for a member of a kind that cannot be
    /// controlled; errors of the walk.
    pub fn of(root: Target<'k>) -> Result<Self, ControlError> {
        let mut tree = Self::new(vec![root], true);
        tree.set_members(tree.look_settled()?);
        Ok(tree)
    }

    /// These processes, at least one, without what descends from them.
    pub fn some(members: Vec<Target<'k>>) -> Self {
        Self::new(members, false)
    }

    fn new(members: Vec<Target<'k>>, whole: bool) -> Self {
        let places = members.iter().map(Target::pid).zip(0..).collect();
        Self { members, places, whole }
    }

    /// The process that all others descend from.
    pub fn root(&self) -> &Target<'k> {
        // It is never without one: see the constructors.
        &self.members[0]
    }

    /// All processes, the root first, parents before children. Zombies are not
    /// among them.
    pub fn members(&self) -> &[Target<'k>] {
        &self.members
    }

    /// The member of this PID, if there is one.
    pub fn member(&self, pid: i32) -> Option<&Target<'k>> {
        self.members.get(*self.places.get(&pid)?)
    }

    pub(super) fn kernel(&self) -> &'k Kernel {
        self.root().leader().kernel()
    }

    pub(super) fn set_members(&mut self, members: Vec<Member<'k>>) {
        let members = members.into_iter().map(|member| member.target).collect();
        *self = Self::new(members, self.whole);
    }

    /// Members that have ended and wait for their parent, in its order.
    ///
    /// # Errors
    ///
    /// Errors of the walk.
    pub fn zombies(&self) -> Result<Vec<Task<'k>>, KernelError> {
        let mut zombies = Vec::new();
        for member in self.members.iter().filter(|_| self.whole) {
            let children = match settled(|| children(&member.threads()?)) {
                Ok(children) => children,
                Err(_) if member.is_ending()? => continue,
                Err(error) => return Err(error),
            };
            for child in children {
                if child.exit_state()? != 0 {
                    zombies.push(child);
                }
            }
        }
        Ok(zombies)
    }

    /// All threads of all processes now, of those also that were not members
    /// when it was last frozen.
    ///
    /// # Errors
    ///
    /// As [`of`](Self::of).
    pub fn threads_now(&self) -> Result<Vec<Task<'k>>, ControlError> {
        let members = self.look_settled()?;
        Ok(members.into_iter().flat_map(|member| member.threads).collect())
    }

    /// The processes now with their threads, in one walk that a guest that runs
    /// can disturb.
    ///
    /// # Errors
    ///
    /// [`ControlError::Gone`] where none is left to begin with; [`ControlError::Unsuitable`] for a
    /// process that has lost its first thread, which each that ends does for a
    /// moment; errors of the walk.
    pub(super) fn look(&self) -> Result<Vec<Member<'k>>, ControlError> {
        let mut members = Vec::new();
        let mut seen = HashSet::new();
        let mut room = MAX_ENTRIES;
        let known = if self.whole { &self.members[..1] } else { &self.members };
        for target in known {
            if target.is_alive()? {
                members.push(Member { target: target.clone(), threads: Vec::new() });
            }
        }
        if members.is_empty() {
            return Err(self.root().gone());
        }
        let mut next = 0;
        while next < members.len() {
            let leader = members[next].target.leader();
            let threads = leader.threads()?.collect::<Result<Vec<_>, _>>()?;
            // Lists that are short each can lead to one another without end.
            room = room.checked_sub(threads.len()).ok_or_else(|| endless(leader))?;
            if !seen.insert(leader.addr()) {
                return Err(endless(leader).into());
            }
            if self.whole {
                for child in children(&threads)? {
                    room = room.checked_sub(1).ok_or_else(|| endless(leader))?;
                    if let Some(target) = Target::child(child)? {
                        members.push(Member { target, threads: Vec::new() });
                    }
                }
            }
            members[next].threads = threads;
            next += 1;
        }
        Ok(members)
    }

    /// The same, begun anew where it was disturbed.
    pub(super) fn look_settled(&self) -> Result<Vec<Member<'k>>, ControlError> {
        for _ in 0..ATTEMPTS {
            match self.look() {
                Err(ControlError::Kernel(_) | ControlError::Unsuitable { .. }) => sleep(PATIENCE),
                result => return result,
            }
        }
        self.look()
    }
}

/// The processes that these threads of one process have started or adopted.
fn children<'k>(threads: &[Task<'k>]) -> Result<Vec<Task<'k>>, KernelError> {
    let mut children = Vec::new();
    for thread in threads {
        for child in thread.children()?.entries::<Task<'_>>("sibling") {
            children.push(child?);
        }
    }
    Ok(children)
}

fn endless(leader: Task<'_>) -> KernelError {
    KernelError::Corrupt {
        what: "the tree of processes".into(),
        addr: leader.addr(),
        why: "it does not end".into(),
    }
}
