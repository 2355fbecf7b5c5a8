//! Restores, by each way that images can take into a VM, and by the CRIU in the
//! VM of images that lie in its memory already: what of a restore is ours to
//! make short.

use std::path::Path;

use super::{affordable, size};
use crate::bench::Options;
use crate::bench::error::Result;
use crate::bench::guest::{Guest, Make, Running};
use crate::bench::measure::{Contestant, Figures, Outcome, race};
use crate::bench::ours::Saver;
use crate::bench::programs::Program;
use crate::bench::report::{Point, Restored, Section, SuiteReport, Unit};

/// Sizes of the process, in MiB.
const SIZES: &[u64] = &[64, 256, 1024];
const QUICK: &[u64] = &[64, 256];

const DISK: &str = "ovmigrate, disk";
const PORT: &str = "ovmigrate, port";
const CRIU: &str = "CRIU in the VM";

/// Runs the suite.
pub fn run(options: &Options, report: &mut SuiteReport) -> Result<()> {
    let wanted = if options.quick { QUICK } else { SIZES };
    let sizes = affordable(wanted, |size| guest_memory(size) + size, report)?;
    let largest = sizes.iter().copied().max().unwrap_or_default();
    let guest = Guest::boot(options, Make { memory: guest_memory(largest), cpus: 2 })?;
    report.note(guest.description()?);
    report.note(
        "ovmigrate is timed as a whole command, with images on a disk of the host; CRIU by the \
         guest's clock, with images in the guest's memory",
    );
    let mut whole = Section::new("Time to restore", "pages", Unit::Seconds);
    let mut rates = Section::new(
        "Rate, from when images are under way until the process runs",
        "pages",
        Unit::BytesPerSecond,
    );
    let mut phases = [(0, DISK), (1, PORT)]
        .map(|(index, name)| (index, Section::new(format!("In {name}"), "pages", Unit::Seconds)));
    for &mebibytes in &sizes {
        (options.progress)(&format!("restore: {}", size(mebibytes)));
        let process = guest.start(options, Program::Hold, &[mebibytes.to_string()])?;
        let (outcomes, restored) = measure(options, &guest, &process)?;
        let (label, x) = (size(mebibytes), Some((mebibytes << 20) as f64));
        let point = |figure| Point::of(label.clone(), x, &outcomes, figure);
        whole.points.push(point("command").proven(restored));
        rates.points.push(point("rate"));
        for (index, section) in &mut phases {
            let figures = ["preflight", "transfer", "restore", "end"];
            let outcome = &outcomes[*index];
            section.points.push(Point::of_figures(label.clone(), x, outcome, &figures));
        }
    }
    let compared = |section: Section| {
        section.comparing(DISK, CRIU).comparing(PORT, CRIU).comparing(DISK, PORT)
    };
    report.sections.extend([compared(whole), compared(rates)]);
    report.sections.extend(phases.map(|(_, section)| section));
    Ok(())
}

/// Memory of a VM, in MiB: the process, its images for CRIU and those that come
/// by the port are there at the same time.
fn guest_memory(mebibytes: u64) -> u64 {
    3 * mebibytes + mebibytes / 4 + 1024
}

fn measure(
    options: &Options,
    guest: &Guest,
    process: &Running,
) -> Result<(Vec<Outcome>, Restored)> {
    let mut saver = Saver::new(options, guest, &options.disk)?;
    let (images, bytes) = saver.take(process)?;
    let kept = saver.restore(&images, "--keep-images")?.report.kept_images.unwrap_or_default();
    let outcomes = {
        let saver = std::cell::RefCell::new(&mut saver);
        let ours = |via: &'static str| {
            let (saver, images) = (&saver, &images);
            move || {
                end(guest, process)?;
                by(&mut saver.borrow_mut(), images, via)
            }
        };
        race(
            options.rounds,
            &mut [
                Contestant::new(DISK, ours("disk")),
                Contestant::new(PORT, ours("port")),
                Contestant::new(CRIU, || {
                    end(guest, process)?;
                    let seconds = guest.timed(&restoring(&kept))?;
                    Ok(vec![("command", seconds), ("rate", bytes as f64 / seconds)])
                }),
            ],
        )?
    };
    let restored = verdict(&mut saver, guest, process, &images)?;
    end(guest, process)?;
    guest.sh(&format!("rm -rf {kept}"))?;
    saver.discard(&images)?;
    Ok((outcomes, restored))
}

fn by(saver: &mut Saver<'_>, images: &Path, via: &str) -> Result<Figures> {
    let restored = saver.restore(images, &format!("--via {via}"))?;
    let report = restored.report;
    Ok(vec![
        ("command", restored.seconds),
        ("rate", report.rate),
        ("preflight", report.preflight.as_secs_f64()),
        ("transfer", report.transfer.as_secs_f64()),
        ("restore", report.restore.as_secs_f64()),
        ("end", report.end.as_secs_f64()),
    ])
}

/// Whether the process has what it had.
fn verdict(
    saver: &mut Saver<'_>,
    guest: &Guest,
    process: &Running,
    images: &Path,
) -> Result<Restored> {
    end(guest, process)?;
    saver.restore(images, "--via disk")?;
    Ok(guest.examine(process).map_or_else(Restored::Failed, |()| Restored::Right))
}

/// Ends the process, where it is there.
fn end(guest: &Guest, process: &Running) -> Result<()> {
    let pid = process.pid;
    let wait = format!("while [ -d /proc/{pid} ]; do sleep 0.05; done");
    guest.sh(&format!("kill -KILL -{pid} 2>/dev/null; {wait}")).map(drop)
}

/// The command in the guest, as ours starts it there.
fn restoring(images: &str) -> String {
    format!(
        "GLIBC_TUNABLES=glibc.pthread.rseq=0 criu restore -D {images} -W {images} -o bench.log \
         --restore-detached </dev/null >/dev/null 2>&1"
    )
}
