//! The `ovmigrate` command, as its user starts it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::de::DeserializeOwned;
use tempfile::TempDir;

use super::error::{BenchError, Result};
use super::guest::{Guest, LIMIT, Running};
use super::measure::Figures;
use super::process::output;
use super::report::Restored as Verdict;
use super::shell::{Shell, quoted};
use super::{Options, scratch};
use crate::restore;
use crate::save::SaveReport;

/// Pages of saves that were measured go at once if they are larger, in bytes.
const LARGE: u64 = 1 << 20;

/// A save as a whole command.
#[derive(Debug)]
pub struct Saved {
    /// From its start by the shell to its end.
    pub seconds: f64,
    /// What it says of itself.
    pub report: SaveReport,
}

impl Saved {
    /// What is told of every save.
    pub fn figures(&self) -> Figures {
        vec![
            ("command", self.seconds),
            ("frozen", self.report.durations.frozen.as_secs_f64()),
            ("paused", self.report.vm_paused.total.as_secs_f64()),
        ]
    }
}

/// A restore as a whole command.
#[derive(Debug)]
pub struct Restored {
    /// From its start by the shell to its end.
    pub seconds: f64,
    /// What it says of itself.
    pub report: restore::Restored,
}

/// Saves processes of a guest, again and again, into directories of its own.
pub struct Saver<'a> {
    options: &'a Options,
    guest: &'a Guest,
    shell: Shell,
    directory: TempDir,
    count: u32,
}

impl<'a> Saver<'a> {
    /// Saves below `place`.
    pub fn new(options: &'a Options, guest: &'a Guest, place: &Path) -> Result<Self> {
        let shell = Shell::start(&options.interrupt)?;
        let directory = scratch(place)?;
        Ok(Self { options, guest, shell, directory, count: 0 })
    }

    /// The PID of the shell that starts the commands.
    pub fn shell(&self) -> u32 {
        self.shell.pid()
    }

    /// Saves a process, which goes on.
    pub fn save(&mut self, process: &Running) -> Result<Saved> {
        let images = self.fresh();
        let saved = self.save_to(process, &images, "--leave-running");
        // Directory and small images stay until the end: ext4 looks at each inode
        // that was freed in the last seconds before it makes a new one
        // (`recently_deleted()`), which would cost more than a small save.
        remove_large(&images)?;
        saved
    }

    /// Runs another command of `ovmigrate` on the guest. Returns its seconds.
    pub fn run(&mut self, arguments: &str, environment: &str) -> Result<f64> {
        let line = format!(
            "{environment} {} {arguments} --domain {}",
            quoted(&self.options.ovmigrate.to_string_lossy()),
            self.guest.name(),
        );
        Ok(self.shell.run(&line, LIMIT)?.seconds)
    }

    /// Saves a process, which is killed as usual. Returns where its images are, and
    /// how many bytes of pages are among them.
    pub fn take(&mut self, process: &Running) -> Result<(PathBuf, u64)> {
        let images = self.fresh();
        let saved = self.save_to(process, &images, "")?;
        Ok((images, saved.report.page_bytes))
    }

    /// Restores images in the same VM.
    pub fn restore(&mut self, images: &Path, flags: &str) -> Result<Restored> {
        let line = format!(
            "{} restore --json --domain {} --images-dir {} {flags}",
            quoted(&self.options.ovmigrate.to_string_lossy()),
            self.guest.name(),
            quoted(&images.to_string_lossy()),
        );
        let timed = self.shell.run(&line, LIMIT)?;
        Ok(Restored { seconds: timed.seconds, report: report("restore", &timed.output)? })
    }

    /// Removes images that are needed no more.
    pub fn discard(&self, images: &Path) -> Result<()> {
        remove_large(images)
    }

    /// Saves a process, which is killed as usual, restores the images in the same
    /// VM and looks at what runs then.
    pub fn prove(&mut self, process: &Running) -> Result<Verdict> {
        let images = self.fresh();
        let saved = self.save_to(process, &images, "");
        let verdict = saved.and_then(|_| {
            self.guest.wait_for_end(process)?;
            let mut restore = Command::new(&self.options.ovmigrate);
            restore.args(["restore", "--domain", self.guest.name(), "--images-dir"]).arg(&images);
            output(&mut restore, LIMIT, &self.options.interrupt)
        });
        remove_large(&images)?;
        Ok(match verdict {
            Err(BenchError::Interrupted) => return Err(BenchError::Interrupted),
            Err(error) => Verdict::Failed(error.to_string()),
            Ok(_) => match self.guest.examine(process) {
                Ok(()) => Verdict::Right,
                Err(reason) => Verdict::Failed(reason),
            },
        })
    }

    fn save_to(&mut self, process: &Running, images: &Path, flags: &str) -> Result<Saved> {
        let line = format!(
            "{} save --json --domain {} --pid {} --images-dir {} {flags}",
            quoted(&self.options.ovmigrate.to_string_lossy()),
            self.guest.name(),
            process.pid,
            quoted(&images.to_string_lossy()),
        );
        let timed = self.shell.run(&line, LIMIT)?;
        let report = report("save", &timed.output)?;
        Ok(Saved { seconds: timed.seconds, report })
    }

    fn fresh(&mut self) -> PathBuf {
        self.count += 1;
        self.directory.path().join(self.count.to_string())
    }
}

/// The report among what a command printed, warnings perhaps before it.
fn report<T: DeserializeOwned>(command: &str, printed: &str) -> Result<T> {
    let starts = |(index, _): &(usize, char)| *index == 0 || printed[..*index].ends_with('\n');
    let start = printed.char_indices().filter(starts).find(|(_, c)| *c == '{');
    let json = start.map_or("", |(index, _)| &printed[index..]);
    let mut reports = serde_json::Deserializer::from_str(json).into_iter();
    let misunderstood =
        |reason: String| BenchError::command(format!("ovmigrate {command} --json"), reason);
    match reports.next() {
        Some(Ok(report)) => Ok(report),
        Some(Err(error)) => Err(misunderstood(error.to_string())),
        None => Err(misunderstood(format!("no report: {printed}"))),
    }
}

/// Removes large files of a directory, which may not be there.
pub(super) fn remove_large(directory: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(directory) else { return Ok(()) };
    for entry in entries.flatten() {
        if entry.metadata().is_ok_and(|metadata| metadata.len() > LARGE) {
            fs::remove_file(entry.path()).map_err(BenchError::io("remove", &entry.path()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Pauses;
    use crate::memory::Access;
    use crate::save::{PagesReport, SaveDurations};
    use crate::sink::{PagesIo, SinkReport};
    use std::time::Duration;

    #[test]
    fn what_a_save_reports_is_found_behind_its_warnings() {
        let report_made = SaveReport {
            pid: 7,
            comm: "{\n".to_owned(),
            processes: 1,
            threads: 2,
            page_bytes: 4096,
            pages: PagesReport { private: 4096, ..PagesReport::default() },
            not_kept: Vec::new(),
            page_rate: Some(1.5),
            memory: Access::Mapped,
            sink: SinkReport { files: 3, bytes: 9, pages_io: Some(PagesIo::Direct) },
            vm_paused: Pauses { count: 2, ..Pauses::default() },
            durations: SaveDurations {
                survey: Duration::from_millis(1),
                capture: Duration::from_millis(2),
                pages: Duration::from_millis(3),
                sync: Duration::from_millis(4),
                end: Duration::from_millis(5),
                frozen: Duration::from_millis(6),
            },
        };
        let json = serde_json::to_string_pretty(&report_made).unwrap();
        let read: SaveReport =
            report("save", &format!("WARN {{odd}}\n{json}\nWARN late\n")).unwrap();
        assert_eq!(read.durations.frozen, Duration::from_millis(6));
        assert_eq!((read.vm_paused.count, read.page_bytes), (2, 4096));
        assert!(report::<SaveReport>("save", "nothing\n").is_err());
    }
}
