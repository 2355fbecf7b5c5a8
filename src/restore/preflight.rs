//! Whether the guest can take the images, found out before anything is sent.
//! All that is missing is listed at once.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use super::error::RestoreError;
use super::images::{ExpectedFile, ImageSet};
use super::session::Session;
use crate::criu::{CriuVersion, Need};

const LIMIT: Duration = Duration::from_secs(120);

/// Room for CRIU's log, in bytes.
const LOG_ROOM: u64 = 16 << 20;

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

/// Asks the guest and compares.
pub(super) fn preflight(session: &Session<'_>, images: &ImageSet) -> Result<Place, RestoreError> {
    let answer = session.ask(&request(images), LIMIT)?;
    let guest = Guest::parse(&answer);
    let domain = session.domain().name().to_owned();
    guest.place(images).map_err(|problems| RestoreError::Unfit { domain, problems })
}

fn request(images: &ImageSet) -> String {
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
    request.push_str("end\n");
    request
}

/// Everything but plain characters as octal escapes of `printf %b`.
fn escape(path: &[u8]) -> String {
    path.iter().fold(String::new(), |mut text, &byte| {
        if byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "\\0{byte:03o}");
        }
        text
    })
}

/// What the script said. The guest may say anything.
#[derive(Debug, Default)]
struct Guest {
    lacks: Vec<String>,
    criu: String,
    taken: Vec<String>,
    /// By number, in order.
    there: Vec<usize>,
    missing: Vec<usize>,
    /// Size and mode, in the order of `there`.
    stats: Vec<(u64, u32)>,
    pid_max: u64,
    memory_kib: u64,
    run_kib: u64,
    var_tmp_kib: u64,
    flags: BTreeSet<String>,
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
                "pid_max" => guest.pid_max = number(),
                "memory" => guest.memory_kib = guest.memory_kib.saturating_add(number()),
                "space" => match value.split_once(' ') {
                    Some(("/run", free)) => guest.run_kib = free.trim().parse().unwrap_or(0),
                    Some((_, free)) => guest.var_tmp_kib = free.trim().parse().unwrap_or(0),
                    None => {}
                },
                "flags" => guest.flags = value.split_whitespace().map(str::to_owned).collect(),
                _ => {}
            }
        }
        guest
    }

    /// Where the images can go, or all that is in the way.
    fn place(&self, images: &ImageSet) -> Result<Place, Vec<String>> {
        let mut problems = self.tool_problems(&images.needs);
        problems.extend(self.pid_problems(images));
        problems.extend(self.file_problems(&images.files));
        problems.extend(self.cpu_problems(images.xfeatures));
        let dir = self.directory(images).map_err(|problem| problems.push(problem));
        match dir {
            Ok(dir) if problems.is_empty() => Ok(Place { criu: self.criu.clone(), dir }),
            _ => Err(problems),
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
        let taken = self.taken.iter().map(|taken| match taken.split_once(' ') {
            Some((pid, comm)) => format!("PID {pid} is taken by {comm:?}"),
            None => format!("PID {taken} is taken"),
        });
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

    /// CRIU would give the registers to XRSTOR, which kills the process.
    fn cpu_problems(&self, xfeatures: u64) -> Vec<String> {
        // Components by bit (Intel SDM 1, 13.1) and their flag in /proc/cpuinfo.
        let components = [(2, "avx"), (5, "avx512f"), (6, "avx512f"), (7, "avx512f"), (9, "pku")];
        let used = components.into_iter().filter(|(bit, _)| xfeatures >> bit & 1 == 1);
        let lacking: BTreeSet<_> =
            used.map(|(_, flag)| flag).filter(|&flag| !self.flags.contains(flag)).collect();
        lacking.iter().map(|flag| format!("its CPU lacks {flag}, which the process uses")).collect()
    }

    /// Memory is faster than a disk, but holds the images beside the process.
    fn directory(&self, images: &ImageSet) -> Result<&'static str, String> {
        let kib = |bytes: u64| bytes.div_ceil(1024);
        let room = kib(images.bytes().saturating_add(LOG_ROOM));
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

/// Size in decimal and mode in hexadecimal.
fn parse_stat(value: &str) -> Option<(u64, u32)> {
    let (size, mode) = value.split_once(' ')?;
    Some((size.parse().ok()?, u32::from_str_radix(mode.trim(), 16).ok()?))
}

#[cfg(test)]
mod tests;
