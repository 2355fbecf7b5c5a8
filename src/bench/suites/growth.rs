//! What a save's time grows with: resident memory, memory that is mapped but was
//! never touched, the VM's memory, and how many a process has of one thing.

use super::size;
use crate::bench::error::{BenchError, Result};
use crate::bench::guest::{Guest, Make, Running};
use crate::bench::measure::{Contestant, Outcome, race};
use crate::bench::ours::Saver;
use crate::bench::programs::Program;
use crate::bench::report::{Point, Restored, Section, SuiteReport, Unit};
use crate::bench::shell::quoted;
use crate::bench::{OURS, Options, scratch};

/// What is told of each save.
const FIGURES: [&str; 3] = ["command", "frozen", "paused"];
/// Resident memory, in MiB.
const RESIDENT: &[u64] = &[0, 8, 64, 256, 1024];
/// Mapped and never touched, in MiB.
const UNTOUCHED: &[u64] = &[0, 1024, 64 << 10];
/// Memory of the VM, in MiB, with a process of 8 MiB in it.
const VMS: [u64; 2] = [1024, 8192];
const IN_VMS: u64 = 8;
/// What is measured beside saves: `ovmigrate ps`, and that where no kernel is known.
const LIST: &str = "ps";
const LIST_COLD: &str = "ps, nothing cached";
/// What `many` is given more of, in the order of its arguments.
const KINDS: [&str; 4] = ["processes", "threads", "descriptors", "areas of memory"];
const COUNTS: &[u32] = &[1, 100, 300, 900];

/// Runs the suite.
pub fn run(options: &Options, report: &mut SuiteReport) -> Result<()> {
    report.note(format!(
        "command: all of it, from the shell; frozen: the process does not run; paused: the VM stands still. \
         All to {}. Nothing is pinned",
        options.disk.display()
    ));
    let few = |all: &'static [u64]| if options.quick { &all[..all.len() - 1] } else { all };
    {
        let guest = Guest::boot(options, Make { memory: 4096, cpus: 2 })?;
        report.note(guest.description()?);
        let resident = |mebibytes| vec![mebibytes];
        let section = memory(options, &guest, "Resident memory", few(RESIDENT), resident)?;
        report.sections.push(section);
        let title = "Memory mapped and never touched, beside 8 MiB";
        let section =
            memory(options, &guest, title, few(UNTOUCHED), |mebibytes| vec![8, mebibytes])?;
        report.sections.push(section);
        for position in 0..KINDS.len() {
            report.sections.push(counts(options, &guest, position)?);
        }
    }
    let section = vms(options, report)?;
    report.sections.push(section);
    Ok(())
}

/// Saves of `hold` with ever more memory.
fn memory(
    options: &Options,
    guest: &Guest,
    title: &str,
    sizes: &[u64],
    arguments: impl Fn(u64) -> Vec<u64>,
) -> Result<Section> {
    let mut section = Section::new(title, "memory", Unit::Seconds);
    for &mebibytes in sizes {
        (options.progress)(&format!("growth: {title}: {}", size(mebibytes)));
        let arguments: Vec<String> = arguments(mebibytes).iter().map(u64::to_string).collect();
        let process = guest.start(options, Program::Hold, &arguments)?;
        let x = Some((mebibytes << 20) as f64);
        section.points.push(point(options, guest, &process, &size(mebibytes), x)?);
    }
    Ok(section.against_first())
}

/// Saves of `many` with ever more of one kind and one of each other.
fn counts(options: &Options, guest: &Guest, position: usize) -> Result<Section> {
    let kind = KINDS[position];
    let mut section = Section::new(format!("Number of {kind}"), kind, Unit::Seconds);
    let counts = if options.quick { &COUNTS[..2] } else { COUNTS };
    for count in counts {
        (options.progress)(&format!("growth: {count} {kind}"));
        let mut arguments = ["1"; KINDS.len()].map(str::to_owned);
        arguments[position] = count.to_string();
        let process = guest.start(options, Program::Many, &arguments)?;
        let x = Some(f64::from(*count));
        section.points.push(point(options, guest, &process, &count.to_string(), x)?);
    }
    Ok(section.against_first().with_costs())
}

/// Measures saves of a process, restores it once and ends it.
fn point(
    options: &Options,
    guest: &Guest,
    process: &Running,
    label: &str,
    x: Option<f64>,
) -> Result<Point> {
    let outcome = saves(options, guest, process)?;
    let restored = Saver::new(options, guest, &options.disk)?.prove(process)?;
    guest.end(process)?;
    Ok(Point::of_figures(label, x, &outcome, &FIGURES).proven(restored))
}

fn saves(options: &Options, guest: &Guest, process: &Running) -> Result<Outcome> {
    let mut saver = Saver::new(options, guest, &options.disk)?;
    let run = || Ok(saver.save(process)?.figures());
    let mut outcomes = race(options.rounds, &mut [Contestant::new(OURS, run)])?;
    outcomes.pop().ok_or_else(|| BenchError::Lacks("no outcome".to_owned()))
}

/// Saves of the same program in VMs of different size, in turn, and what listing
/// processes takes there.
fn vms(options: &Options, report: &mut SuiteReport) -> Result<Section> {
    let mut guests = Vec::new();
    for mebibytes in VMS {
        (options.progress)(&format!("growth: a VM of {}", size(mebibytes)));
        let guest = Guest::boot(options, Make { memory: mebibytes, cpus: 2 })?;
        report.note(guest.description()?);
        let process = guest.start(options, Program::Hold, &[IN_VMS.to_string()])?;
        guests.push((in_vm(mebibytes), guest, process));
    }
    let caches = scratch(&options.disk)?;
    let mut contestants = Vec::new();
    for (name, guest, process) in &guests {
        let mut saver = Saver::new(options, guest, &options.disk)?;
        let caches = scratch(caches.path())?;
        let mut run = 0;
        contestants.push(Contestant::new(name, move || {
            let mut figures = saver.save(process)?.figures();
            figures.push((LIST, saver.run("ps", "")?));
            run += 1;
            let cache = caches.path().join(run.to_string());
            let cache = format!("OVMIGRATE_CACHE_DIR={}", quoted(&cache.to_string_lossy()));
            figures.push((LIST_COLD, saver.run("ps", &cache)?));
            Ok(figures)
        }));
    }
    let outcomes = race(options.rounds, &mut contestants)?;
    drop(contestants);
    let title = format!("Memory of the VM, with a process of {}", size(IN_VMS));
    let mut section = Section::new(title, "", Unit::Seconds);
    for figure in FIGURES.into_iter().chain([LIST, LIST_COLD]) {
        section.points.push(Point::of(figure, None, &outcomes, figure));
    }
    let mut restored = Restored::Right;
    for (_, guest, process) in &guests {
        let verdict = Saver::new(options, guest, &options.disk)?.prove(process)?;
        restored = if restored == Restored::Right { verdict } else { restored };
    }
    section.points[0].restored = Some(restored);
    let [small, large] = [VMS[0], VMS[1]].map(in_vm);
    Ok(section.comparing(&large, &small))
}

fn in_vm(mebibytes: u64) -> String {
    format!("{OURS}, VM of {}", size(mebibytes))
}
