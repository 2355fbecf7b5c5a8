//! Open files of every kind are as they were.

use crate::harness::{Guest, Guests, Job, TestKernel, guests, kept, ovmigrate, refused};

/// What the program `files` expects in its folder.
fn prepare(guest: &Guest, folder: &str) {
    guest.sh(&format!(
        "rm -rf {folder}; mkdir -p {folder}; cd {folder}; mkfifo -m 644 fifo; \
         seq 1 20000 | head -c 65536 >data"
    ));
}

fn folder(kinds: &[&str]) -> String {
    format!("/var/tmp/ovmigrate-tests/open/{}", kinds[0])
}

/// The program, with files of these kinds open.
pub fn start<'g>(guests: &'g Guests, kinds: &[&str]) -> Job<'g> {
    let folder = folder(kinds);
    prepare(&guests.source, &folder);
    prepare(&guests.destination, &folder);
    guests.destination.program("files");
    guests.source.start_for_criu("files", &[&[folder.as_str()], kinds].concat(), "ready")
}

/// `made`: files that the program makes in its folder.
fn are_as_they_were(kinds: &[&str], made: &[&str]) {
    let guests = guests();
    let job = start(&guests, kinds);
    let made: Vec<_> = made.iter().map(|name| format!("{}/{name}", folder(kinds))).collect();
    let made: Vec<_> = made.iter().map(String::as_str).collect();
    guests.destination.sh(&format!("ln -s nowhere {}/link", folder(kinds)));
    let restored = job.migrate(&guests, &made);
    let said = restored.ask();
    assert!(said.ends_with("done, 0 failures\n"), "{said}");
}

#[test]
fn pipes_and_fifos_are_as_they_were() {
    are_as_they_were(&["pipes"], &[]);
    kept(&["pipes and FIFOs, with data and size", "signal-driven I/O of a pipe"]);
}

#[test]
fn locks_are_as_they_were() {
    are_as_they_were(&["locks"], &["posix", "flock", "ofd", "leased", "alone"]);
    kept(&["file locks: POSIX, flock, OFD, leases"]);
}

#[test]
fn files_by_path_are_as_they_were() {
    are_as_they_were(&["paths", "found_fifo"], &["append", "far"]);
    kept(&[
        "files of O_APPEND, O_PATH, O_DIRECT and with large offsets",
        "files of /proc and /sys",
    ]);
}

#[test]
fn deleted_files_are_as_they_were() {
    are_as_they_were(&["deleted"], &[]);
    kept(&["deleted files, O_TMPFILE too", "deleted directories"]);
}

/// CRIU has them since 4.1.
#[test]
fn pidfds_are_as_they_were() {
    const STATE: &str = "pidfds of members, of zombies and of processes that are gone";
    let guests = guests();
    let job = guests.start("pidfds", &[], "ready");
    let message = guests.save(job.pid, &["--for-criu", "4.0"]).error();
    assert!(message.contains("CRIU 4.0 would lose a pidfd of process"), "{message}");
    assert!(job.ask().ends_with("done, 0 failures\n"), "{}", job.log());
    if let Some(words) = guests.refused_by_old_criu(&job, "would lose a pidfd") {
        job.end_all("pidfds");
        refused(STATE, &format!("{words} a pidfd"));
        return;
    }
    let restored = job.migrate(&guests, &[]);
    let said = restored.ask();
    assert!(said.ends_with("done, 0 failures\n"), "{said}");
    restored.end_all("pidfds");
    kept(&[STATE]);
}

/// Other file systems in both VMs, below one folder.
pub struct Mounts<'a>(&'a Guests);

const MOUNTS: &str = "/var/tmp/ovmigrate-tests/mounts.d";

impl<'a> Mounts<'a> {
    /// What the program `mounts` expects in its folder.
    pub fn make(guests: &'a Guests) -> Self {
        for guest in [&guests.source, &guests.destination] {
            unmount(guest);
            let program = guest.program("mounts");
            guest.sh(&format!(
                "rm -rf {MOUNTS}; mkdir {MOUNTS}; cd {MOUNTS}; \
                 mkdir lower upper work merged source bound lower/inner source/inner; \
                 seq 1 20000 | head -c 65536 >lower/library; head -c 4096 lower/library >source/file; \
                 for name in read copied deleted; do cp source/file lower/$name; done; \
                 cp {program} lower/program; \
                 mkfifo -m 644 lower/fifo; touch single; \
                 mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged; \
                 mount --bind source bound; mount --bind source/file single"
            ));
        }
        Self(guests)
    }

    /// The program, executed from there.
    pub fn start(&self, what: &str) -> Job<'a> {
        let program = format!("{MOUNTS}/merged/program");
        let command = TestKernel::chosen().for_criu(&[&program, MOUNTS, what]);
        self.0.source.spawn(&command).once_it_prints("ready")
    }
}

impl Drop for Mounts<'_> {
    fn drop(&mut self) {
        unmount(&self.0.source);
        unmount(&self.0.destination);
    }
}

/// Those that were mounted last first.
fn unmount(guest: &Guest) {
    guest.try_sh(&format!("grep -o ' {MOUNTS}/[^ ]*' /proc/mounts | tac | xargs -r umount -l"));
}

/// What no path leads to, and what it is to be called.
const LOST: [(&str, &str, &str); 4] = [
    ("a file that a mount hides", "hidden/file", "is hidden by what was mounted over it"),
    ("a file of a file system that was unmounted", "/file", "lies outside the root directory"),
    ("a deleted file that is mounted", "place", "was deleted and is mounted"),
    (
        "a mapped file of overlayfs that was copied up and changed",
        "merged/library",
        "was changed since: overlayfs has put a copy in its place",
    ),
];

#[test]
fn files_on_bind_mounts_and_overlayfs_are_as_they_were() {
    let guests = guests();
    let mounts = Mounts::make(&guests);
    let job = mounts.start("kept");
    let made = ["copied", "made"].map(|name| format!("{MOUNTS}/merged/{name}"));
    let restored = job.migrate(&guests, &made.each_ref().map(String::as_str));
    let said = restored.ask();
    assert!(said.ends_with("done, 0 failures\n"), "{said}");
    kept(&[
        "files, mappings and directories on overlayfs and bind mounts",
        "deleted files of overlayfs",
    ]);

    let job = mounts.start("lost");
    let pid = job.pid.to_string();
    let said = ovmigrate(["check", "--domain", guests.source.name, "--pid", &pid]).stdout;
    for (state, file, words) in LOST {
        let told = said.lines().any(|line| line.contains(file) && line.contains(words));
        assert!(told, "{file} {words} is not in {said}");
        refused(state, words);
    }
    assert!(job.is_alive());
    job.kill("KILL");
}
