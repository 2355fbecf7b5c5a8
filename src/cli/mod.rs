//! The command line: one file for each subcommand, whose doc comment is its
//! manual.
//!
//! Exit status: 0 on success, 1 on failure, 2 for a wrong command line. Results
//! go to standard output, all else to standard error; a failure is one line
//! that begins with `error: `.

mod bench;
mod check;
mod effort;
mod freeze;
mod inspect;
mod output;
mod profile;
mod ps;
mod remark;
mod restore;
mod save;
mod signal;
mod size;
mod state;
mod thaw;

use std::borrow::Cow;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use ovmigrate::attach::{AccessChoice, Attachment};
use ovmigrate::control::{ControlError, Deadline, Target};
use ovmigrate::domain::Pauses;
use ovmigrate::kernel::{GivenProfile, Knowledge};
use tracing_subscriber::EnvFilter;

/// Names what is logged, as `tracing_subscriber::EnvFilter` reads it, in place
/// of `--verbose`.
const LOG_VARIABLE: &str = "OVMIGRATE_LOG";

/// Moves a process and its descendants out of a running VM from the host.
///
/// Nothing is installed or run in the source VM: its processes are found, read,
/// frozen and signalled through its memory, which QEMU shares with the host or has
/// for itself.
#[derive(Debug, Parser)]
#[command(
    version,
    propagate_version = true,
    after_long_help = "\
Environment:
  OVMIGRATE_CACHE_DIR  where what is known of kernels and VMs is kept, in place of
                       the user's cache folder
  OVMIGRATE_PROFILES   folders with profiles of kernels, separated as in PATH
  OVMIGRATE_LOG        what is logged, as `debug` or `ovmigrate::save=trace`, in place
                       of --verbose"
)]
struct Cli {
    /// Say more on standard error: what is done and how long it takes; twice,
    /// also how.
    #[arg(short, long, action = ArgAction::Count, global = true)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Ps(ps::Ps),
    Inspect(inspect::Inspect),
    Signal(signal::Signal),
    Freeze(freeze::Freeze),
    Thaw(thaw::Thaw),
    Profile(profile::Profile),
    Check(check::Check),
    Save(save::Save),
    Restore(restore::Restore),
    Bench(bench::Bench),
}

impl Command {
    fn run(self) -> Result<()> {
        match self {
            Self::Ps(ps) => ps.run(),
            Self::Inspect(inspect) => inspect.run(),
            Self::Signal(signal) => signal.run(),
            Self::Freeze(freeze) => freeze.run(),
            Self::Thaw(thaw) => thaw.run(),
            Self::Profile(profile) => profile.run(),
            Self::Check(check) => check.run(),
            Self::Save(save) => save.run(),
            Self::Restore(restore) => restore.run(),
            Self::Bench(bench) => bench.run(),
        }
    }
}

/// Runs the command that the arguments ask for.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr(cli.verbose);
    match cli.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", output::one_line(&error));
            ExitCode::FAILURE
        }
    }
}

fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .without_time()
        .init();
}

/// Which VM.
#[derive(Debug, Args)]
struct DomainArg {
    /// The VM: the name of a running QEMU or libvirt domain, qmp:PATH or pid:PID.
    #[arg(short, long, value_name = "VM")]
    domain: String,
    /// The libvirt connection that has the VM, for example qemu:///session.
    ///
    /// Without it a VM that libvirt runs is looked for at LIBVIRT_DEFAULT_URI,
    /// else in the session of the user who owns its QEMU, and then at
    /// qemu:///system.
    #[arg(long, value_name = "URI")]
    connect: Option<String>,
}

impl DomainArg {
    /// As `Domain::find` takes it.
    fn spec(&self) -> Cow<'_, str> {
        match &self.connect {
            Some(uri) => format!("libvirt:{uri}#{}", self.domain).into(),
            None => (&self.domain).into(),
        }
    }

    /// As another command of ours takes it.
    fn arguments(&self) -> String {
        let connect = self.connect.as_ref().map(|uri| format!("--connect '{uri}' "));
        format!("{}--domain {}", connect.unwrap_or_default(), self.domain)
    }
}

/// Which VM, and which way to its memory.
#[derive(Debug, Args)]
struct AttachArgs {
    #[command(flatten)]
    domain: DomainArg,
    #[command(flatten)]
    how: HowArgs,
}

/// How a VM is read.
#[derive(Debug, Args)]
struct HowArgs {
    /// Which way to take to the VM's memory.
    #[arg(long, value_enum, default_value_t, hide_short_help = true)]
    access: AccessArg,
    /// Read the VM's kernel by this profile (a file, a release or a build ID)
    /// and not by what the VM's memory tells.
    #[arg(long, value_name = "PROFILE", requires = "domain", hide_short_help = true)]
    profile: Option<String>,
    /// Use the layouts of --profile even if it is of another kernel build. Where
    /// they differ, wrong memory is read, and written.
    #[arg(long, requires = "profile", hide_short_help = true)]
    force_profile: bool,
}

impl HowArgs {
    fn access(&self) -> AccessChoice {
        match self.access {
            AccessArg::Auto => AccessChoice::Auto,
            AccessArg::Map => AccessChoice::Map,
            AccessArg::Process => AccessChoice::Process,
        }
    }

    fn knowledge(&self) -> Result<Knowledge> {
        let mut knowledge = Knowledge::user();
        if let Some(name) = &self.profile {
            let known = knowledge.library.named(name, &knowledge.cache);
            let known = known.with_context(|| format!("--profile {name}"))?;
            knowledge.given = Some(GivenProfile { known, force: self.force_profile });
        }
        Ok(knowledge)
    }

    fn attach(&self, domain: &str) -> Result<Attachment> {
        Ok(Attachment::open_with(domain, &self.knowledge()?, self.access())?)
    }
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum AccessArg {
    /// Map what QEMU shares, reach the rest through the QEMU process.
    #[default]
    Auto,
    /// Map all; refuse a VM that does not share its memory.
    Map,
    /// Reach all through the QEMU process, as if it shared nothing.
    Process,
}

impl AttachArgs {
    fn attach(&self) -> Result<Attachment> {
        self.how.attach(&self.domain.spec())
    }
}

/// Which process of which VM, and how long to wait for it.
#[derive(Debug, Args)]
struct TargetArgs {
    #[command(flatten)]
    vm: AttachArgs,
    /// The process: its PID as root in the VM sees it.
    #[arg(short, long)]
    pid: i32,
    /// How long to wait until it takes effect, for example 500ms.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl TargetArgs {
    /// Attaches to the VM and acts on the process. Says how the VM stood still
    /// for it.
    fn act<T>(
        &self,
        act: impl FnOnce(&Attachment, Target<'_>, Deadline) -> Result<T, ControlError>,
    ) -> Result<(T, Pauses)> {
        let attachment = self.vm.attach()?;
        attachment.domain.claim()?;
        let target = Target::find(&attachment.kernel, self.pid)?;
        let result = act(&attachment, target, Deadline::within(self.timeout))?;
        let pauses = attachment.domain.take_pauses();
        tracing::info!("the VM stood still for {}", output::milliseconds(pauses.total));
        Ok((result, pauses))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_subcommand_has_a_manual_and_what_runs_has_an_example() {
        fn check(command: &clap::Command) {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name} has no manual");
            if command.has_subcommands() {
                command.get_subcommands().for_each(check);
            } else {
                let example = command.get_after_long_help().map(ToString::to_string);
                let example = example.unwrap_or_default();
                assert!(example.contains("$ ovmigrate "), "{name} has no example");
            }
        }
        Cli::command().get_subcommands().for_each(check);
    }
}
