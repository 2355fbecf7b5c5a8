//! Versions of CRIU, and what the older ones lose.
//!
//! A version skips fields of images in silence that it does not know. So what a
//! set needs is compared with the version that is to restore it. What a process
//! has by default, and a restored one as well, needs nothing.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::core::task_state;
use super::proto::{FdTypes, InetSkEntry, MemfdInodeEntry, TaskCoreEntry, ThreadCoreEntry};
use super::set::{ImageSet, ProcessImages};
use super::vma::areas_and_guards;

/// A release of CRIU.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CriuVersion(u32, u32, u32);

/// Text that names no version.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is no version of CRIU, such as 3.17.1")]
pub struct NoVersion(String);

impl CriuVersion {
    /// The oldest that reads the images.
    pub const OLDEST: Self = Self::new(3, 17);

    const fn new(major: u32, minor: u32) -> Self {
        Self(major, minor, 0)
    }
}

/// `3.17`, `4.1.1`, also with what a distribution adds behind.
impl FromStr for CriuVersion {
    type Err = NoVersion;

    fn from_str(text: &str) -> Result<Self, NoVersion> {
        let end = text.find(|letter: char| letter != '.' && !letter.is_ascii_digit());
        let mut numbers = text[..end.unwrap_or(text.len())].split('.').map(str::parse);
        match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor)), patch) => {
                Ok(Self(major, minor, patch.and_then(Result::ok).unwrap_or(0)))
            }
            _ => Err(NoVersion(text.to_owned())),
        }
    }
}

impl fmt::Display for CriuVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(major, minor, patch) = self;
        write!(f, "{major}.{minor}")?;
        if *patch == 0 { Ok(()) } else { write!(f, ".{patch}") }
    }
}

/// A field that came with a version of CRIU.
struct Field {
    /// What it holds.
    what: &'static str,
    /// Its path.
    path: &'static str,
    /// The version: the first whose `images/*.proto` has it.
    since: CriuVersion,
    /// Whether a process has something there that is not the default.
    used: fn(&Looked<'_>, &ProcessImages) -> bool,
}

/// A set that is looked at.
struct Looked<'a> {
    set: &'a ImageSet,
    /// Sockets that descriptors are in flight to, and that are connected to nothing.
    alone: HashSet<u32>,
}

impl<'a> Looked<'a> {
    fn at(set: &'a ImageSet) -> Self {
        let packets = set.sk_queues.iter().filter(|packet| !packet.scm.is_empty());
        let socket = |id| set.files.get(&id)?.usk.as_ref();
        let to = packets.map(|packet| packet.id_for);
        let alone = to.filter(|&id| socket(id).is_some_and(|socket| socket.peer == 0)).collect();
        Self { set, alone }
    }
}

/// What `memfd_create()` gives memory: a regular file that all may do all with.
const MEMFD_MODE: u32 = 0o100_777;
/// What stops a process where the image does not say.
const SIGSTOP: u32 = 19;

/// Fields that older versions skip.
static FIELDS: [Field; 12] = [
    Field {
        what: "the signal that it was stopped by",
        path: "tc.stop_signo",
        since: CriuVersion::new(3, 18),
        used: |_, process| {
            task(process, |task| {
                let stopped = task.task_state == task_state::STOPPED;
                stopped && task.stop_signo.is_some_and(|signal| signal != SIGSTOP)
            })
        },
    },
    Field {
        // Before, nobody sends them (`find_queuer_for()`, `criu/sk-unix.c`).
        what: "descriptors in flight to a socket whose peer was closed, or that has none",
        path: "sk_packet.scm",
        since: CriuVersion::new(3, 18),
        used: |of, process| process.fdinfo.iter().any(|fd| of.alone.contains(&fd.id)),
    },
    Field {
        what: "IP_PKTINFO of its sockets",
        path: "inet_sk.ip_opts.pktinfo",
        since: CriuVersion::new(3, 18),
        used: |of, process| {
            inet_sockets(of.set, process, |inet| {
                inet.ip_opts.as_ref().is_some_and(|options| options.pktinfo == Some(true))
            })
        },
    },
    Field {
        what: "IP_TOS of its sockets",
        path: "inet_sk.ip_opts.tos",
        since: CriuVersion::new(3, 19),
        used: |of, process| {
            inet_sockets(of.set, process, |inet| {
                inet.ip_opts.as_ref().is_some_and(|options| options.tos.unwrap_or_default() != 0)
            })
        },
    },
    Field {
        what: "IP_TTL of its sockets",
        path: "inet_sk.ip_opts.ttl",
        since: CriuVersion::new(4, 0),
        used: |of, process| {
            inet_sockets(of.set, process, |inet| {
                inet.ip_opts.as_ref().is_some_and(|options| options.ttl.is_some())
            })
        },
    },
    Field {
        what: "TCP_NODELAY or TCP_CORK of its sockets",
        path: "inet_sk.tcp_opts",
        since: CriuVersion::new(4, 0),
        used: |of, process| {
            inet_sockets(of.set, process, |inet| {
                let options = inet.tcp_opts.as_ref();
                options.is_some_and(|tcp| tcp.nodelay == Some(true) || tcp.cork == Some(true))
            })
        },
    },
    Field {
        what: "its membarrier registrations",
        path: "tc.membarrier_registration_mask",
        since: CriuVersion::new(3, 19),
        used: |_, process| {
            task(process, |task| task.membarrier_registration_mask.unwrap_or_default() != 0)
        },
    },
    Field {
        what: "no_new_privs",
        path: "thread_core.creds.no_new_privs",
        since: CriuVersion::new(3, 19),
        used: |_, process| {
            threads(process, |thread| {
                let creds = thread.creds.as_ref();
                creds.is_some_and(|creds| creds.no_new_privs.unwrap_or_default() != 0)
            })
        },
    },
    Field {
        what: "permissions of its shared memory",
        path: "memfd_inode.mode",
        since: CriuVersion::new(3, 19),
        used: |of, process| {
            let mode = |memory: &MemfdInodeEntry| memory.mode.unwrap_or(MEMFD_MODE);
            of.set.memories_of(process).any(|memory| mode(memory) != MEMFD_MODE)
        },
    },
    Field {
        what: "its ambient capabilities",
        path: "thread_core.creds.cap_amb",
        since: CriuVersion::new(4, 1),
        used: |_, process| {
            threads(process, |thread| {
                let creds = thread.creds.as_ref();
                creds.is_some_and(|creds| creds.cap_amb.iter().any(|&word| word != 0))
            })
        },
    },
    Field {
        what: "a pidfd",
        path: "fdinfo.type",
        since: CriuVersion::new(4, 1),
        used: |_, process| process.fdinfo.iter().any(|fd| fd.r#type == FdTypes::Pidfd as i32),
    },
    Field {
        what: "guard pages",
        path: "mm.vmas.status",
        since: CriuVersion::new(4, 2),
        used: |_, process| !areas_and_guards(&process.mm).1.is_empty(),
    },
];

fn task(process: &ProcessImages, holds: impl Fn(&TaskCoreEntry) -> bool) -> bool {
    process.leader().and_then(|core| core.tc.as_ref()).is_some_and(holds)
}

fn threads(process: &ProcessImages, holds: impl Fn(&ThreadCoreEntry) -> bool) -> bool {
    process.cores.values().filter_map(|core| core.thread_core.as_ref()).any(holds)
}

/// Sockets over IPv4 and IPv6 that a process has open.
fn inet_sockets(
    set: &ImageSet,
    process: &ProcessImages,
    holds: impl Fn(&InetSkEntry) -> bool,
) -> bool {
    let socket = |id| set.files.get(&id)?.isk.as_ref();
    process.fdinfo.iter().filter_map(|fd| socket(fd.id)).any(holds)
}

/// Something of a process that needs a version of CRIU.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Need {
    /// The process.
    pub pid: u32,
    /// What it has.
    pub what: &'static str,
    /// The field that holds it, by its path in the image.
    pub field: &'static str,
    /// The version that the field came with.
    #[serde(serialize_with = "as_text")]
    pub since: CriuVersion,
}

fn as_text<S: Serializer>(version: &CriuVersion, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(version)
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, what, field, since } = self;
        write!(f, "{what} of process {pid}, as {field} came with CRIU {since}")
    }
}

impl ImageSet {
    /// What a set has that needs a later version than the oldest.
    pub fn needs(&self) -> Vec<Need> {
        let of = Looked::at(self);
        let of_process = |process: &ProcessImages| {
            let used: Vec<_> = FIELDS.iter().filter(|field| (field.used)(&of, process)).collect();
            let pid = process.pstree.pid;
            used.into_iter().map(move |field| Need {
                pid,
                what: field.what,
                field: field.path,
                since: field.since,
            })
        };
        self.processes.iter().flat_map(of_process).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::criu::proto::{
        FdinfoEntry, FileEntry, IpOptsEntry, ScmEntry, SkPacketEntry, TcpOptsEntry, UnixSkEntry,
    };
    use crate::criu::sample;
    use crate::criu::vma::guard;
    use crate::criu::{CheckOptions, check};
    use crate::snapshot::PageRange;

    fn sample() -> ImageSet {
        let set = sample::image_set_of(&sample::sharing());
        check(&set, CheckOptions::default()).expect("a good set")
    }

    #[test]
    fn versions_are_told_apart() {
        let version = |text: &str| text.parse::<CriuVersion>().unwrap();
        assert!(version("3.17") < version("3.17.1") && version("3.19") < version("4.0"));
        assert_eq!(version("4.1.1-1+b1"), CriuVersion(4, 1, 1));
        assert_eq!(version("4.2").to_string(), "4.2");
        assert_eq!(version("3.17.1").to_string(), "3.17.1");
        for text in ["", "4", "four", ".", "4.", "-4.1", "99999999999.1"] {
            assert!(text.parse::<CriuVersion>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_the_default_needs_nothing() {
        assert_eq!(sample().needs(), []);
    }

    /// Gives the process a socket.
    fn inet(set: &mut ImageSet, f: impl Fn(&mut InetSkEntry)) {
        let (ip_opts, tcp_opts) = (Some(IpOptsEntry::default()), Some(TcpOptsEntry::default()));
        let mut inet = InetSkEntry { id: 98, ip_opts, tcp_opts, ..InetSkEntry::default() };
        f(&mut inet);
        set.files.insert(98, FileEntry { isk: Some(inet), ..FileEntry::default() });
        set.processes[0].fdinfo.push(FdinfoEntry { id: 98, ..FdinfoEntry::default() });
    }

    #[test]
    fn each_field_is_found_where_it_is_used() {
        let uses: [fn(&mut ImageSet); 12] = [
            |set| {
                let process = &mut set.processes[0];
                let task = process.cores.get_mut(&100).unwrap().tc.as_mut().unwrap();
                (task.task_state, task.stop_signo) = (task_state::STOPPED, Some(20));
            },
            |set| {
                let scm = vec![ScmEntry { r#type: 1, rights: vec![1] }];
                let unix = UnixSkEntry { id: 99, ino: 7, ..UnixSkEntry::default() };
                let usk = Some(unix);
                set.files.insert(99, FileEntry { usk, ..FileEntry::default() });
                set.sk_queues.push(SkPacketEntry { id_for: 99, length: 1, scm });
                set.processes[0].fdinfo.push(FdinfoEntry { id: 99, ..FdinfoEntry::default() });
            },
            |set| inet(set, |inet| inet.ip_opts.as_mut().unwrap().pktinfo = Some(true)),
            |set| inet(set, |inet| inet.ip_opts.as_mut().unwrap().tos = Some(16)),
            |set| inet(set, |inet| inet.ip_opts.as_mut().unwrap().ttl = Some(9)),
            |set| inet(set, |inet| inet.tcp_opts.as_mut().unwrap().nodelay = Some(true)),
            |set| {
                let process = &mut set.processes[0];
                let task = process.cores.get_mut(&100).unwrap().tc.as_mut().unwrap();
                task.membarrier_registration_mask = Some(1 << 4);
            },
            |set| {
                let process = &mut set.processes[0];
                let thread = process.cores.get_mut(&101).unwrap().thread_core.as_mut().unwrap();
                thread.creds.as_mut().unwrap().no_new_privs = Some(1);
            },
            |set| set.memories.get_mut(&1).unwrap().mode = Some(0o100_600),
            |set| {
                let process = &mut set.processes[0];
                let thread = process.cores.get_mut(&101).unwrap().thread_core.as_mut().unwrap();
                thread.creds.as_mut().unwrap().cap_amb = vec![0, 1];
            },
            |set| {
                set.processes[0]
                    .fdinfo
                    .push(FdinfoEntry { r#type: FdTypes::Pidfd as i32, ..FdinfoEntry::default() })
            },
            |set| set.processes[0].mm.vmas.push(guard(PageRange { start: 0x1000, count: 1 })),
        ];
        for (field, make) in FIELDS.iter().zip(uses) {
            let mut set = sample();
            make(&mut set);
            let needs = set.needs();
            assert_eq!(needs.len(), 1, "{}", field.path);
            assert_eq!((needs[0].pid, needs[0].field), (100, field.path));
        }
    }

    #[test]
    fn a_stop_by_sigstop_needs_nothing() {
        let mut set = sample();
        let core = set.processes[0].cores.get_mut(&100).unwrap();
        let task = core.tc.as_mut().unwrap();
        (task.task_state, task.stop_signo) = (task_state::STOPPED, Some(SIGSTOP));
        assert_eq!(set.needs(), []);
    }

    #[test]
    fn a_need_is_told_by_field_and_version() {
        let mut set = sample();
        let core = set.processes[0].cores.get_mut(&100).unwrap();
        core.thread_core.as_mut().unwrap().creds.as_mut().unwrap().no_new_privs = Some(1);
        assert_eq!(
            set.needs()[0].to_string(),
            "no_new_privs of process 100, as thread_core.creds.no_new_privs came with CRIU 3.19"
        );
    }
}
