//! A pair of VMs, for one test at a time.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use nix::fcntl::{Flock, FlockArg};

use super::kernel::{self, TestKernel};
use super::{Guest, Job, KernelLog, Run, ovmigrate};

/// Huge pages for the tests that use them, in one and for what CRIU makes on its
/// way in the other: reserved while there is memory in large pieces. Later the
/// kernel would move pages about for them for half a minute of an emulated CPU.
const BOOT: [&str; 2] = ["--append", "hugepages=12"];

/// Both VMs, until dropped.
#[derive(Debug)]
pub struct Guests {
    pub source: Guest,
    pub destination: Guest,
    /// Files of this test on the host.
    pub folder: PathBuf,
    logs: [KernelLog; 2],
    _scratch: tempfile::TempDir,
    _turns: Vec<Flock<File>>,
}

/// Both VMs of the kernel under test, once no other test has them.
pub fn guests() -> Guests {
    let kernel = TestKernel::chosen();
    guests_of(kernel, kernel)
}

/// A source and a destination with kernels of their own, once no other test
/// has them.
pub fn guests_of(source: &'static TestKernel, destination: &'static TestKernel) -> Guests {
    // In one order, so that no two tests wait for each other.
    let used = kernel::ALL.iter().filter(|kernel| [source, destination].contains(kernel));
    let turns = used.map(turn).collect();
    let source = Guest::up(source, source.source_vm, &BOOT);
    let destination = Guest::up(destination, destination.destination_vm, &BOOT);
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    Guests {
        logs: [KernelLog::of(&source), KernelLog::of(&destination)],
        source,
        destination,
        folder: scratch.path().to_owned(),
        _scratch: scratch,
        _turns: turns,
    }
}

/// The right to use the VMs of a kernel. One for the machine: other checkouts
/// use the same VMs.
fn turn(kernel: &TestKernel) -> Flock<File> {
    let name = format!("ovmigrate-test-{}.lock", kernel.release);
    let lock = File::create(std::env::temp_dir().join(name)).unwrap();
    Flock::lock(lock, FlockArg::LockExclusive).expect("a lock on a file of ours")
}

impl Guests {
    /// Takes the complaints in the source's kernel log so far as not ours.
    pub fn excuse_log(&mut self) {
        self.logs[0] = KernelLog::of(&self.source);
    }

    /// Starts one of `tests/programs` in the source; the destination gets it
    /// as well.
    #[track_caller]
    pub fn start(&self, program: &str, args: &[&str], ready: &str) -> Job<'_> {
        self.destination.program(program);
        self.source.start(program, args, ready)
    }

    /// A path on the host for the images of this test.
    pub fn images(&self) -> String {
        self.folder.join("images").to_str().expect("a path of ours").to_owned()
    }

    /// Saves a process of the source.
    pub fn save(&self, pid: i32, options: &[&str]) -> Run {
        let (pid, images) = (pid.to_string(), self.images());
        let save = ["save", "--domain", self.source.name, "--pid", &pid, "--images-dir", &images];
        ovmigrate(save.iter().chain(options))
    }

    /// Saves a process of the source, which is under load meanwhile.
    pub fn save_under_load(&self, pid: i32) {
        let load = self.source.load();
        // The load keeps the guest's kernel from finishing what it does meanwhile.
        self.save(pid, &["--timeout", "60s"]).stdout();
        load.end();
    }

    /// Restores what [`Guests::save`] saved in the destination.
    pub fn restore(&self) -> Run {
        self.restore_by(&[])
    }

    /// The same with options.
    pub fn restore_by(&self, options: &[&str]) -> Run {
        let images = self.images();
        let restore = ["restore", "--domain", self.destination.name, "--images-dir", &images];
        // CRIU sets where the next PIDs come from.
        self.destination.keeping_last_pid(|| ovmigrate(restore.iter().chain(options)))
    }

    /// The version of the destination's CRIU.
    pub fn criu_version(&self) -> String {
        let version = self.destination.sh("criu --version | sed -n 's/^Version: //p'");
        version.trim().to_owned()
    }

    /// Has the destination refuse a process that its CRIU, being of version 3, would
    /// lose `lost` of, while the process runs on. Returns the words of the refusal, or
    /// nothing where it is a later version.
    #[track_caller]
    pub fn refused_by_old_criu(&self, job: &Job<'_>, lost: &str) -> Option<String> {
        let version = self.criu_version();
        if !version.starts_with('3') {
            return None;
        }
        self.save(job.pid, &["--leave-running"]).stdout();
        self.copy(&[&job.log]);
        let words = format!("CRIU {version} would lose");
        let message = self.restore().error();
        assert!(message.contains(&words) && message.contains(lost), "{lost:?}: {message}");
        Some(words)
    }

    /// Copies files of the source to the same paths in the destination.
    #[track_caller]
    pub fn copy(&self, paths: &[&str]) {
        self.copy_from(&self.source, paths);
    }

    /// Copies files and folders of the source, with all that is in them, to the
    /// same paths in the destination: modes, owners and times as well.
    #[track_caller]
    pub fn copy_whole(&self, paths: &[&str]) {
        const ARCHIVE: &str = "/var/tmp/ovmigrate-tests.tar";
        let here = self.folder.join("copy.tar");
        self.source.sh(&format!("tar --format=posix -cPf {ARCHIVE} {}", paths.join(" ")));
        self.source.pull(ARCHIVE, &here);
        self.destination.push(&here, ARCHIVE);
        self.destination.sh(&format!("tar -xpPf {ARCHIVE} && rm {ARCHIVE}"));
        self.source.sh(&format!("rm {ARCHIVE}"));
        fs::remove_file(here).unwrap();
    }

    /// Copies files of a VM to the same paths in the destination.
    #[track_caller]
    pub fn copy_from(&self, source: &Guest, paths: &[&str]) {
        self.copy_between(source, &self.destination, paths);
    }

    /// Copies files of a VM to the same paths in another.
    #[track_caller]
    pub fn copy_between(&self, source: &Guest, target: &Guest, paths: &[&str]) {
        for (number, path) in paths.iter().enumerate() {
            let here = self.folder.join(format!("copy{number}"));
            source.pull(path, &here);
            // A restore compares modes.
            let mode = source.sh(&format!("stat -c %a {path}"));
            let mode = u32::from_str_radix(mode.trim(), 8).expect("stat prints a mode");
            fs::set_permissions(&here, Permissions::from_mode(mode)).unwrap();
            target.sh(&format!("mkdir -p $(dirname {path})"));
            target.push(&here, path);
            fs::remove_file(here).unwrap();
        }
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        self.source.clean();
        self.destination.clean();
        if std::thread::panicking() {
            return;
        }
        for (guest, before) in [&self.source, &self.destination].into_iter().zip(&self.logs) {
            let log = KernelLog::of(guest);
            let new = log.new_since(before);
            assert!(new.is_empty(), "the kernel of {} complains: {new:#?}", guest.name);
        }
    }
}
