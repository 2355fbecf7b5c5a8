//! Control groups: which a process is in, and what is set for them and those above
//! them.

mod legacy;
mod text;
mod unified;

use std::collections::{BTreeMap, HashMap};

use crate::control::Target;
use crate::kernel::{Kernel, KernelError};
use crate::linux::{
    Cgroup as LinuxCgroup, CgroupSubsys, CgroupSubsysState, KernfsNode, MAX_HIERARCHIES, Struct,
};
use crate::memory::GuestVirt;
use crate::snapshot::{
    Cgroup, CgroupHierarchy, CgroupParameter, CgroupSet, Id, Interned, KernelString, Snapshot,
};

use super::error::CaptureError;
use super::obstacle::Obstacles;

/// The longest path: CRIU puts it behind others in `PATH_MAX` bytes
/// (`criu/cgroup.c`).
const LONGEST_PATH: usize = 3072;

/// The most names on a path: images hold cgroups in each other, and what reads them
/// has a limit for that.
const MOST_NAMES: usize = 64;

const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;

/// The cgroups of a save.
pub(super) struct Cgroups<'k> {
    /// Whether they are left out.
    ignored: bool,
    controllers: Vec<Controller<'k>>,
    /// Hierarchies by the address of their root.
    hierarchies: Vec<(GuestVirt, CgroupHierarchy)>,
    /// Paths of cgroups that were read, by their address.
    known: HashMap<GuestVirt, KernelString>,
    sets: Interned<CgroupSet>,
}

/// A controller and its names.
struct Controller<'k> {
    subsys: CgroupSubsys<'k>,
    name: String,
    legacy_name: String,
}

impl<'k> Cgroups<'k> {
    pub(super) fn new(kernel: &'k Kernel, ignored: bool) -> Result<Self, KernelError> {
        let controllers = CgroupSubsys::all(kernel)?.into_iter().map(|subsys| {
            let (name, legacy_name) = (subsys.name()?, subsys.legacy_name()?);
            Ok(Controller { subsys, name, legacy_name })
        });
        Ok(Self {
            ignored,
            controllers: controllers.collect::<Result<_, KernelError>>()?,
            hierarchies: Vec::new(),
            known: HashMap::new(),
            sets: Interned::default(),
        })
    }

    /// Reads the cgroups of a process and notes what of them cannot be saved.
    pub(super) fn of(
        &mut self,
        target: &Target<'k>,
        obstacles: &mut Obstacles,
    ) -> Result<Option<Id<CgroupSet>>, CaptureError> {
        if self.ignored {
            return Ok(None);
        }
        let leader = target.leader();
        let own = leader.cgroups()?.map(|set| set.addr());
        for thread in target.threads()? {
            let differs = thread.cgroups()?.map(|set| set.addr()) != own;
            if differs {
                let thread = thread.pid()?;
                refuse(obstacles, format!("thread {thread} is in other cgroups than its process"));
            }
        }
        let mut paths: BTreeMap<usize, KernelString> = BTreeMap::new();
        for cgroup in leader.cgroups_of_hierarchies()? {
            let hierarchy = self.hierarchy_of(&cgroup)?;
            let mut path = KernelString::default();
            for cgroup in cgroup.ancestry()? {
                path = self.read(hierarchy, &path, &cgroup, obstacles)?;
            }
            paths.insert(hierarchy, path);
        }
        let root = || KernelString::from("/");
        let paths = (0..self.hierarchies.len())
            .map(|number| paths.get(&number).cloned().unwrap_or_else(root));
        Ok(Some(self.sets.intern(CgroupSet { paths: paths.collect() })))
    }

    /// The number of the hierarchy of a cgroup.
    fn hierarchy_of(&mut self, cgroup: &LinuxCgroup<'k>) -> Result<usize, CaptureError> {
        let missing = || corrupt(cgroup, "it has no hierarchy");
        let root = cgroup.root()?.ok_or_else(missing)?;
        if let Some(known) = self.hierarchies.iter().position(|(addr, _)| *addr == root.addr()) {
            return Ok(known);
        }
        if self.hierarchies.len() >= MAX_HIERARCHIES {
            return Err(corrupt(cgroup, "it is of more hierarchies than there can be").into());
        }
        let mut name = Vec::new();
        if !cgroup.is_unified()? {
            let mask = root.subsys_mask()?;
            for controller in &self.controllers {
                if controller.subsys.is_in(mask)? {
                    name.push(controller.legacy_name.clone());
                }
            }
            let own = root.name()?;
            if !own.is_empty() {
                name.push(format!("name={}", String::from_utf8_lossy(&own)));
            }
        }
        let hierarchy = CgroupHierarchy { name: name.join(","), cgroups: Vec::new() };
        self.hierarchies.push((root.addr(), hierarchy));
        Ok(self.hierarchies.len() - 1)
    }

    /// Reads a cgroup below another one and gives its path.
    fn read(
        &mut self,
        hierarchy: usize,
        above: &KernelString,
        cgroup: &LinuxCgroup<'k>,
        obstacles: &mut Obstacles,
    ) -> Result<KernelString, CaptureError> {
        if let Some(path) = self.known.get(&cgroup.addr()) {
            return Ok(path.clone());
        }
        let node = cgroup.kn()?.ok_or_else(|| corrupt(cgroup, "it has no directory"))?;
        let is_root = above.is_empty();
        let path = if is_root { KernelString::from("/") } else { below(above, &node.name()?) };
        let names = path.as_bytes().split(|byte| *byte == b'/').count();
        if path.len() > LONGEST_PATH || names > MOST_NAMES {
            refuse(obstacles, "its cgroup has a path that is too long for an image".to_owned());
            return Ok(path);
        }
        let (uid, gid) = node.owner()?;
        let unified = self.hierarchies[hierarchy].1.is_unified();
        let mut read = Cgroup {
            path: path.clone(),
            mode: node.mode()?,
            uid,
            gid,
            subtree_control: Vec::new(),
            parameters: Vec::new(),
        };
        if unified {
            read.subtree_control = self.named(cgroup.subtree_control()?)?;
        }
        if !is_root {
            let place = format!("its cgroup {path}");
            let mut reader = Reader::new(self, cgroup, &node, obstacles, place)?;
            if unified {
                unified::read(&mut reader)?
            } else {
                legacy::read(&mut reader)?
            }
            read.parameters = reader.finish();
        }
        self.hierarchies[hierarchy].1.cgroups.push(read);
        self.known.insert(cgroup.addr(), path.clone());
        Ok(path)
    }

    /// Names of the controllers in a mask.
    fn named(&self, mask: u32) -> Result<Vec<String>, KernelError> {
        let mut names = Vec::new();
        for controller in &self.controllers {
            if controller.subsys.is_in(mask)? {
                names.push(controller.name.clone());
            }
        }
        Ok(names)
    }

    /// Gives what was read to a snapshot, but for hierarchies in which all are in the
    /// root.
    pub(super) fn give_to(self, snapshot: &mut Snapshot) {
        let mut used = Vec::new();
        for (number, (_, hierarchy)) in self.hierarchies.into_iter().enumerate() {
            if hierarchy.cgroups.len() > 1 {
                used.push(number);
                snapshot.cgroup_hierarchies.push(hierarchy);
            }
        }
        if used.is_empty() {
            for process in &mut snapshot.processes {
                process.cgroups = None;
            }
            return;
        }
        for (_, set) in self.sets.iter() {
            // A hierarchy that was found later.
            let root = || KernelString::from("/");
            let path = |number: &usize| set.paths.get(*number).cloned().unwrap_or_else(root);
            snapshot.cgroup_sets.push(CgroupSet { paths: used.iter().map(path).collect() });
        }
    }
}

/// The path of a cgroup below another one.
fn below(above: &KernelString, name: &[u8]) -> KernelString {
    let mut path = above.as_bytes().to_vec();
    if path != b"/" {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    KernelString::from(path)
}

/// Notes what cannot be saved, and how to save the process without it.
fn refuse(obstacles: &mut Obstacles, why: String) {
    obstacles.add(why + " (--ignore-cgroups saves none)");
}

fn corrupt(cgroup: &LinuxCgroup<'_>, why: &str) -> KernelError {
    KernelError::Corrupt { what: "cgroup".into(), addr: cgroup.addr(), why: why.into() }
}

/// Reads what is set for one cgroup.
struct Reader<'a, 'k> {
    controllers: &'a [Controller<'k>],
    cgroup: LinuxCgroup<'k>,
    obstacles: &'a mut Obstacles,
    /// How obstacles call it.
    place: String,
    /// Its files, and whether they can be written to.
    files: BTreeMap<String, bool>,
    parameters: Vec<CgroupParameter>,
}

impl<'a, 'k> Reader<'a, 'k> {
    fn new(
        cgroups: &'a Cgroups<'k>,
        cgroup: &LinuxCgroup<'k>,
        node: &KernfsNode<'k>,
        obstacles: &'a mut Obstacles,
        place: String,
    ) -> Result<Self, CaptureError> {
        const WRITABLE: u32 = 0o222;
        // The controllers of all kernels known have less than 100 in all.
        const MOST: usize = 1000;
        let (mut files, mut delegated) = (BTreeMap::new(), None);
        for file in node.entries()? {
            let mode = file.mode()?;
            if mode & S_IFMT == S_IFDIR {
                continue;
            }
            let name = String::from_utf8_lossy(&file.name()?).into_owned();
            let (uid, gid) = file.owner()?;
            if (uid, gid) != (0, 0) {
                delegated = Some(format!(
                    "{place} is delegated: its {name} belongs to user {uid}, group {gid}"
                ));
            }
            files.insert(name, mode & WRITABLE != 0);
            if files.len() > MOST {
                return Err(KernelError::Corrupt {
                    what: "directory of a cgroup".into(),
                    addr: node.addr(),
                    why: format!("it has more than {MOST} files"),
                }
                .into());
            }
        }
        if let Some(delegated) = delegated {
            refuse(obstacles, delegated);
        }
        Ok(Self {
            controllers: &cgroups.controllers,
            cgroup: *cgroup,
            obstacles,
            place,
            files,
            parameters: Vec::new(),
        })
    }

    /// Whether it has a file of this name; from now on it is a known one.
    fn has(&mut self, file: &str) -> bool {
        self.files.remove(file).is_some()
    }

    /// Notes what is set by a file.
    fn set(&mut self, file: impl Into<String>, value: impl ToString) {
        self.parameters.push(CgroupParameter { name: file.into(), value: value.to_string() });
    }

    /// Notes something that cannot be saved where `present`.
    fn refuse_if(&mut self, present: bool, what: &str) {
        if present {
            refuse(self.obstacles, format!("{} {what}", self.place));
        }
    }

    /// What a controller holds of it, by the name in version 2.
    fn state_of(&self, name: &str) -> Result<Option<CgroupSubsysState<'k>>, KernelError> {
        let known = self.controllers.iter().find(|controller| controller.name == name);
        known.map_or(Ok(None), |controller| self.cgroup.state_of(&controller.subsys))
    }

    /// Notes files that set something and that nobody has asked for.
    fn finish(self) -> Vec<CgroupParameter> {
        for (file, _) in self.files.iter().filter(|(_, writable)| **writable) {
            refuse(self.obstacles, format!("{} has {file}, which is not known", self.place));
        }
        self.parameters
    }
}
