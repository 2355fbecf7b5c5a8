//! VMs of our own, by `qemu-scripts/vm`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::error::{BenchError, Result};
use super::pin::{pin, threads};
use super::process::{Interrupt, output};
use super::programs::Program;
use super::{Options, domain};

/// How long a boot may take; the first one builds the image.
const BOOT_LIMIT: Duration = Duration::from_secs(900);
/// How long a command in a guest may take, under load also.
pub const LIMIT: Duration = Duration::from_secs(600);
/// Where programs lie in a guest.
const FOLDER: &str = "/var/tmp/bench";

/// How a VM is made.
#[derive(Clone, Copy, Debug)]
pub struct Make {
    /// RAM in MiB.
    pub memory: u64,
    /// Virtual CPUs.
    pub cpus: u32,
}

/// What `vm info` says.
#[derive(Debug, Deserialize)]
struct Info {
    kernel: String,
    accel: String,
    cpu: String,
    machine: String,
    memory: u64,
    cpus: u32,
    memory_backend: String,
    pid: i32,
}

/// A VM, which ends with this.
#[derive(Debug)]
pub struct Guest {
    tool: PathBuf,
    name: String,
    interrupt: Interrupt,
}

/// A process in a guest that leads a session.
#[derive(Clone, Debug)]
pub struct Running {
    /// Its PID there.
    pub pid: i32,
    /// The program.
    pub program: Program,
    /// The file that it tells of itself in.
    pub file: String,
}

impl Guest {
    /// Boots one.
    pub fn boot(options: &Options, make: Make) -> Result<Self> {
        static BOOTED: AtomicU32 = AtomicU32::new(0);
        options.interrupt.check()?;
        let number = BOOTED.fetch_add(1, Ordering::Relaxed);
        let guest = Self {
            tool: options.scripts.join("vm"),
            name: format!("bench-{}-{number}", std::process::id()),
            interrupt: options.interrupt.clone(),
        };
        let (memory, cpus) = (format!("{}M", make.memory), make.cpus.to_string());
        let arguments = ["--kernel", &options.kernel, "--memory", &memory, "--cpus", &cpus];
        guest.vm("up", &arguments, BOOT_LIMIT)?;
        guest.sh(&format!("mkdir -p {FOLDER} && mount -o remount,size=75% /run"))?;
        Ok(guest)
    }

    /// Its name, as `--domain` takes it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is, for a report.
    pub fn description(&self) -> Result<String> {
        let info = self.info()?;
        Ok(format!(
            "VM: {} MiB ({}), {} × {} by {}, {}, guest kernel {}",
            info.memory >> 20,
            info.memory_backend,
            info.cpus,
            info.cpu,
            info.accel,
            info.machine,
            info.kernel,
        ))
    }

    /// Keeps its virtual CPUs on one CPU of the host and the other threads of its
    /// QEMU on others. Says so.
    pub fn pin(&self, vcpus: usize, rest: &[usize]) -> Result<String> {
        let pid = self.info()?.pid;
        let of_vcpus = domain::vcpu_threads(&self.name)?;
        for thread in threads(pid)? {
            match of_vcpus.contains(&thread) {
                true => pin(thread, &[vcpus])?,
                false => pin(thread, rest)?,
            }
        }
        Ok(format!("the VM's virtual CPUs on CPU {vcpus}, its QEMU's other threads on {rest:?}"))
    }

    fn info(&self) -> Result<Info> {
        let text = self.vm("info", &[], LIMIT)?;
        let misunderstood =
            |error: serde_json::Error| BenchError::command("vm info", error.to_string());
        serde_json::from_str(&text).map_err(misunderstood)
    }

    /// Runs a shell script that must succeed; returns its output.
    pub fn sh(&self, script: &str) -> Result<String> {
        self.vm("exec", &["--", "sh", "-c", script], LIMIT)
    }

    /// Runs a command that must succeed and prints nothing. Returns its seconds by
    /// the guest's clock, so that the way to the guest does not count.
    pub fn timed(&self, command: &str) -> Result<f64> {
        let script = format!(
            "export LC_ALL=C; began=$EPOCHREALTIME; {command} || exit; \
             echo $began $EPOCHREALTIME"
        );
        let text = self.vm("exec", &["--", "bash", "-c", &script], LIMIT)?;
        let mut times = text.trim_end().split(' ').map(str::parse::<f64>);
        match (times.next(), times.next()) {
            (Some(Ok(began)), Some(Ok(ended))) => Ok(ended - began),
            _ => Err(BenchError::command(command, format!("misunderstood: {text}"))),
        }
    }

    /// Starts a command in a session of its own and returns its PID.
    pub fn spawn(&self, command: &[&str]) -> Result<i32> {
        let text = self.vm("spawn", &[&["--"], command].concat(), LIMIT)?;
        let pid = text.trim().parse();
        pid.map_err(|_| BenchError::command("vm spawn", format!("misunderstood: {text}")))
    }

    /// Starts a program of ours with a file of its own as its first argument, and
    /// waits until it has all that it is to have.
    pub fn start(
        &self,
        options: &Options,
        program: Program,
        arguments: &[String],
    ) -> Result<Running> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let path = self.install(options, program)?;
        let file = format!("{path}.{}", STARTED.fetch_add(1, Ordering::Relaxed));
        let mut command = Vec::new();
        if options.kernel == "5.10" {
            // Or the CRIU in the guest refuses it: `PTRACE_GET_RSEQ_CONFIGURATION` came
            // with 5.13.
            command.extend(["env", "GLIBC_TUNABLES=glibc.pthread.rseq=0"]);
        }
        command.extend([path.as_str(), &file]);
        command.extend(arguments.iter().map(String::as_str));
        let pid = self.spawn(&command)?;
        let running = Running { pid, program, file };
        let wait = format!(
            "while ! [ -e {0} ]; do [ -d /proc/{pid} ] || exit 1; sleep 0.1; done; rm {0}",
            running.file
        );
        let said = |error| {
            let log = self.sh(&format!("cat /var/tmp/{}.log", program.name())).unwrap_or_default();
            BenchError::command(program.name(), format!("{error} {}", log.trim()))
        };
        self.sh(&wait).map_err(said)?;
        Ok(running)
    }

    /// Puts a program there, where it lacks, and returns its path.
    pub fn install(&self, options: &Options, program: Program) -> Result<String> {
        let path = format!("{FOLDER}/{}", program.name());
        let built = program.build(options.programs(), &self.interrupt)?;
        if self.sh(&format!("test -x {path}")).is_err() {
            self.push(&built, &path)?;
        }
        Ok(path)
    }

    fn push(&self, here: &Path, there: &str) -> Result<()> {
        self.vm("push", &[&here.to_string_lossy(), there], LIMIT).map(drop)
    }

    /// Ends a process and all of its group.
    pub fn end(&self, running: &Running) -> Result<()> {
        let Running { pid, file, .. } = running;
        // A `--` before the group would be one to dash's.
        self.sh(&format!("kill -KILL -{pid}; rm -f {file}"))?;
        self.wait_for_end(running)
    }

    /// Waits until nothing is left of a program and what it has started, which
    /// init reaps one by one.
    pub fn wait_for_end(&self, running: &Running) -> Result<()> {
        let pid = running.pid;
        self.sh(&format!("while kill -0 -{pid} 2>/dev/null; do sleep 0.05; done")).map(drop)
    }

    /// Whether a process is well: that it runs its program, and where that can
    /// tell, that its memory holds what it is to hold.
    pub fn examine(&self, running: &Running) -> std::result::Result<(), String> {
        let Running { pid, program, file } = running;
        let exe = format!("readlink /proc/{pid}/exe");
        let exe = self.sh(&exe).map_err(|error| error.to_string())?;
        if !exe.trim_end().ends_with(&format!("/{}", program.name())) {
            return Err(format!("process {pid} runs {}", exe.trim_end()));
        }
        if *program != Program::Hold {
            return Ok(());
        }
        let began = Instant::now();
        self.sh(&format!("kill -USR1 {pid}")).map_err(|error| error.to_string())?;
        while began.elapsed() < LIMIT {
            let said = self.sh(&format!("cat {file} 2>/dev/null; test -d /proc/{pid}"));
            match said.map_err(|error| format!("the process died: {error}"))?.trim() {
                "" => std::thread::sleep(Duration::from_millis(100)),
                "right" => return Ok(()),
                said => return Err(format!("its memory is {said}")),
            }
        }
        Err("it does not answer".to_owned())
    }

    fn vm(&self, action: &str, arguments: &[&str], limit: Duration) -> Result<String> {
        let mut command = Command::new(&self.tool);
        command.args([action, &self.name]).args(arguments);
        output(&mut command, limit, &self.interrupt)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Also after Ctrl-C, which this one is not told of.
        let mut command = Command::new(&self.tool);
        command.args(["down", &self.name]);
        if let Err(error) = output(&mut command, BOOT_LIMIT, &Interrupt::default()) {
            // One that has not come up is gone already.
            tracing::debug!("{error}");
        }
    }
}
