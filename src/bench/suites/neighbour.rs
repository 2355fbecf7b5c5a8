//! What saves of one process cost another one in the same VM: a memcached.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::load::dump;
use super::{apart, size};
use crate::bench::error::{BenchError, Result};
use crate::bench::guest::{Guest, Make};
use crate::bench::measure::{Contestant, Figures, race};
use crate::bench::ours::Saver;
use crate::bench::pin::Pinned;
use crate::bench::programs::Program;
use crate::bench::report::{Point, Section, SuiteReport, Unit};
use crate::bench::{OURS, Options};

/// Memory of the process that is saved, in MiB.
const MEMORY: u64 = 128;
const QUICK: u64 = 32;
/// How long memcached is asked in each run, in seconds.
const WINDOW: u32 = 20;
const QUICK_WINDOW: u32 = 5;
const SOCKET: &str = "/run/bench-memcached";
const NOBODY: &str = "no save";
const CRIU: &str = "CRIU in the VM";

/// Runs the suite.
pub fn run(options: &Options, report: &mut SuiteReport) -> Result<()> {
    let (mebibytes, window) = if options.quick { (QUICK, QUICK_WINDOW) } else { (MEMORY, WINDOW) };
    let guest = Guest::boot(options, Make { memory: 2048, cpus: 1 })?;
    report.note(guest.description()?);
    let (cpus, note) = apart(&guest)?;
    report.note(note);
    report.note(format!(
        "cache_load asks memcached for {window} s in each run, both in the VM; meanwhile a process of \
         {} is saved over and over, to memory",
        size(mebibytes)
    ));
    let _pinned = Pinned::to(&cpus)?;
    (options.progress)("neighbour");
    guest.spawn(&["memcached", "-u", "root", "-t", "1", "-m", "64", "-s", SOCKET])?;
    guest
        .sh(&format!("for i in $(seq 100); do [ -S {SOCKET} ] && exit; sleep 0.1; done; false"))?;
    let client = guest.install(options, Program::CacheLoad)?;
    guest.sh(&format!("{client} {SOCKET} fill"))?;
    let ask = format!("{client} {SOCKET} {window}");
    let process = guest.start(options, Program::Hold, &[mebibytes.to_string()])?;
    let mut saver = Saver::new(options, &guest, &options.tmpfs)?;
    let outcomes = race(
        options.rounds,
        &mut [
            Contestant::new(NOBODY, || answer(&guest.sh(&ask)?)),
            Contestant::new(OURS, || {
                meanwhile(&guest, &ask, || saver.save(&process).map(|saved| saved.seconds))
            }),
            Contestant::new(CRIU, || meanwhile(&guest, &ask, || dump(&guest, &process))),
        ],
    )?;
    let restored = saver.prove(&process)?;
    guest.end(&process)?;
    let point = |figure| Point::of("memcached", None, &outcomes, figure);
    let mut throughput = Section::new("Operations of memcached", "", Unit::PerSecond);
    throughput.points.push(point("throughput").proven(restored));
    let throughput = throughput.comparing(OURS, NOBODY).comparing(CRIU, NOBODY);
    let mut latency = Section::new("Latency of memcached", "", Unit::Seconds);
    for (figure, label) in [("half", "median"), ("most", "99 %"), ("worst", "all")] {
        latency.points.push(Point::of(label, None, &outcomes, figure));
    }
    let latency = latency.comparing(OURS, NOBODY).comparing(CRIU, NOBODY);
    let mut saves = Section::new("Saves meanwhile", "", Unit::Count);
    saves.points.push(Point::of("saves", None, &outcomes[1..], "saves"));
    let mut seconds = Section::new("Time of each save meanwhile", "", Unit::Seconds);
    seconds.points.push(Point::of("mean", None, &outcomes[1..], "mean"));
    report.sections.extend([throughput, latency, saves, seconds]);
    Ok(())
}

/// Asks memcached while `save` runs over and over.
fn meanwhile(guest: &Guest, ask: &str, mut save: impl FnMut() -> Result<f64>) -> Result<Figures> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let said = guest.sh(ask);
            is_over.store(true, Ordering::Relaxed);
            said
        });
        let (mut count, mut seconds) = (0, 0.0);
        let mut failure = None;
        while !is_over.load(Ordering::Relaxed) && failure.is_none() {
            match save() {
                Ok(took) => {
                    count += 1;
                    seconds += took;
                }
                Err(error) => failure = Some(error),
            }
        }
        let said = asking.join().unwrap_or_else(|_| {
            Err(BenchError::command("cache_load", "the thread that waits for it has ended"))
        });
        if let Some(error) = failure {
            return Err(error);
        }
        let mut figures = answer(&said?)?;
        figures.extend([("saves", f64::from(count)), ("mean", seconds / f64::from(count.max(1)))]);
        Ok(figures)
    })
}

/// What cache_load prints.
fn answer(said: &str) -> Result<Figures> {
    let numbers: Vec<f64> = said.split_whitespace().flat_map(str::parse).collect();
    match numbers[..] {
        [throughput, half, most, worst] => {
            Ok(vec![("throughput", throughput), ("half", half), ("most", most), ("worst", worst)])
        }
        _ => Err(BenchError::command("cache_load", format!("misunderstood: {said}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_load_prints_is_four_numbers() {
        let figures = answer("5000.125 0.000150000 0.002 0.5\n").unwrap();
        assert_eq!(figures[0], ("throughput", 5000.125));
        assert_eq!(figures[3], ("worst", 0.5));
        assert!(answer("").is_err() && answer("1 2 3").is_err());
    }
}
