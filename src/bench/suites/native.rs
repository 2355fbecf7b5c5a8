//! The same program on the host itself, dumped by a stock CRIU: the hardest
//! yardstick there is, as nothing of it is emulated.

use super::{affordable, guest_memory, size};
use crate::bench::error::Result;
use crate::bench::guest::{Guest, Make};
use crate::bench::measure::{Contestant, race};
use crate::bench::native::Native;
use crate::bench::ours::Saver;
use crate::bench::programs::Program;
use crate::bench::report::{Point, Section, SuiteReport, Unit};
use crate::bench::{OURS, Options};

/// Memory of the process, in MiB: a minimal one and a large one.
const SIZES: &[u64] = &[0, 2048];
const QUICK: &[u64] = &[0, 64];
const CRIU: &str = "CRIU on the host";

/// Runs the suite.
pub fn run(options: &Options, report: &mut SuiteReport) -> Result<()> {
    let wanted = if options.quick { QUICK } else { SIZES };
    // The VM, the process of the host, the images.
    let sizes = affordable(wanted, |size| guest_memory(size) + 2 * size, report)?;
    let mut native = Native::enter(options, &options.tmpfs)?;
    report.note(format!(
        "CRIU {} of Debian sid, in a root directory and a mount namespace of its own, dumps a process \
         of the host; ovmigrate saves one in the VM. Whole commands from the shell, images in {}",
        native.version(),
        options.tmpfs.display(),
    ));
    let largest = sizes.iter().copied().max().unwrap_or_default();
    let guest = Guest::boot(options, Make { memory: guest_memory(largest), cpus: 2 })?;
    report.note(guest.description()?);
    report.note("nothing is pinned");
    let mut section = Section::new("Time of the whole command", "memory", Unit::Seconds);
    for &mebibytes in &sizes {
        let label = if mebibytes == 0 { "minimal".to_owned() } else { size(mebibytes) };
        (options.progress)(&format!("native: {label}"));
        let arguments = [mebibytes.to_string()];
        let process = guest.start(options, Program::Hold, &arguments)?;
        let pid = native.start(options, Program::Hold, &arguments)?;
        let mut saver = Saver::new(options, &guest, &options.tmpfs)?;
        let outcomes = race(
            options.rounds,
            &mut [
                Contestant::new(OURS, || Ok(saver.save(&process)?.figures())),
                Contestant::new(CRIU, || Ok(vec![("command", native.dump(pid)?.seconds)])),
            ],
        );
        native.end(pid);
        let outcomes = outcomes?;
        let restored = saver.prove(&process)?;
        guest.end(&process)?;
        section.points.push(Point::of(label, None, &outcomes, "command").proven(restored));
    }
    report.sections.push(section.comparing(OURS, CRIU));
    Ok(())
}
