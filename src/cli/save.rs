//! `ovmigrate save`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use ovmigrate::save::{self, Afterwards, Observer, SaveOptions, SaveReport};
use ovmigrate::sink::{self, DirectoryOptions, DirectorySink};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::AttachArgs;
use super::check::check;
use super::effort::EffortArgs;
use super::output::{escaped, milliseconds, print, print_json};
use super::remark::add_remarks;
use super::state::StateArgs;

/// Save a process and its descendants as images that criu restore accepts.
///
/// The processes are frozen, their state and pages are read out of guest memory
/// and written to a directory, and once they are durable and were checked, all
/// are killed, as criu dump does. Nothing runs in the VM meanwhile. On any
/// failure, and on Ctrl-C, they go on as if nothing had been. If ovmigrate
/// itself is killed, they stay frozen: `ovmigrate thaw --tree` lets them go.
///
/// State that cannot be saved is refused by name before anything is touched;
/// `ovmigrate check` lists all of it.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  $ ovmigrate save --domain vm1 --pid 100453 --images-dir /var/tmp/saved
  process 100453 (counter) saved in /var/tmp/saved: 1 thread, 56.00 KiB of pages from mapped memory
  frozen for 24.8 ms, the VM stood still for 12.0 ms; the process was killed
  $ ovmigrate restore --domain vm2 --images-dir /var/tmp/saved")]
pub struct Save {
    #[command(flatten)]
    vm: AttachArgs,
    /// The process: its PID as root in the VM sees it.
    #[arg(short, long)]
    pid: i32,
    /// Where the images go: a new or an empty directory.
    #[arg(short = 'D', long, value_name = "DIR", required_unless_present = "dry_run")]
    images_dir: Option<PathBuf>,
    /// Let the process go on afterwards.
    #[arg(short = 'R', long, conflicts_with = "leave_stopped")]
    leave_running: bool,
    /// Leave the process frozen afterwards.
    #[arg(short = 's', long)]
    leave_stopped: bool,
    /// How to freeze the process.
    #[arg(long, value_enum, default_value_t)]
    freeze: How,
    /// How long the process may take to freeze and to die, and the guest to finish
    /// moving its pages.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    state: StateArgs,
    /// Whether pages go past the host's page cache.
    #[arg(long, value_enum, default_value_t)]
    direct: Direct,
    /// Do not wait until the images are durable: a crash of the host can lose them,
    /// and the process with them. For tests.
    #[arg(long)]
    no_sync: bool,
    #[command(flatten)]
    effort: EffortArgs,
    /// Only list what stands in the way, as `ovmigrate check` does.
    #[arg(long)]
    dry_run: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Whether pages go past the host's page cache.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Direct {
    /// Where the file system can and lies on a device.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// How a process is frozen.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum How {
    /// By the kernel's freezer trap, which nobody in the VM notices.
    #[default]
    Trap,
    /// By SIGSTOP, which its parent is told of.
    Signal,
}

impl Save {
    pub fn run(self) -> Result<()> {
        self.effort.confine()?;
        let attachment = self.vm.attach()?;
        let Some(dir) = self.images_dir.as_ref().filter(|_| !self.dry_run) else {
            return check(&attachment, Some(self.pid), &self.state, self.json);
        };
        let options = SaveOptions {
            freeze: match self.freeze {
                How::Trap => save::Freeze::Trap,
                How::Signal => save::Freeze::Signal,
            },
            afterwards: self.afterwards(),
            timeout: self.timeout,
            for_criu: self.state.for_criu,
            limits: self.state.limits(),
            effort: self.effort.effort(),
        };
        let how = DirectoryOptions {
            direct: match self.direct {
                Direct::Auto => sink::Direct::Auto,
                Direct::On => sink::Direct::On,
                Direct::Off => sink::Direct::Off,
            },
            sync: !self.no_sync,
        };
        let sink = || DirectorySink::create(dir, how).map(|sink| Box::new(sink) as _);
        let mut progress = Progress::new()?;
        let report = save::save(&attachment, self.pid, options, sink, &mut progress)?;
        progress.bar.finish_and_clear();
        if self.json { print_json(&report) } else { self.tell(&report, dir) }
    }

    fn afterwards(&self) -> Afterwards {
        if self.leave_running {
            Afterwards::LeaveRunning
        } else if self.leave_stopped {
            Afterwards::LeaveStopped
        } else {
            Afterwards::Kill
        }
    }

    fn tell(&self, report: &SaveReport, dir: &std::path::Path) -> Result<()> {
        let SaveReport { pid, comm, page_bytes, memory, durations, vm_paused, .. } = report;
        tracing::info!(
            "pages were written {}",
            match &report.sink.pages_io {
                Some(how) => how.to_string(),
                None => "not at all".to_owned(),
            }
        );
        let others = match report.processes.saturating_sub(1) {
            0 => String::new(),
            1 => " and 1 descendant".to_owned(),
            others => format!(" and {others} descendants"),
        };
        let mut text = format!(
            "process {pid} ({}){others} saved in {}: {}, {} of pages from {memory}\n\
             frozen for {}, the VM stood still for {}; {}\n",
            escaped(comm),
            dir.display(),
            counted(report.threads, "thread"),
            HumanBytes(*page_bytes),
            milliseconds(durations.frozen),
            milliseconds(vm_paused.total),
            self.fate(report),
        );
        add_remarks(&mut text, &report.not_kept);
        print(&text)
    }

    /// What has become of the processes.
    fn fate(&self, report: &SaveReport) -> String {
        let one = report.processes == 1;
        let who = if one { "the process" } else { "the processes" };
        match self.afterwards() {
            Afterwards::Kill => format!("{who} {} killed", if one { "was" } else { "were" }),
            Afterwards::LeaveRunning => format!("{who} {} on", if one { "runs" } else { "run" }),
            Afterwards::LeaveStopped => {
                let target = format!("{} --pid {}", self.vm.domain.arguments(), report.pid);
                let (is, it) = if one { ("is", "it") } else { ("are", "them") };
                let undo = match self.freeze {
                    How::Trap if one => format!("ovmigrate thaw {target}"),
                    How::Trap => format!("ovmigrate thaw {target} --tree"),
                    How::Signal if one => format!("ovmigrate signal {target} CONT"),
                    How::Signal => format!("ovmigrate signal {target} CONT, and so on for each"),
                };
                format!("{who} {is} left frozen; let {it} go with: {undo}")
            }
        }
    }
}

/// A number of things, in words.
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A progress bar on a terminal, and whether the user pressed Ctrl-C.
struct Progress {
    bar: ProgressBar,
    interrupted: Arc<AtomicBool>,
}

impl Progress {
    fn new() -> Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, interrupted.clone())
                .context("cannot catch signals")?;
        }
        let bar = ProgressBar::hidden();
        bar.set_style(ProgressStyle::with_template(
            "{spinner} {bytes}/{total_bytes} {wide_bar} {binary_bytes_per_sec} {eta}",
        )?);
        Ok(Self { bar, interrupted })
    }
}

impl Observer for Progress {
    fn frozen(&mut self, pid: i32) {
        tracing::info!("process {pid} is frozen");
        self.bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
    }

    fn pages(&mut self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}
