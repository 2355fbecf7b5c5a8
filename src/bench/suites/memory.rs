//! Saves where the host has less memory free than the process has: what goes
//! through the page cache has to wait for the disk then.

use super::{guest_memory, size};
use crate::bench::cgroup::Cgroup;
use crate::bench::error::Result;
use crate::bench::guest::{Guest, Make};
use crate::bench::measure::{Contestant, race};
use crate::bench::native::Native;
use crate::bench::ours::Saver;
use crate::bench::programs::Program;
use crate::bench::report::{Point, Section, SuiteReport, Unit};
use crate::bench::{OURS, Options};

/// Memory of the process, in MiB, and what part of it the host has.
const MEMORY: u64 = 1024;
const QUICK: u64 = 128;
const PART: u64 = 4;
const OURS_LIMITED: &str = "ovmigrate, limited";
const CRIU: &str = "CRIU on the host";
const CRIU_LIMITED: &str = "CRIU on the host, limited";

/// Runs the suite.
pub fn run(options: &Options, report: &mut SuiteReport) -> Result<()> {
    let mebibytes = if options.quick { QUICK } else { MEMORY };
    let group = Cgroup::with_memory((mebibytes / PART) << 20)?;
    let mut native = Native::enter(options, &options.disk)?;
    let guest = Guest::boot(options, Make { memory: guest_memory(mebibytes), cpus: 2 })?;
    report.note(guest.description()?);
    report.note(format!(
        "limited: in a control group with {}; CRIU {} on a process of the host. Whole commands, images \
         in {}; ovmigrate waits until they are durable, CRIU does not. Nothing is pinned",
        size(mebibytes / PART),
        native.version(),
        options.disk.display(),
    ));
    (options.progress)(&format!("memory: {}", size(mebibytes)));
    let arguments = [mebibytes.to_string()];
    let process = guest.start(options, Program::Hold, &arguments)?;
    let pid = native.start(options, Program::Hold, &arguments)?;
    let mut plenty = Saver::new(options, &guest, &options.disk)?;
    let mut limited = Saver::new(options, &guest, &options.disk)?;
    group.enter(limited.shell())?;
    let native = std::cell::RefCell::new(&mut native);
    let outcomes = race(
        options.rounds,
        &mut [
            Contestant::new(OURS, || Ok(plenty.save(&process)?.figures())),
            Contestant::new(OURS_LIMITED, || Ok(limited.save(&process)?.figures())),
            Contestant::new(CRIU, || Ok(vec![("command", native.borrow_mut().dump(pid)?.seconds)])),
            Contestant::new(CRIU_LIMITED, || {
                let mut native = native.borrow_mut();
                group.enter(native.shell())?;
                let dumped = native.dump(pid);
                group.leave(native.shell())?;
                Ok(vec![("command", dumped?.seconds)])
            }),
        ],
    )?;
    native.borrow_mut().end(pid);
    let restored = limited.prove(&process)?;
    let mut section = Section::new("Time of the whole command", "memory", Unit::Seconds);
    section.points.push(Point::of(size(mebibytes), None, &outcomes, "command").proven(restored));
    let section = section.comparing(OURS_LIMITED, OURS).comparing(CRIU_LIMITED, CRIU);
    report.sections.push(section.comparing(OURS_LIMITED, CRIU_LIMITED));
    Ok(())
}
