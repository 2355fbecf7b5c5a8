//! Cgroups: what the guest has of those in the images, and what it is given of
//! them.
//!
//! CRIU makes those that are not there and sets what the images say of them. What
//! it cannot do is to give cgroups that are there controllers that those below them
//! need.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::session::escape;
use crate::criu::{self, AS_IT_IS, SUBTREE_CONTROL, proto};

/// The name of the hierarchy of version 2 in questions.
const UNIFIED: &str = "-";
/// The file that tells which controllers a cgroup can give those below it.
const CONTROLLERS: &str = "cgroup.controllers";

/// What is done with the cgroups in the images, as CRIU calls it
/// (`--manage-cgroups`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ManageCgroups {
    /// Those that are there are left as they are, others are made.
    #[default]
    Soft,
    /// Those that are there get what is set for others, too.
    Full,
    /// Nothing: all that is restored is in the root.
    Ignore,
}

impl ManageCgroups {
    /// The option of CRIU.
    pub(super) fn option(self) -> &'static str {
        match self {
            Self::Soft => "--manage-cgroups=soft",
            Self::Full => "--manage-cgroups=full",
            Self::Ignore => "--manage-cgroups=ignore",
        }
    }
}

/// A cgroup that processes are in, or one above it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ExpectedCgroup {
    /// Controllers with commas between, or a name; empty for version 2.
    hierarchy: String,
    /// From the root.
    path: Vec<u8>,
    /// Controllers of those below it.
    controllers: Vec<String>,
    /// Lines of its files.
    parameters: BTreeMap<String, BTreeSet<String>>,
}

/// The cgroups in a set of images, those above others first.
pub(super) fn expected(set: &criu::ImageSet) -> Vec<ExpectedCgroup> {
    let mut found = Vec::new();
    for controller in set.cgroup.iter().flat_map(|entry| &entry.controllers) {
        let hierarchy = controller.cnames.join(",");
        for dir in &controller.dirs {
            add(&hierarchy, b"", dir, &mut found);
        }
    }
    found
}

fn add(
    hierarchy: &str,
    above: &[u8],
    dir: &proto::CgroupDirEntry,
    found: &mut Vec<ExpectedCgroup>,
) {
    let path = if dir.dir_name.is_empty() {
        above.to_vec()
    } else {
        [above, b"/", &dir.dir_name].concat()
    };
    let mut cgroup = ExpectedCgroup {
        hierarchy: hierarchy.to_owned(),
        path: path.clone(),
        ..ExpectedCgroup::default()
    };
    for property in &dir.properties {
        let name = property.name.strip_prefix(AS_IT_IS).unwrap_or(&property.name);
        if name == SUBTREE_CONTROL {
            let controllers = property.value.split_whitespace();
            let names = controllers.map(|name| name.trim_start_matches('+').to_owned());
            cgroup.controllers = names.filter(|name| is_word(name)).collect();
        } else if is_word(name) {
            let lines = cgroup.parameters.entry(name.to_owned()).or_default();
            lines.extend(property.value.lines().map(|line| line.trim().to_owned()));
            lines.extend(property.value.is_empty().then(String::new));
        }
    }
    found.push(cgroup);
    for child in &dir.children {
        add(hierarchy, &path, child, found);
    }
}

/// What can go into a question as it is.
fn is_word(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

impl ExpectedCgroup {
    fn is_unified(&self) -> bool {
        self.hierarchy.is_empty()
    }

    /// The hierarchy in a question.
    fn word(&self) -> String {
        if self.is_unified() { UNIFIED.into() } else { escape(self.hierarchy.as_bytes()) }
    }

    /// Its files that are asked for.
    fn files(&self) -> impl Iterator<Item = &str> {
        let own = self.parameters.keys().map(String::as_str);
        own.chain((self.is_unified() && self.path.is_empty()).then_some(CONTROLLERS))
    }

    /// How it is called.
    fn name(&self) -> String {
        let path = String::from_utf8_lossy(&self.path);
        match (self.is_unified(), path.is_empty()) {
            (true, _) => format!("cgroup {path}"),
            (false, _) => format!("cgroup {}:{path}", self.hierarchy),
        }
    }
}

/// Lines of the first question.
pub(super) fn question(cgroups: &[ExpectedCgroup]) -> String {
    let mut lines = String::new();
    for (number, cgroup) in cgroups.iter().enumerate() {
        let (hierarchy, path) = (cgroup.word(), escape(&cgroup.path));
        let _ = writeln!(lines, "cgroup {number} {hierarchy} {path}/");
        for (file, name) in cgroup.files().enumerate() {
            let _ = writeln!(lines, "file {number} {file} {name}");
        }
    }
    lines
}

/// Lines of the question that has CRIU begin: what is to be there then.
pub(super) fn preparations(cgroups: &[ExpectedCgroup]) -> String {
    let mut lines = String::new();
    for cgroup in cgroups {
        let controllers = match &cgroup.controllers[..] {
            [] => "-".to_owned(),
            controllers => controllers.join(","),
        };
        let (hierarchy, path) = (cgroup.word(), escape(&cgroup.path));
        let _ = writeln!(lines, "cgroup {hierarchy} {controllers} {path}/");
    }
    lines
}

/// What the guest said of its cgroups. It may say anything.
#[derive(Debug, Default)]
pub(super) struct FoundCgroups {
    /// Whether they are there, by number; `None` where their hierarchy is not.
    there: BTreeMap<usize, Option<bool>>,
    /// Lines of files, by the numbers of cgroup and file.
    lines: BTreeMap<(usize, usize), BTreeSet<String>>,
}

impl FoundCgroups {
    /// Takes a line of the answer, behind its keyword.
    pub fn take_group(&mut self, value: &str) {
        if let Some((number, state)) = value.split_once(' ')
            && let Ok(number) = number.parse()
        {
            let is_there = match state {
                "there" => Some(true),
                "missing" => Some(false),
                _ => None,
            };
            self.there.insert(number, is_there);
        }
    }

    /// The same for a line of a file.
    pub fn take_line(&mut self, value: &str) {
        let mut parts = value.splitn(3, ' ');
        if let (Some(Ok(group)), Some(Ok(file))) =
            (parts.next().map(str::parse), parts.next().map(str::parse))
        {
            let line = parts.next().unwrap_or("").trim().to_owned();
            self.lines.entry((group, file)).or_default().insert(line);
        }
    }

    /// Why the guest cannot have such cgroups.
    pub fn problems(&self, cgroups: &[ExpectedCgroup]) -> Vec<String> {
        let mut problems = BTreeSet::new();
        let wanted: BTreeSet<&String> =
            cgroups.iter().flat_map(|group| &group.controllers).collect();
        for (number, cgroup) in cgroups.iter().enumerate() {
            if self.there.get(&number).copied().flatten().is_none() {
                let hierarchy = match cgroup.is_unified() {
                    true => "hierarchy of version 2".to_owned(),
                    false => format!("hierarchy {}", cgroup.hierarchy),
                };
                problems.insert(format!("it has mounted no cgroup {hierarchy}"));
            } else if let Some(file) = cgroup.files().position(|name| name == CONTROLLERS) {
                let lines = self.lines.get(&(number, file)).into_iter().flatten();
                let has: BTreeSet<&str> = lines.flat_map(|line| line.split_whitespace()).collect();
                let lacks = wanted.iter().filter(|name| !has.contains(name.as_str()));
                problems.extend(lacks.map(|name| format!("its cgroups have no controller {name}")));
            }
        }
        problems.into_iter().collect()
    }

    /// What is set otherwise for cgroups that are there.
    pub fn differences(&self, cgroups: &[ExpectedCgroup]) -> Vec<String> {
        let mut found = Vec::new();
        for (number, cgroup) in cgroups.iter().enumerate() {
            for (file, (name, wanted)) in cgroup.parameters.iter().enumerate() {
                let is_there = self.there.get(&number) == Some(&Some(true));
                let has = self.lines.get(&(number, file));
                if is_there && has != Some(wanted) {
                    let text = |lines: Option<&BTreeSet<String>>| {
                        let lines = lines.into_iter().flatten().map(String::as_str);
                        lines.collect::<Vec<_>>().join(", ")
                    };
                    found.push(format!(
                        "{} has {name} {:?} there, not {:?}",
                        cgroup.name(),
                        text(has),
                        text(Some(wanted))
                    ));
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cgroups() -> Vec<ExpectedCgroup> {
        let property = |name: &str, value: &str| proto::CgroupPropEntry {
            name: name.into(),
            value: value.into(),
            perms: None,
        };
        let below = proto::CgroupDirEntry {
            dir_name: "b c".into(),
            properties: vec![property("./cpuset.cpus", "0-1"), property("pids.max", "7")],
            ..Default::default()
        };
        let root = proto::CgroupDirEntry {
            properties: vec![property("./cgroup.subtree_control", "+cpuset +pids")],
            children: vec![below],
            ..Default::default()
        };
        let unified = proto::CgControllerEntry {
            cnames: vec![String::new()],
            dirs: vec![root],
            is_threaded: None,
        };
        let named = proto::CgControllerEntry {
            cnames: vec!["cpu".into(), "cpuacct".into()],
            dirs: vec![proto::CgroupDirEntry::default()],
            is_threaded: None,
        };
        let entry = proto::CgroupEntry { sets: Vec::new(), controllers: vec![unified, named] };
        expected(&criu::ImageSet { cgroup: Some(entry), ..Default::default() })
    }

    fn found(answer: &[&str]) -> FoundCgroups {
        let mut found = FoundCgroups::default();
        for line in answer {
            match line.split_once(' ') {
                Some(("group", value)) => found.take_group(value),
                Some(("set", value)) => found.take_line(value),
                _ => panic!("{line}"),
            }
        }
        found
    }

    #[test]
    fn the_guest_is_asked_for_all_that_is_set() {
        assert_eq!(
            question(&cgroups()),
            "cgroup 0 - /\nfile 0 0 cgroup.controllers\ncgroup 1 - /b\\0040c/\n\
             file 1 0 cpuset.cpus\nfile 1 1 pids.max\ncgroup 2 cpu\\0054cpuacct /\n"
        );
        assert_eq!(
            preparations(&cgroups()),
            "cgroup - cpuset,pids /\ncgroup - - /b\\0040c/\ncgroup cpu\\0054cpuacct - /\n"
        );
    }

    #[test]
    fn what_the_guest_cannot_have_is_named() {
        let able = ["group 0 there", "set 0 0 cpuset cpu pids", "group 1 missing", "group 2 there"];
        assert_eq!(found(&able).problems(&cgroups()), Vec::<String>::new());
        assert_eq!(found(&able).differences(&cgroups()), Vec::<String>::new());
        let unable = ["group 0 there", "set 0 0 cpu pids", "group 1 missing", "group 2 none"];
        assert_eq!(
            found(&unable).problems(&cgroups()),
            [
                "it has mounted no cgroup hierarchy cpu,cpuacct",
                "its cgroups have no controller cpuset"
            ]
        );
        assert_eq!(found(&[]).problems(&cgroups()).len(), 2);
    }

    #[test]
    fn what_differs_is_told() {
        let answer = ["group 1 there", "set 1 0 0-1", "set 1 1 max"];
        assert_eq!(
            found(&answer).differences(&cgroups()),
            ["cgroup /b c has pids.max \"max\" there, not \"7\""]
        );
    }
}
