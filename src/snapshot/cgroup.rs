//! Control groups that processes are in.

use serde::{Deserialize, Serialize};

use super::KernelString;

/// A tree of cgroups: that of version 2, or one of version 1.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CgroupHierarchy {
    /// As `/proc/PID/cgroup` has it: controllers with commas between, `name=` and
    /// a name, or nothing for version 2.
    pub name: String,
    /// The cgroups that processes are in, and those above them: these come first.
    pub cgroups: Vec<Cgroup>,
}

/// A cgroup.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Cgroup {
    /// Its directory, from that of the root, which is `/`.
    pub path: KernelString,
    /// `st_mode` of the directory.
    pub mode: u32,
    /// Who owns it.
    pub uid: u32,
    /// The group that owns it.
    pub gid: u32,
    /// Controllers that the cgroups below it have (`cgroup.subtree_control`), of
    /// version 2.
    pub subtree_control: Vec<String>,
    /// What is set for it, in an order in which it can be set. The root has none.
    pub parameters: Vec<CgroupParameter>,
}

/// Something that is set for a cgroup.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CgroupParameter {
    /// The file in its directory, such as `memory.max`. It comes once for each
    /// line that is to be written to it.
    pub name: String,
    /// What is read from it, or a line of that.
    pub value: String,
}

/// The cgroups of a process: a path for each of the snapshot's hierarchies.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct CgroupSet {
    /// In the order of the hierarchies.
    pub paths: Vec<KernelString>,
}

impl CgroupHierarchy {
    /// Whether it is that of version 2.
    pub fn is_unified(&self) -> bool {
        self.name.is_empty()
    }
}
