//! Restores that cannot be, and what they leave in the guest: nothing. And the
//! ways that images take.

use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ovmigrate::domain::Domain;
use serde_json::json;

use crate::harness::{Guest, Guests, Job, LAST_PID, command, guests, rounds, wait_for, works};

const FOLDER: &str = "/var/tmp/ovmigrate-tests/restoring";

/// What would tell of a restore that left something behind, once udev has heard of
/// what was unplugged. Services come and go, and with them the mounts of their
/// credentials.
fn traces(guests: &Guests) -> String {
    let inside = guests.destination.sh(
        "udevadm settle; ls -d /run/ovmigrate* /tmp/ovmigrate* /var/tmp/ovmigrate-[0-9]* 2>/dev/null; \
         ls /dev/virtio-ports /sys/block; ps -eo comm= | grep criu; \
         cut -d ' ' -f 2 /proc/mounts | grep -v ^/run/credentials/ | sort",
    );
    inside + &plugged(guests).join("\n")
}

/// What of ours is in the destination's QEMU.
fn plugged(guests: &Guests) -> Vec<String> {
    let domain = Domain::find(guests.destination.name).unwrap();
    let ask = |command| domain.qmp().execute(command, json!({})).unwrap();
    let mut found = Vec::new();
    for (command, key) in [
        ("query-chardev", "label"),
        ("query-named-block-nodes", "node-name"),
        ("query-block", "qdev"),
        ("query-fdsets", "fdset-id"),
    ] {
        let answer = ask(command);
        let ids = answer.as_array().unwrap().iter().map(|entry| entry[key].to_string());
        let ours = |id: &String| id.contains("ovmigrate") || key == "fdset-id";
        found.extend(ids.filter(ours).map(|id| format!("{command}: {id}")));
    }
    found
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

/// Has a process of the guest take a PID, if not at once because another that
/// starts then has it.
fn take_pid(guest: &Guest, pid: i32) {
    let start = format!(
        "for attempt in 1 2 3 4 5; do \
             echo {} >{LAST_PID}; sleep 1000 </dev/null >/dev/null 2>&1 & \
             [ $! = {pid} ] && break; kill $!; \
         done; echo $!",
        pid - 1
    );
    let holder = guest.keeping_last_pid(|| guest.sh(&start));
    assert_eq!(holder.trim(), pid.to_string(), "the PID was to be taken");
    guest.adopt(pid);
}

#[test]
fn a_pid_that_is_taken_is_named() {
    let guests = guests();
    let job = saved(&guests);
    guests.copy(&[&job.log, &format!("{FOLDER}/one"), &format!("{FOLDER}/two")]);
    let before = traces(&guests);
    take_pid(&guests.destination, job.pid);
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

/// A process with memory that can be compared, saved and known to the
/// destination, and its files.
fn large(guests: &Guests) -> (Job<'_>, Vec<String>) {
    let script = guests.source.program("memory.py");
    guests.destination.program("memory.py");
    let folder = "/var/tmp/ovmigrate-tests/large";
    let job = guests.source.spawn(&["python3", &script, folder, "64"]);
    wait_for("memory.py is ready", || job.log().contains("ready").then_some(()));
    let files = ["file0", "file1", "file2", "file3", "mapped"];
    let files = files.map(|name| format!("{folder}/{name}")).into_iter().chain([job.log.clone()]);
    let files: Vec<String> = files.collect();
    guests.save(job.pid, &[]).stdout();
    guests.copy(&files.iter().map(String::as_str).collect::<Vec<_>>());
    (job, files)
}

/// Looks at what it says of its memory and files in the destination, ends it,
/// and makes the files there what they were: it has written to some.
fn ask_and_end(guests: &Guests, job: &Job<'_>, files: &[String]) {
    let restored = Job { guest: &guests.destination, pid: job.pid, log: job.log.clone() };
    let said = restored.ask();
    assert_eq!(said.lines().collect::<Vec<_>>(), ["ok memory", "ok files", "ok mapping", "done"]);
    restored.kill("KILL");
    restored.wait_for_end();
    guests.copy(&files.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn a_process_is_the_same_whichever_way_its_images_take() {
    let guests = guests();
    let (job, files) = large(&guests);
    let before = traces(&guests);
    for (via, way) in [("auto", "disk"), ("disk", "disk"), ("port", "port")] {
        let restored = guests.restore_by(&["--via", via, "--json"]).json();
        assert_eq!(restored["way"], way, "{restored}");
        assert!(restored["bytes"].as_u64() > Some(64 << 20), "{restored}");
        assert!(restored["rate"].as_f64() > Some(0.0), "{restored}");
        assert_eq!(traces(&guests), before, "{via}");
        ask_and_end(&guests, &job, &files);
    }
    let kept = guests.restore_by(&["--keep-images", "--json"]).json();
    assert_eq!(kept["way"], "port");
    let kept = kept["kept_images"].as_str().unwrap();
    let listed = guests.destination.sh(&format!("ls {kept}; rm -r {kept}"));
    assert!(listed.contains("pages-1.img") && listed.contains("restore.log"), "{listed}");
    ask_and_end(&guests, &job, &files);
    works(&["restore"]);
}

/// Devices in all free slots of the destination, until dropped.
struct FullSlots(Domain);

impl FullSlots {
    const PORTS: [&str; 2] = ["free1", "free2"];

    fn of(guests: &Guests) -> Self {
        let full = Self(Domain::find(guests.destination.name).unwrap());
        for bus in Self::PORTS {
            let id = format!("in-{bus}");
            let device = json!({ "driver": "virtio-rng-pci", "id": id, "bus": bus });
            full.0.qmp().execute("device_add", device).unwrap();
        }
        full
    }

    /// Whether any of them is there.
    fn is_there(&self) -> bool {
        self.0.qmp().execute("query-pci", json!({})).unwrap().to_string().contains("in-free")
    }
}

impl Drop for FullSlots {
    fn drop(&mut self) {
        wait_for("the slots are free", || {
            for bus in Self::PORTS {
                let device = json!({ "id": format!("in-{bus}") });
                let _ = self.0.qmp().execute("device_del", device);
            }
            sleep(Duration::from_millis(500));
            (!self.is_there()).then_some(())
        });
    }
}

#[test]
fn without_a_free_slot_images_go_by_the_port() {
    let guests = guests();
    let (job, files) = large(&guests);
    let full = FullSlots::of(&guests);
    let message = guests.restore_by(&["--via", "disk"]).failure();
    assert!(message.contains("no free PCI slot"), "{message}");
    let restored = guests.restore_by(&["--json"]).json();
    drop(full);
    assert_eq!(restored["way"], "port", "{restored}");
    assert!(restored["no_disk"].as_str().unwrap().contains("no free PCI slot"), "{restored}");
    ask_and_end(&guests, &job, &files);
}

#[test]
fn a_restore_that_fails_lets_go_of_its_disk() {
    let guests = guests();
    let (job, files) = large(&guests);
    let before = traces(&guests);
    // CRIU finds out.
    guests.destination.sh(&format!("chmod 700 {}", files[0]));
    guests.restore_by(&["--via", "disk"]).failure();
    assert_eq!(traces(&guests), before);
    // A PID that is taken is found out before the disk is mounted.
    take_pid(&guests.destination, job.pid);
    let message = guests.restore_by(&["--via", "disk"]).failure();
    assert!(message.contains("is taken by"), "{message}");
    assert_eq!(traces(&guests), before);
}

/// Starts a restore, sends it `signal` after `delay`, and returns whether it
/// ended by that, with what it said.
fn interrupt(guests: &Guests, via: &str, signal: Signal, delay: Duration) -> Option<String> {
    let images = guests.images();
    let restore = ["restore", "--domain", guests.destination.name, "--via", via];
    let restore = command(restore.iter().chain(&["--images-dir", &images]));
    // Whoever started the tests may have SIGINT ignored, as shells do for what
    // runs in the background.
    let mut restore = Command::new("env")
        .arg("--default-signal=INT")
        .arg(restore.get_program())
        .args(restore.get_args())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    sleep(delay);
    if restore.try_wait().unwrap().is_none() {
        kill(Pid::from_raw(restore.id().cast_signed()), signal).unwrap();
    }
    let output = restore.wait_with_output().unwrap();
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Interrupts restores at moments spread over the length of a whole one.
fn interrupt_everywhere(signal: Signal, mut after: impl FnMut(&Guests, &str, &str)) {
    let guests = guests();
    let (job, files) = large(&guests);
    let before = traces(&guests);
    let mut caught = 0;
    for via in ["disk", "port"] {
        let begin = Instant::now();
        guests.restore_by(&["--via", via]).stdout();
        let whole = begin.elapsed();
        ask_and_end(&guests, &job, &files);
        let tries = rounds(30);
        for number in 0..tries {
            let delay = whole * (2 * number + 1) / (2 * tries);
            let interrupted = || interrupt(&guests, via, signal, delay);
            match guests.destination.keeping_last_pid(interrupted) {
                Some(said) => {
                    caught += 1;
                    after(&guests, &before, &said);
                }
                // CRIU was at work already.
                None => ask_and_end(&guests, &job, &files),
            }
            // One that was killed late may have left it to live.
            let there = format!("pgrep -x criu || kill -KILL {}", job.pid);
            let is_gone = || !guests.destination.try_sh(&there).status.success();
            wait_for("the process is gone", || (is_gone() && is_gone()).then_some(()));
        }
    }
    assert!(caught > 0, "no restore was interrupted");
    guests.restore().stdout();
    ask_and_end(&guests, &job, &files);
    assert_eq!(traces(&guests), before);
}

#[test]
fn an_interrupted_restore_leaves_nothing() {
    interrupt_everywhere(Signal::SIGINT, |guests, before, said| {
        // It may have been too early for it to catch the signal.
        assert!(said.is_empty() || said.contains("interrupted; nothing is left"), "{said}");
        wait_for("nothing is left", || (traces(guests) == before).then_some(()));
    });
}

#[test]
fn what_a_killed_restore_leaves_the_next_one_takes_away() {
    interrupt_everywhere(Signal::SIGKILL, |_, _, _| {});
}
