//! Saves that do not come to their end: no process is lost, no VM stands still.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount, umount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Guests, Job, command, guests, ovmigrate, rounds};

/// A process with 128 MiB of memory, so that a save of it takes a while.
fn large(guests: &Guests) -> Job<'_> {
    let script = guests.source.program("memory.py");
    let job = guests.source.spawn(&["python3", &script, "/var/tmp/ovmigrate-tests/large", "128"]);
    crate::harness::wait_for("memory.py is ready", || job.log().contains("ready").then_some(()));
    job
}

/// The process answers, after a thaw if it was left frozen.
fn assert_lives(job: &Job<'_>) {
    assert!(job.is_alive(), "the process is gone");
    ovmigrate(["thaw", "--domain", job.guest.name, "--pid", &job.pid.to_string()]).stdout();
    let said = job.ask();
    assert!(!said.contains("FAIL"), "{said}");
}

/// Starts a save.
fn begin(guests: &Guests, job: &Job<'_>, options: &[&str]) -> Child {
    let (pid, images) = (job.pid.to_string(), guests.images());
    let save = ["save", "--domain", guests.source.name, "--pid", &pid, "--images-dir", &images];
    let save = command(save.iter().chain(options));
    // Whoever started the tests may have SIGINT ignored, as shells do for what
    // runs in the background.
    Command::new("env")
        .arg("--default-signal=INT")
        .arg(save.get_program())
        .args(save.get_args())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Starts a save with these options, sends it `signal` after `delay`, and returns
/// what it said if it was still at work.
fn interrupt(
    guests: &Guests,
    job: &Job<'_>,
    options: &[&str],
    signal: Signal,
    delay: Duration,
) -> Option<String> {
    let mut save = begin(guests, job, options);
    sleep(delay);
    if save.try_wait().unwrap().is_some() {
        return None;
    }
    kill(Pid::from_raw(save.id().cast_signed()), signal).unwrap();
    let output = save.wait_with_output().unwrap();
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// How often a moment is tried that comes too late.
const ATTEMPTS: u32 = 4;

/// Interrupts saves at moments spread over the length of a whole one.
fn interrupt_everywhere(signal: Signal, mut after: impl FnMut(&Guests, &Job<'_>, &str)) {
    let guests = guests();
    let job = large(&guests);
    let begin = Instant::now();
    guests.save(job.pid, &["--leave-running"]).stdout();
    let mut whole = begin.elapsed();
    std::fs::remove_dir_all(guests.images()).unwrap();
    let (tries, mut caught) = (rounds(60), 0);
    for number in 0..tries {
        for _ in 0..ATTEMPTS {
            let delay = whole * (2 * number + 1) / (2 * tries);
            let said = interrupt(&guests, &job, &["--leave-running"], signal, delay);
            if let Some(said) = &said {
                caught += 1;
                after(&guests, &job, said);
            }
            assert_lives(&job);
            let _ = std::fs::remove_dir_all(guests.images());
            if said.is_some() {
                break;
            }
            // It was too late: the host has become less busy, or the images were
            // complete.
            whole = whole * 3 / 4;
        }
    }
    assert!(caught * 3 > tries, "{caught} of {tries} saves were interrupted");
}

#[test]
fn an_interrupted_save_leaves_the_process_running_and_no_images() {
    interrupt_everywhere(Signal::SIGINT, |guests, job, said| {
        assert!(!Path::new(&guests.images()).join("inventory.img").exists(), "{said}");
        // It may have been too early for it to catch the signal.
        if !said.is_empty() {
            assert!(said.contains("interrupted"), "{said}");
        }
        job.ask();
    });
}

#[test]
fn a_killed_save_loses_nothing_and_the_vm_runs() {
    interrupt_everywhere(Signal::SIGKILL, |guests, _, _| {
        // The images, if there are any, are never taken for complete ones
        // while the process lives; the VM answers.
        guests.source.sh("true");
    });
}

/// Of a process that is to be killed there are complete images, or it lives.
#[test]
fn a_save_that_is_killed_before_it_kills_loses_no_process() {
    let guests = guests();
    let script = guests.source.program("memory.py");
    let command = ["python3", &script, "/var/tmp/ovmigrate-tests/large", "16"];
    let start = || guests.source.spawn(&command).once_it_prints("ready");
    let first = start();
    let begun = Instant::now();
    guests.save(first.pid, &[]).stdout();
    let mut whole = begun.elapsed();
    let tries = rounds(100);
    let (mut lived, mut caught) = (0, 0);
    for number in 0..tries {
        let job = start();
        let _ = std::fs::remove_dir_all(guests.images());
        let delay = whole * (2 * number + 1) / (2 * tries);
        match interrupt(&guests, &job, &[], Signal::SIGKILL, delay) {
            Some(_) => caught += 1,
            // The first was slower than those that know the kernel.
            None => whole = whole * 3 / 4,
        }
        let is_saved = Path::new(&guests.images()).join("inventory.img").exists();
        if !is_saved {
            assert_lives(&job);
            lived += 1;
        }
        // Else it has ended, or is about to, or is as the save left it.
        ovmigrate(["thaw", "--domain", guests.source.name, "--pid", &job.pid.to_string()]);
        guests.source.try_sh(&format!("kill -KILL {}", job.pid));
        job.wait_for_end();
    }
    assert!(caught > 0 && lived > 0, "{caught} of {tries} were killed, {lived} processes lived");
}

/// Has the guest undo what froze a process while its pages are being written.
fn undone(guests: &Guests, job: &Job<'_>, options: &[&str], script: &str) {
    let slowly = ["--verbose", "--rate-limit", "32M"];
    let mut save = begin(guests, job, &[&slowly, options].concat());
    let mut said = BufReader::new(save.stderr.take().expect("it is piped"));
    let mut line = String::new();
    while !line.contains("is frozen") {
        line.clear();
        assert_ne!(said.read_line(&mut line).unwrap(), 0, "it has ended");
    }
    guests.source.sh(script);
    let mut message = String::new();
    said.read_to_string(&mut message).unwrap();
    assert!(!save.wait().unwrap().success(), "{message}");
    assert!(message.contains("ran while it was to be frozen"), "{message}");
    assert!(!Path::new(&guests.images()).exists(), "images are left of a process that lives");
    assert!(!job.ask().contains("FAIL"));
}

#[test]
fn a_process_that_the_guest_lets_go_is_not_killed() {
    let guests = guests();
    let job = large(&guests);
    let pid = job.pid;
    undone(&guests, &job, &["--freeze", "signal"], &format!("kill -CONT {pid}"));
    let group = "/sys/fs/cgroup/ovmigrate-freezer";
    guests.source.sh(&format!("mkdir -p {group}; echo {pid} >{group}/cgroup.procs"));
    let toggle = "for state in 1 0; do echo $state >cgroup.freeze; sleep 0.5; done";
    undone(&guests, &job, &["--ignore-cgroups"], &format!("cd {group}; {toggle}"));
    job.kill("KILL");
    job.wait_for_end();
    guests.source.sh(&format!("until rmdir {group}; do sleep 0.1; done"));
}

#[test]
fn a_full_disk_leaves_the_process_running() {
    let guests = guests();
    let job = large(&guests);
    let small = guests.folder.join("small");
    std::fs::create_dir(&small).unwrap();
    mount(Some("tmpfs"), &small, Some("tmpfs"), MsFlags::empty(), Some("size=16M"))
        .expect("root may mount");
    let images = small.join("images");
    let run = ovmigrate([
        "save",
        "--domain",
        guests.source.name,
        "--pid",
        &job.pid.to_string(),
        "--images-dir",
        images.to_str().unwrap(),
    ]);
    let left = images.exists();
    umount(&small).unwrap();
    let message = run.error();
    assert!(message.contains("No space left") || message.contains("space"), "{message}");
    assert!(!left, "a part of the images was left behind");
    assert!(!job.ask().contains("FAIL"));
}
