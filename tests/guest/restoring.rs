//! Restores that cannot be, and what they leave in the guest: nothing.

use std::fs;

use crate::harness::{Guests, Job, LAST_PID, guests};

const FOLDER: &str = "/var/tmp/ovmigrate-tests/restoring";

/// What would tell of a restore that left something behind. Services come and
/// go, and with them the mounts of their credentials.
fn traces(guests: &Guests) -> String {
    guests.destination.sh(
        "ls -d /run/ovmigrate* /tmp/ovmigrate* /var/tmp/ovmigrate-[0-9]* 2>/dev/null; \
         ls /dev/virtio-ports; ps -eo comm= | grep criu; \
         cut -d ' ' -f 2 /proc/mounts | grep -v ^/run/credentials/ | sort",
    )
}

/// A saved process with an output file and two open files, none of which is
/// in the destination yet.
fn saved(guests: &Guests) -> Job<'_> {
    let script = "import os, signal, sys\n\
        keep = [open(f'{sys.argv[1]}/{name}', 'w+') for name in ('one', 'two')]\n\
        [print('x' * 1000, file=file, flush=True) for file in keep]\n\
        signal.signal(signal.SIGUSR1, lambda *_: print('done', flush=True))\n\
        print('ready', flush=True)\n\
        while True: signal.pause()\n";
    guests.source.sh(&format!("mkdir -p {FOLDER}"));
    guests.destination.sh(&format!("rm -rf {FOLDER}; mkdir -p {FOLDER}"));
    let job = guests.source.spawn(&["python3", "-c", script, FOLDER]);
    crate::harness::wait_for("it is ready", || job.log().contains("ready").then_some(()));
    guests.save(job.pid, &[]).stdout();
    job
}

#[test]
fn files_that_are_missing_or_differ_are_all_listed() {
    let guests = guests();
    let before = traces(&guests);
    let job = saved(&guests);
    guests.destination.sh(&format!("echo short >{FOLDER}/one"));
    let message = guests.restore().failure();
    for path in [format!("{FOLDER}/one"), format!("{FOLDER}/two"), job.log.clone()] {
        assert!(message.contains(&path), "{path} is not in {message}");
    }
    assert_eq!(traces(&guests), before);
    // With the files it goes.
    guests.copy(&[&job.log, &format!("{FOLDER}/one"), &format!("{FOLDER}/two")]);
    guests.restore().stdout();
    guests.destination.adopt(job.pid);
    Job { guest: &guests.destination, pid: job.pid, log: job.log }.ask();
    assert_eq!(traces(&guests), before);
}

#[test]
fn a_pid_that_is_taken_is_named() {
    let guests = guests();
    let job = saved(&guests);
    guests.copy(&[&job.log, &format!("{FOLDER}/one"), &format!("{FOLDER}/two")]);
    let before = traces(&guests);
    let start = "sleep 1000 </dev/null >/dev/null 2>&1 & echo $!";
    let holder = guests.destination.keeping_last_pid(|| {
        guests.destination.sh(&format!("echo {} >{LAST_PID}; {start}", job.pid - 1))
    });
    assert_eq!(holder.trim(), job.pid.to_string(), "the PID was to be taken");
    guests.destination.adopt(job.pid);
    let message = guests.restore().failure();
    assert!(message.contains(&job.pid.to_string()), "{message}");
    assert_eq!(traces(&guests), before);
}

#[test]
fn images_that_are_damaged_or_incomplete_are_refused() {
    let guests = guests();
    let job = saved(&guests);
    guests.copy(&[&job.log, &format!("{FOLDER}/one"), &format!("{FOLDER}/two")]);
    let before = traces(&guests);
    let images = std::path::PathBuf::from(guests.images());
    let inventory = fs::read(images.join("inventory.img")).unwrap();
    fs::remove_file(images.join("inventory.img")).unwrap();
    let message = guests.restore().failure();
    assert!(message.contains("inventory.img"), "{message}");
    fs::write(images.join("inventory.img"), inventory).unwrap();
    let pages = fs::read_dir(&images).unwrap().map(|entry| entry.unwrap().path());
    let pages = pages
        .into_iter()
        .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("pages-"));
    let pages = pages.expect("there is an image of pages");
    let length = fs::metadata(&pages).unwrap().len();
    fs::File::options().write(true).open(&pages).unwrap().set_len(length - 4096).unwrap();
    // CRIU itself would wait for the rest for ever.
    let message = guests.restore().failure();
    assert!(message.contains("pages-"), "{message}");
    assert_eq!(traces(&guests), before);
}
