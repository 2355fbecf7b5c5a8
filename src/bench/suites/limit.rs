//! How near a save comes to what the host can do: a plain write of as many bytes
//! to the same directory, and a copy in memory.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Instant;

use memmap2::MmapMut;
use nix::libc::O_DIRECT;

use super::{PAUSE, affordable, guest_memory, size};
use crate::bench::domain::stop_and_cont;
use crate::bench::error::{BenchError, Result};
use crate::bench::guest::{Guest, Make, Running};
use crate::bench::measure::{Contestant, race};
use crate::bench::ours::Saver;
use crate::bench::programs::Program;
use crate::bench::report::{Point, Section, SuiteReport, Unit};
use crate::bench::{OURS, Options, scratch};

/// Sizes of the process, in MiB.
const SIZES: &[u64] = &[64, 256, 1024, 2048, 4096];
const QUICK: &[u64] = &[64, 256];
/// Bytes that are written and copied over and over: more than caches hold.
const CONTENT: usize = 256 << 20;
/// Bytes of one plain write.
const BLOCK: usize = 32 << 20;

const PLAIN: &str = "plain write";
const COPY: &str = "memory copy";

/// Runs the suite.
pub fn run(options: &Options, report: &mut SuiteReport) -> Result<()> {
    let wanted = if options.quick { QUICK } else { SIZES };
    let sizes = affordable(wanted, need, report)?;
    let largest = sizes.iter().copied().max().unwrap_or_default();
    let guest = Guest::boot(options, Make { memory: guest_memory(largest), cpus: 2 })?;
    report.note(guest.description()?);
    report.note("nothing is pinned");
    let mut content = Content::new()?;
    for (place, medium) in [(&options.tmpfs, "tmpfs"), (&options.disk, "disk")] {
        let mut rates = Section::new(
            format!("Rate of writing pages to {medium}, until they are durable"),
            "pages",
            Unit::BytesPerSecond,
        );
        let mut whole = Section::new(
            format!("Rate of the whole command, images on {medium}"),
            "pages",
            Unit::BytesPerSecond,
        );
        let mut parts = Section::new(format!("In a save to {medium}"), "pages", Unit::Seconds);
        let mut pauses = Section::new(
            format!("The VM stands still in a save to {medium}"),
            "pages",
            Unit::Seconds,
        );
        for &mebibytes in &sizes {
            (options.progress)(&format!("limit: {} to {medium}", size(mebibytes)));
            let process = guest.start(options, Program::Hold, &[mebibytes.to_string()])?;
            let outcomes = measure(options, &guest, &process, place, &mut content)?;
            let restored = Saver::new(options, &guest, place)?.prove(&process)?;
            guest.end(&process)?;
            let (label, x) = (size(mebibytes), Some((mebibytes << 20) as f64));
            let point = |figure| Point::of(label.clone(), x, &outcomes, figure);
            rates.points.push(point("rate").proven(restored));
            whole.points.push(point("whole"));
            let figures = ["frozen", "paused", "command"];
            pauses.points.push(point("paused"));
            parts.points.push(Point::of_figures(label, x, &outcomes[0], &figures));
        }
        let compared = |section: Section| section.comparing(OURS, PLAIN).comparing(OURS, COPY);
        let pauses = pauses.comparing(OURS, PAUSE);
        report.sections.extend([compared(rates), compared(whole), parts, pauses]);
    }
    Ok(())
}

/// What the host needs for it, in MiB: the VM, the images in tmpfs and what we
/// hold.
fn need(mebibytes: u64) -> u64 {
    guest_memory(mebibytes) + mebibytes + 2 * (CONTENT as u64 >> 20)
}

fn measure(
    options: &Options,
    guest: &Guest,
    process: &Running,
    place: &Path,
    content: &mut Content,
) -> Result<Vec<crate::bench::measure::Outcome>> {
    let mut saver = Saver::new(options, guest, place)?;
    let directory = scratch(place)?;
    // As many bytes as are saved.
    let bytes = saver.save(process)?.report.page_bytes;
    let content = RefCell::new(content);
    let rate =
        |seconds: f64| vec![("rate", bytes as f64 / seconds), ("whole", bytes as f64 / seconds)];
    let plain = directory.path().join("plain");
    race(
        options.rounds,
        &mut [
            Contestant::new(OURS, || {
                let saved = saver.save(process)?;
                let durations = saved.report.durations;
                let bytes = saved.report.page_bytes as f64;
                let writing = (durations.pages + durations.sync).as_secs_f64();
                let rates = [("rate", bytes / writing), ("whole", bytes / saved.seconds)];
                Ok(saved.figures().into_iter().chain(rates).collect())
            }),
            Contestant::new(PLAIN, || {
                let wrote = content.borrow().write(&plain, bytes);
                let seconds = wrote.map_err(BenchError::io("write", &plain))?;
                fs::remove_file(&plain).map_err(BenchError::io("remove", &plain))?;
                Ok(rate(seconds))
            }),
            Contestant::new(COPY, || Ok(rate(content.borrow_mut().copy(bytes)))),
            Contestant::new(PAUSE, || Ok(vec![("paused", stop_and_cont(guest.name())?)])),
        ],
    )
}

/// Bytes to write, and room to copy them to.
struct Content {
    from: MmapMut,
    to: MmapMut,
}

impl Content {
    fn new() -> Result<Self> {
        let map = || MmapMut::map_anon(CONTENT);
        let map = || map().map_err(BenchError::io("map", Path::new("memory")));
        let (mut from, mut to) = (map()?, map()?);
        // What does not compress, like the pages that are saved; and all of both
        // is there.
        let mut state = 0u64;
        for word in from.as_chunks_mut::<8>().0 {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            *word = state.rotate_left(23).to_le_bytes();
        }
        to.copy_from_slice(&from);
        Ok(Self { from, to })
    }

    /// Seconds of writing so many bytes to a new file and waiting until they are
    /// durable: past the page cache where the file system can do that, in large
    /// blocks.
    fn write(&self, path: &Path, bytes: u64) -> io::Result<f64> {
        let began = Instant::now();
        let open = |flags| -> io::Result<File> {
            OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .custom_flags(flags)
                .open(path)
        };
        let mut file = open(O_DIRECT).or_else(|_| open(0))?;
        let mut left = usize::try_from(bytes).map_err(io::Error::other)?;
        for block in self.from.chunks(BLOCK).cycle() {
            let count = left.min(block.len());
            file.write_all(&block[..count])?;
            left -= count;
            if left == 0 {
                break;
            }
        }
        file.sync_all()?;
        Ok(began.elapsed().as_secs_f64())
    }

    /// Seconds of copying so many bytes.
    fn copy(&mut self, bytes: u64) -> f64 {
        let began = Instant::now();
        let mut left = bytes;
        while left > 0 {
            let count = left.min(CONTENT as u64) as usize;
            self.to[..count].copy_from_slice(&self.from[..count]);
            left -= count as u64;
        }
        began.elapsed().as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_write_writes_all_bytes_and_a_copy_copies_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("plain");
        let mut content = Content::new().unwrap();
        let bytes = BLOCK as u64 + 8192;
        assert!(content.write(&path, bytes).unwrap() > 0.0);
        let written = fs::read(&path).unwrap();
        assert_eq!(written, content.from[..written.len()]);
        assert_eq!(written.len() as u64, bytes);
        content.to.fill(0);
        content.copy(bytes);
        assert!(content.to[..bytes as usize] == content.from[..bytes as usize]);
    }

    #[test]
    fn more_memory_is_needed_for_more() {
        assert!(need(64) < need(4096) && guest_memory(4096) > 2 * 4096);
    }
}
