//! One VM, used through `qemu-scripts/vm`.

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use ovmigrate::attach::Attachment;
use ovmigrate::kernel::Knowledge;
use serde_json::Value;

use super::access;
use super::job::Job;
use super::{KernelLog, TestKernel, ovmigrate, programs, wait_for};

const VM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/qemu-scripts/vm");
/// What tests put into the guest lies here.
const FOLDER: &str = "/var/tmp/ovmigrate-tests";
/// The PID that was given last.
pub const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";

/// A VM that is up.
#[derive(Debug)]
pub struct Guest {
    pub name: &'static str,
    /// The libvirt connection that has it, if libvirt runs it.
    pub libvirt: Option<String>,
    /// What was started in it and is to be ended.
    started: RefCell<Vec<i32>>,
}

impl Guest {
    /// Boots the VM, or takes the one that is up if it answers.
    pub(super) fn up(kernel: &TestKernel, name: &'static str, options: &[&str]) -> Self {
        let mut guest = Self { name, libvirt: None, started: RefCell::default() };
        if !guest.is_well() {
            let _ = vm(&["down", name]);
            let up = vm(&[&["up", name, "--kernel", kernel.release], options].concat());
            assert!(up.status.success(), "{name} does not boot: {}", text(&up.stderr));
        }
        guest.libvirt = guest.info()["libvirt"].as_str().map(str::to_owned);
        guest
    }

    /// How a command line of `ovmigrate` names it.
    pub fn arguments(&self) -> Vec<String> {
        let connect = self.libvirt.iter().flat_map(|uri| ["--connect".to_owned(), uri.clone()]);
        connect.chain(["--domain".to_owned(), self.name.to_owned()]).collect()
    }

    /// Boots a VM of the kernel under test with these options of
    /// `qemu-scripts/vm up`.
    pub(super) fn boot(name: &'static str, options: &[&str]) -> Self {
        let up = ["up", name, "--kernel", TestKernel::chosen().release];
        let up = vm(&[&up, options].concat());
        assert!(up.status.success(), "{options:?} does not boot: {}", text(&up.stderr));
        Self { name, libvirt: None, started: RefCell::default() }
    }

    /// Ends it.
    pub(super) fn down(&self) {
        let down = vm(&["down", self.name]);
        if !down.status.success() {
            eprintln!("{} is left: {}", self.name, text(&down.stderr));
        }
    }

    /// Whether it answers and its kernel has not complained: a kernel that
    /// has may behave in any way.
    fn is_well(&self) -> bool {
        vm(&["exec", self.name, "--", "true"]).status.success()
            && KernelLog::of(self).complaints().is_empty()
    }

    /// Runs a shell script in the guest and returns its output.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        let output = self.try_sh(script);
        assert!(
            output.status.success(),
            "in {}: {script}: {}: {}{}",
            self.name,
            output.status,
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// Runs a shell script in the guest.
    pub fn try_sh(&self, script: &str) -> Output {
        vm(&["exec", self.name, "--", "sh", "-c", script])
    }

    /// Has new processes get the next PIDs afterwards that they would get now:
    /// else this VM would take those of processes that another starts next.
    pub fn keeping_last_pid<T>(&self, action: impl FnOnce() -> T) -> T {
        let last = self.sh(&format!("cat {LAST_PID}"));
        let result = action();
        self.sh(&format!("echo {} >{LAST_PID}", last.trim()));
        result
    }

    /// Starts a command in a session of its own.
    #[track_caller]
    pub fn spawn(&self, command: &[&str]) -> Job<'_> {
        let log = format!("{FOLDER}/{:016x}.log", fastrand::u64(..));
        self.sh(&format!("mkdir -p {FOLDER}"));
        let mut args = vec!["spawn", self.name, "--output", &log, "--"];
        args.extend(command);
        let output = vm(&args);
        assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
        let pid = text(&output.stdout).trim().parse().expect("vm spawn prints a PID");
        self.adopt(pid);
        Job { guest: self, pid, log }
    }

    /// Starts one of `tests/programs` and waits until it has printed `ready`.
    #[track_caller]
    pub fn start(&self, program: &str, args: &[&str], ready: &str) -> Job<'_> {
        let path = self.program(program);
        self.spawn(&[&[path.as_str()], args].concat()).once_it_prints(ready)
    }

    /// The same as a process that the guest's CRIU can dump.
    #[track_caller]
    pub fn start_for_criu(&self, program: &str, args: &[&str], ready: &str) -> Job<'_> {
        let path = self.program(program);
        let command = TestKernel::chosen().for_criu(&[&[path.as_str()], args].concat());
        self.spawn(&command).once_it_prints(ready)
    }

    /// One of `tests/programs` in the guest.
    pub fn program(&self, name: &str) -> String {
        let path = format!("{FOLDER}/{name}");
        let built = programs::built(name);
        // The same file in both VMs, as a restore asks for.
        let here = fs::File::open(&built).expect("a program that was built");
        let here = Command::new("cksum").stdin(here).output().expect("coreutils are installed");
        if self.try_sh(&format!("cksum <{path}")).stdout != here.stdout {
            self.sh(&format!("mkdir -p {FOLDER}; rm -f {path}"));
            self.push(&built, &path);
        }
        path
    }

    /// Copies a file of the host into the guest.
    #[track_caller]
    pub fn push(&self, source: &Path, target: &str) {
        let output = vm(&["push", self.name, source.to_str().unwrap(), target]);
        assert!(output.status.success(), "{}: {}", source.display(), text(&output.stderr));
    }

    /// Copies a file of the guest to the host.
    #[track_caller]
    pub fn pull(&self, source: &str, target: &Path) {
        let output = vm(&["pull", self.name, source, target.to_str().unwrap()]);
        assert!(output.status.success(), "{source}: {}", text(&output.stderr));
    }

    /// Writes its RAM to a file of the host, as an ELF core.
    #[track_caller]
    pub fn dump(&self, target: &Path) {
        let output = vm(&["dump", self.name, target.to_str().unwrap()]);
        assert!(output.status.success(), "{}: {}", target.display(), text(&output.stderr));
    }

    /// Attaches to it by the way to its memory that the run is on.
    #[track_caller]
    pub fn attach(&self) -> Attachment {
        let choice = access::chosen();
        Attachment::open_with(self.name, &Knowledge::user(), choice).unwrap()
    }

    /// What `vm info` knows of it.
    pub fn info(&self) -> Value {
        let output = vm(&["info", self.name]);
        serde_json::from_slice(&output.stdout).expect("vm info prints JSON")
    }

    /// The lines of `/proc/PID/stat` of all processes that run a program of
    /// `tests/programs`.
    pub fn running(&self, program: &str) -> String {
        self.each_that_runs(program, "cat /proc/$pid/stat")
    }

    /// Ends all processes that run a program of `tests/programs`, and waits until
    /// their PIDs are free.
    #[track_caller]
    pub fn end_all(&self, program: &str) {
        let ended = self.each_that_runs(program, "kill -KILL $pid; echo $pid").replace('\n', " ");
        wait_for("the tree is gone", || {
            let left = format!("for pid in {ended}; do ! [ -d /proc/$pid ] || echo $pid; done");
            (self.running(program) + &self.sh(&left)).is_empty().then_some(())
        });
    }

    fn each_that_runs(&self, program: &str, command: &str) -> String {
        let find = "find /proc/[0-9]*/exe -maxdepth 0 -lname";
        self.sh(&format!(
            "for exe in $({find} '*/{program}' 2>/dev/null); do \
                 pid=${{exe#/proc/}}; pid=${{pid%/exe}}; {command}; \
             done 2>/dev/null; true"
        ))
    }

    /// Makes the process one that is ended with the test.
    pub fn adopt(&self, pid: i32) {
        self.started.borrow_mut().push(pid);
    }

    /// Ends what was started, also what is frozen.
    pub(super) fn clean(&self) {
        let pids = self.started.take();
        let list = pids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let left = self.try_sh(&format!(
            "for pid in {list}; do kill -KILL $pid; done 2>/dev/null; sleep 0.2; \
             for pid in {list}; do test -d /proc/$pid && echo $pid; done; true"
        ));
        for pid in text(&left.stdout).lines() {
            // In the freezer trap SIGKILL waits.
            let process = ["--pid".to_owned(), pid.to_owned()];
            ovmigrate(["thaw".to_owned()].into_iter().chain(self.arguments()).chain(process));
        }
    }
}

/// Runs `qemu-scripts/vm`.
fn vm(args: &[&str]) -> Output {
    Command::new(VM).args(args).output().expect("qemu-scripts/vm runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
