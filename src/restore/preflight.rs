//! Whether the guest can take the images, found out before anything is sent.
//! All that is missing is listed at once.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use super::cgroups::{self, FoundCgroups, ManageCgroups};
use super::error::RestoreError;
use super::images::{ExpectedFile, ImageSet};
use super::session::{Session, escape};
use super::terminal::TerminalPath;
use super::way::Way;
use crate::criu::{CriuVersion, Need};

const LIMIT: Duration = Duration::from_secs(120);

/// Room for CRIU's log, in bytes.
const LOG_ROOM: u64 = 16 << 20;

/// How many PIDs that are taken are listed.
const LISTED: usize = 10;

/// `S_IFMT`: the file type among the bits of `st_mode`.
const TYPE_BITS: u32 = 0o170_000;

/// What a guest that can take the images offers.
#[derive(Debug)]
pub(super) struct Place {
    /// CRIU's version.
    pub criu: String,
    /// A directory with enough room.
    pub dir: &'static str,
}

/// Asks the guest.
pub(super) fn preflight(
    session: &Session<'_>,
    images: &ImageSet,
    tty: Option<&TerminalPath>,
) -> Result<Guest, RestoreError> {
    let answer = session.ask(&request(images, tty), LIMIT)?;
    let (name, tty) = (session.domain().name().to_owned(), tty.map(ToString::to_string));
    Ok(Guest { name, tty, ..Guest::parse(&answer) })
}

fn request(images: &ImageSet, tty: Option<&TerminalPath>) -> String {
    let mut request = String::new();
    // A tree with an init of its own gets its own PIDs too.
    if images.root != 1 {
        for tid in &images.tids {
            let _ = writeln!(request, "pid {tid}");
        }
    }
    for file in &images.files {
        let _ = writeln!(request, "path {}", escape(&file.path));
    }
    if !images.profiles.is_empty() {
        request.push_str("profiles\n");
    }
    if let Some(tty) = tty {
        let _ = writeln!(request, "tty {tty}");
    }
    if !images.ptys.is_empty() {
        request.push_str("ptys\n");
    }
    if !images.names.is_empty() {
        request.push_str("names\n");
    }
    if !images.ports.is_empty() {
        request.push_str("ports\n");
    }
    request.push_str(&cgroups::question(&images.cgroups));
    request.push_str("end\n");
    request
}

/// What the script said. The guest may say anything.
#[derive(Debug, Default)]
pub(super) struct Guest {
    /// The VM.
    name: String,
    lacks: Vec<String>,
    criu: String,
    taken: Vec<String>,
    /// By number, in order.
    there: Vec<usize>,
    missing: Vec<usize>,
    /// Size and mode, in the order of `there`.
    stats: Vec<(u64, u32)>,
    /// The terminal to restore on, and what is said of it.
    tty: Option<String>,
    terminal: String,
    /// Names of Unix sockets that are in use.
    bound: BTreeSet<String>,
    /// Addresses of netlink that are in use, behind their protocols.
    ports: BTreeSet<(u32, u32)>,
    /// Pseudoterminals that are in use.
    ptys: BTreeSet<u32>,
    pid_max: u64,
    memory_kib: u64,
    run_kib: u64,
    var_tmp_kib: u64,
    flags: BTreeSet<String>,
    /// AppArmor profiles that are loaded.
    profiles: BTreeSet<String>,
    cgroups: FoundCgroups,
}

impl Guest {
    fn parse(answer: &[String]) -> Self {
        let mut guest = Self::default();
        for line in answer {
            let (keyword, value) = line.split_once(' ').unwrap_or((line, ""));
            let number = || value.trim().parse::<u64>().unwrap_or(0);
            match keyword {
                "lacks" => guest.lacks.push(value.to_owned()),
                "criu" => guest.criu = value.trim_start_matches("Version:").trim().to_owned(),
                "taken" => guest.taken.push(value.to_owned()),
                "there" => guest.there.extend(value.parse::<usize>()),
                "missing" => guest.missing.extend(value.parse::<usize>()),
                "stat" => guest.stats.extend(parse_stat(value)),
                "bound" => _ = guest.bound.insert(value.to_owned()),
                "port" => guest.ports.extend(parse_port(value)),
                "ptys" => guest.ptys = value.split(' ').flat_map(str::parse).collect(),
                "tty" => guest.terminal = value.to_owned(),
                "pid_max" => guest.pid_max = number(),
                "memory" => guest.memory_kib = guest.memory_kib.saturating_add(number()),
                "space" => match value.split_once(' ') {
                    Some(("/run", free)) => guest.run_kib = free.trim().parse().unwrap_or(0),
                    Some((_, free)) => guest.var_tmp_kib = free.trim().parse().unwrap_or(0),
                    None => {}
                },
                "group" => guest.cgroups.take_group(value),
                "set" => guest.cgroups.take_line(value),
                "flags" => guest.flags = value.split_whitespace().map(str::to_owned).collect(),
                // Its mode stands behind the name, in brackets.
                "profile" => {
                    guest.profiles.extend(value.rsplit_once(" (").map(|(name, _)| name.to_owned()))
                }
                _ => {}
            }
        }
        guest
    }

    /// Where the images can go that are copied into the guest, or that come on
    /// a disk.
    ///
    /// # Errors
    ///
    /// [`RestoreError::Unfit`] with all that is in the way.
    pub fn take(&self, images: &ImageSet, way: Way) -> Result<Place, RestoreError> {
        self.place(images, way).map_err(|problems| {
            let domain = self.name.clone();
            RestoreError::Unfit { domain, problems }
        })
    }

    fn place(&self, images: &ImageSet, way: Way) -> Result<Place, Vec<String>> {
        let mut problems = self.tool_problems(&images.needs);
        problems.extend(self.pid_problems(images));
        problems.extend(self.file_problems(&images.files));
        problems.extend(self.name_problems(&images.names));
        problems.extend(self.port_problems(&images.ports));
        problems.extend(self.terminal_problems(&images.ptys));
        problems.extend(self.shell_problem(images));
        problems.extend(self.cpu_problems(images));
        problems.extend(self.profile_problems(&images.profiles));
        problems.extend(self.cgroups.problems(&images.cgroups));
        let dir = self.directory(images, way).map_err(|problem| problems.push(problem));
        match dir {
            Ok(dir) if problems.is_empty() => Ok(Place { criu: self.criu.clone(), dir }),
            _ => Err(problems),
        }
    }

    /// What is set otherwise for cgroups that are there, where that is left so.
    pub fn other_cgroups(&self, images: &ImageSet, choice: ManageCgroups) -> Vec<String> {
        match choice {
            ManageCgroups::Soft => self.cgroups.differences(&images.cgroups),
            ManageCgroups::Full | ManageCgroups::Ignore => Vec::new(),
        }
    }

    fn tool_problems(&self, needs: &[Need]) -> Vec<String> {
        let lacks = self.lacks.iter().map(|tool| format!("{tool} is not installed"));
        let mut problems: Vec<String> = lacks.collect();
        if !self.lacks.iter().any(|tool| tool == "criu") {
            problems.extend(self.criu_problems(needs));
        }
        problems
    }

    /// What is not known to its version is skipped there in silence.
    fn criu_problems(&self, needs: &[Need]) -> Vec<String> {
        match self.criu.parse::<CriuVersion>() {
            Ok(version) if version >= CriuVersion::OLDEST => needs
                .iter()
                .filter(|need| need.since > version)
                .map(|need| format!("its CRIU {version} would lose {need}"))
                .collect(),
            _ => {
                let (oldest, found) = (CriuVersion::OLDEST, &self.criu);
                vec![format!("CRIU {oldest} or later is needed, it has {found:?}")]
            }
        }
    }

    fn pid_problems(&self, images: &ImageSet) -> Vec<String> {
        let taken = self.taken.iter().take(LISTED).map(|taken| match taken.split_once(' ') {
            Some((pid, comm)) => format!("PID {pid} is taken by {comm:?}"),
            None => format!("PID {taken} is taken"),
        });
        let others = self.taken.len().saturating_sub(LISTED);
        let taken = taken.chain((others > 0).then(|| format!("{others} more PIDs are taken")));
        let highest = images.tids.last().copied().map_or(0, u64::from);
        let too_high = (highest >= self.pid_max && self.pid_max > 0)
            .then(|| format!("PID {highest} is above its kernel.pid_max of {}", self.pid_max));
        taken.chain(too_high).collect()
    }

    fn file_problems(&self, files: &[ExpectedFile]) -> Vec<String> {
        let mut problems = Vec::new();
        if self.there.len() + self.missing.len() != files.len()
            || self.stats.len() != self.there.len()
        {
            problems.push("its files could not be looked at".to_owned());
        }
        let missing = self.missing.iter().filter_map(|&index| files.get(index));
        for file in missing.filter(|file| !file.is_free) {
            problems.push(format!("{} is missing", String::from_utf8_lossy(&file.path)));
        }
        for (&index, &(size, mode)) in self.there.iter().zip(&self.stats) {
            let Some(file) = files.get(index) else { continue };
            let path = String::from_utf8_lossy(&file.path);
            if file.is_free {
                problems.push(format!("{path} is there, which the process had deleted"));
            } else if let Some(expected) = file.mode.filter(|&expected| expected != mode) {
                let what = if expected & TYPE_BITS == mode & TYPE_BITS { "mode" } else { "type" };
                problems.push(format!("{path} has {what} {mode:o}, the process had {expected:o}"));
            } else if let Some(expected) = file.size.filter(|&expected| expected != size) {
                problems.push(format!("{path} has {size} bytes, the process had {expected}"));
            }
        }
        problems
    }

    /// Names as the answer has them: without control characters.
    fn name_problems(&self, wanted: &BTreeSet<Vec<u8>>) -> Vec<String> {
        let shown = wanted.iter().map(|name| {
            let name = String::from_utf8_lossy(name);
            name.chars().filter(|letter| !letter.is_control()).collect::<String>()
        });
        let taken = shown.filter(|name| self.bound.contains(name));
        taken.map(|name| format!("another socket is bound to {name}")).collect()
    }

    fn port_problems(&self, wanted: &BTreeSet<(u32, u32)>) -> Vec<String> {
        let taken = wanted.intersection(&self.ports);
        taken
            .map(|(protocol, port)| {
                format!("another socket of netlink protocol {protocol} has the port {port}")
            })
            .collect()
    }

    /// CRIU opens masters, of which each gets the lowest number that is free, until
    /// one has the number that it wants, 32 at most (`__pty_open_ptmx_index()`,
    /// `criu/tty.c`).
    fn terminal_problems(&self, wanted: &BTreeSet<u32>) -> Vec<String> {
        const OPENED: u32 = 32;
        let free = (0..).find(|index| !self.ptys.contains(index)).unwrap_or(u32::MAX);
        let problem = |index: &u32| {
            if self.ptys.contains(index) {
                Some(format!("/dev/pts/{index} is in use"))
            } else if index.saturating_sub(free) >= OPENED {
                Some(format!(
                    "/dev/pts/{index} is out of CRIU's reach: {free} is free, and it opens no \
                     more than {OPENED} on its way from there"
                ))
            } else {
                None
            }
        };
        wanted.iter().filter_map(problem).collect()
    }

    /// A session can have one terminal, and a terminal one session.
    fn shell_problem(&self, images: &ImageSet) -> Option<String> {
        let Some(tty) = &self.tty else {
            let why = "the process is the job of a shell that is not saved: a terminal to go on on \
                       is to be named (--tty)";
            return images.wants_terminal.then(|| why.to_owned());
        };
        if !images.foreign_session {
            return Some(format!("{tty} is not wanted: the process leads a session of its own"));
        }
        match self.terminal.split_once(' ') {
            Some(("taken", who)) => Some(format!("{tty} is the controlling terminal of {who}")),
            None if self.terminal == "free" => None,
            _ => Some(format!("{tty} is no terminal")),
        }
    }

    /// CRIU would give the registers to XRSTOR, which kills the process.
    fn cpu_problems(&self, images: &ImageSet) -> Vec<String> {
        let xfeatures = images.xfeatures;
        // Components by bit (Intel SDM 1, 13.1) and their flag in /proc/cpuinfo.
        let components = [(2, "avx"), (5, "avx512f"), (6, "avx512f"), (7, "avx512f"), (9, "pku")];
        let used = components.into_iter().filter(|(bit, _)| xfeatures >> bit & 1 == 1);
        let lacking: BTreeSet<_> =
            used.map(|(_, flag)| flag).filter(|&flag| !self.flags.contains(flag)).collect();
        let in_use = lacking.iter();
        let in_use = in_use.map(|flag| format!("its CPU lacks {flag}, which the process uses"));
        // What a program has found it relies on.
        let offered = images.instructions.iter().filter(|flag| !self.flags.contains(**flag));
        let offered = offered.filter(|flag| !lacking.contains(*flag)).map(|flag| {
            format!("its CPU lacks {flag}, which that of the source offered (see --cpu-cap)")
        });
        in_use.chain(offered).collect()
    }

    /// CRIU has the kernel change to a profile that must be loaded
    /// (`lsm_set_label()`, `criu/pie/restorer.c`).
    fn profile_problems(&self, wanted: &BTreeSet<String>) -> Vec<String> {
        let missing = wanted.difference(&self.profiles);
        missing.map(|name| format!("the AppArmor profile {name} is not loaded")).collect()
    }

    /// Memory is faster than a disk, but holds the images beside the process.
    fn directory(&self, images: &ImageSet, way: Way) -> Result<&'static str, String> {
        let kib = |bytes: u64| bytes.div_ceil(1024);
        let copied = if way == Way::Disk { 0 } else { images.bytes() };
        let room = kib(copied.saturating_add(LOG_ROOM));
        let process = kib(images.page_bytes());
        if self.memory_kib < process {
            let memory = self.memory_kib;
            return Err(format!("the process needs {process} KiB of memory, {memory} are free"));
        }
        if self.run_kib >= room && self.memory_kib >= process.saturating_add(room) {
            Ok("/run")
        } else if self.var_tmp_kib >= room {
            Ok("/var/tmp")
        } else {
            Err(format!(
                "the images need {room} KiB, /run has {} and /var/tmp {}",
                self.run_kib, self.var_tmp_kib
            ))
        }
    }
}

/// Protocol and address of netlink, which is a signed number where nobody chose it.
fn parse_port(value: &str) -> Option<(u32, u32)> {
    let (protocol, port) = value.split_once(' ')?;
    let port = port.parse::<i64>().ok()?;
    Some((protocol.parse().ok()?, port as u32))
}

/// Size in decimal and mode in hexadecimal.
fn parse_stat(value: &str) -> Option<(u64, u32)> {
    let (size, mode) = value.split_once(' ')?;
    Some((size.parse().ok()?, u32::from_str_radix(mode.trim(), 16).ok()?))
}

#[cfg(test)]
mod tests;
