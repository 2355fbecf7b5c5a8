//! The pair of VMs, for one test at a time.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use nix::fcntl::{Flock, FlockArg};

use super::{Guest, Job, KernelLog, Run, ovmigrate};

/// Both VMs, until dropped.
#[derive(Debug)]
pub struct Guests {
    pub source: Guest,
    pub destination: Guest,
    /// Files of this test on the host.
    pub folder: PathBuf,
    logs: [KernelLog; 2],
    _scratch: tempfile::TempDir,
    _turn: Flock<File>,
}

/// Both VMs, once no other test has them.
pub fn guests() -> Guests {
    // One for the machine: other checkouts use the same VMs.
    let lock = File::create(std::env::temp_dir().join("ovmigrate-test-guests.lock")).unwrap();
    let turn = Flock::lock(lock, FlockArg::LockExclusive).expect("a lock on a file of ours");
    let source = Guest::up("test-a");
    let destination = Guest::up("test-b");
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    Guests {
        logs: [KernelLog::of(&source), KernelLog::of(&destination)],
        source,
        destination,
        folder: scratch.path().to_owned(),
        _scratch: scratch,
        _turn: turn,
    }
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

    /// Restores what [`Guests::save`] saved in the destination.
    pub fn restore(&self) -> Run {
        ovmigrate(["restore", "--domain", self.destination.name, "--images-dir", &self.images()])
    }

    /// Copies files of the source to the same paths in the destination.
    #[track_caller]
    pub fn copy(&self, paths: &[&str]) {
        for (number, path) in paths.iter().enumerate() {
            let here = self.folder.join(format!("copy{number}"));
            self.source.pull(path, &here);
            // A restore compares modes.
            let mode = self.source.sh(&format!("stat -c %a {path}"));
            let mode = u32::from_str_radix(mode.trim(), 8).expect("stat prints a mode");
            fs::set_permissions(&here, Permissions::from_mode(mode)).unwrap();
            self.destination.sh(&format!("mkdir -p $(dirname {path})"));
            self.destination.push(&here, path);
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
