//! Processes of the host itself, dumped by a stock CRIU: no VM, nothing in
//! between.
//!
//! The CRIU is that of Debian sid in a root directory of its own, built by
//! `qemu-scripts/native-criu`; that of the host's release may be too old for the
//! host's kernel. It runs in a mount namespace in which that directory is the
//! root of all, and so does the process, because CRIU finds files by the mounts
//! that it sees itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::error::{BenchError, Result};
use super::ours::remove_large;
use super::process::output;
use super::programs::Program;
use super::shell::{Shell, Timed};
use super::{Options, scratch};

/// How long the root directory may take to build.
const BUILD_LIMIT: Duration = Duration::from_secs(900);
const LIMIT: Duration = Duration::from_secs(600);
/// Where the directory of images and programs lies for CRIU.
const INSIDE: &str = "/mnt";
/// Makes the namespace. CRIU keeps what it found out of the kernel in /run if
/// that is a tmpfs, and finds it out anew each time if not. Of the descriptors
/// that we were started with CRIU would have to find the mounts.
const ENTER: &str = r#"
set -e
root=$1; images=$2; shift 2
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount -t tmpfs tmpfs "$root/run"
mount --bind "$images" "$root/mnt"
for fd in /proc/$$/fd/*; do
    fd=${fd##*/}
    [ "$fd" -le 2 ] || eval "exec $fd>&-"
done
exec chroot "$root" bash "$@"
"#;

/// A CRIU of the host, with the processes that it dumps.
pub struct Native {
    shell: Shell,
    version: String,
    directory: TempDir,
    started: Vec<i32>,
    count: u32,
}

impl Native {
    /// Enters the root directory, which is built first if need be. Images go below
    /// `place`.
    pub fn enter(options: &Options, place: &Path) -> Result<Self> {
        let mut build = Command::new(options.scripts.join("native-criu"));
        let root = output(&mut build, BUILD_LIMIT, &options.interrupt)?;
        let root = PathBuf::from(root.trim_end());
        let directory = scratch(place)?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "bash", "-c", ENTER, "bash"]);
        command.arg(&root).arg(directory.path());
        let mut shell = Shell::start_by(&mut command, &options.interrupt)?;
        let version = shell.run("criu --version", LIMIT)?.output;
        let version = version.lines().find_map(|line| line.strip_prefix("Version: "));
        let version = version.unwrap_or("of unknown version").trim().to_owned();
        Ok(Self { shell, version, directory, started: Vec::new(), count: 0 })
    }

    /// Which CRIU it is.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The PID of the shell that starts CRIU.
    pub fn shell(&self) -> u32 {
        self.shell.pid()
    }

    /// Starts a program of ours with a file of its own as its first argument, and
    /// waits until it has all that it is to have. Returns its PID.
    pub fn start(
        &mut self,
        options: &Options,
        program: Program,
        arguments: &[String],
    ) -> Result<i32> {
        let name = program.name();
        let here = self.directory.path().join(name);
        let built = program.build(options.programs(), &options.interrupt)?;
        // Over one that runs nothing can be written.
        let _ = fs::remove_file(&here);
        fs::copy(&built, &here).map_err(BenchError::io("write", &here))?;
        self.count += 1;
        let file = format!("{name}.{}", self.count);
        let arguments = arguments.join(" ");
        // Of a job that is none the shell does not tell the end.
        let line = format!(
            "setsid {INSIDE}/{name} {INSIDE}/{file} {arguments} </dev/null >/dev/null 2>&1 & pid=$!; \
             disown; echo $pid"
        );
        let pid = self.shell.run(&line, LIMIT)?.output;
        let misunderstood = || BenchError::command(name, format!("no PID: {pid}"));
        let pid: i32 = pid.trim().parse().map_err(|_| misunderstood())?;
        self.started.push(pid);
        let began = Instant::now();
        while !self.directory.path().join(&file).exists() {
            options.interrupt.check()?;
            if kill(Pid::from_raw(pid), None).is_err() || began.elapsed() > LIMIT {
                return Err(BenchError::command(name, "it does not start on the host"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(pid)
    }

    /// Dumps a process, which goes on. Its images go at once.
    pub fn dump(&mut self, pid: i32) -> Result<Timed> {
        self.count += 1;
        let name = format!("images.{}", self.count);
        let images = self.directory.path().join(&name);
        fs::create_dir(&images).map_err(BenchError::io("make", &images))?;
        let line = format!("criu dump -t {pid} -D {INSIDE}/{name} -o dump.log --leave-running");
        let dumped = self.shell.run(&line, LIMIT);
        remove_large(&images)?;
        dumped
    }

    /// Ends a process.
    pub fn end(&mut self, pid: i32) {
        // It is a child of the shell, so that the PID is no other's yet.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        self.started.retain(|&started| started != pid);
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        for pid in std::mem::take(&mut self.started) {
            self.end(pid);
        }
    }
}
