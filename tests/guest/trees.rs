//! Whole trees of processes: frozen together while they fork, moved together,
//! and none of them left behind.

use crate::harness::{Guests, Job, Run, guests, kept, ovmigrate, refused, rounds, wait_for};

/// Restores what was saved of `job`, whose log has been copied.
fn restored<'g>(guests: &'g Guests, job: &Job<'_>) -> Job<'g> {
    guests.copy(&[&job.log]);
    guests.restore().stdout();
    guests.destination.adopt(job.pid);
    Job { guest: &guests.destination, pid: job.pid, log: job.log.clone() }
}

fn start_tree<'a>(guests: &'a Guests, folder: &str, more: &[&str]) -> Job<'a> {
    for guest in [&guests.source, &guests.destination] {
        guest.sh(&format!("rm -rf {folder}"));
    }
    let job = guests.start("tree", &[&[folder], more].concat(), "ready");
    guests.destination.sh(&format!("mkdir {folder} && chmod 777 {folder}"));
    guests.copy(&[&format!("{folder}/shared")]);
    job
}

const FOLDER: &str = "/var/tmp/ovmigrate-tests/tree.d";

#[test]
fn a_tree_is_as_it_was() {
    let guests = guests();
    let job = start_tree(&guests, FOLDER, &[]);
    let before = job.ask();
    assert!(before.contains("done, 15 members, 0 failures"), "{before}");
    for freeze in ["trap", "signal"] {
        let save = guests.save(job.pid, &["--leave-running", "--json", "--freeze", freeze]);
        let report = save.json();
        assert_eq!((&report["processes"], &report["threads"]), (&18.into(), &19.into()));
        let after = job.ask();
        assert!(after.contains("done, 15 members, 0 failures"), "{freeze}: {after}");
        std::fs::remove_dir_all(guests.images()).unwrap();
    }
    let said = guests.save(job.pid, &[]).stdout();
    assert!(said.contains("and 17 descendants"), "{said}");
    assert_eq!(job.running("tree"), "", "left in the source");
    guests.copy(&[&job.log]);
    let said = guests.restore().stdout();
    assert!(said.contains(&format!("process {} and 17 descendants run", job.pid)), "{said}");
    guests.destination.adopt(job.pid);
    let moved = Job { guest: &guests.destination, pid: job.pid, log: job.log.clone() };
    let after = moved.ask();
    assert!(after.contains("done, 15 members, 0 failures"), "{after}");
    moved.end_all("tree");
    kept(&[
        "children, threads of any member, generations",
        "zombies, by exit and by signal",
        "sessions and process groups, also a group whose leader has ended",
        "an orphan that a subreaper adopted, child subreapers",
        "a descriptor table shared with the parent (CLONE_FILES)",
        "parent-death signal",
        "memory shared copy-on-write with a parent",
        "keep-caps, securebits, dumpable, OOM adjustment of each member",
    ]);
}

/// Each time another moment of the storm is met.
#[test]
fn a_tree_that_forks_all_the_time_is_held_and_killed_whole() {
    let guests = guests();
    for (round, adopt) in (0..rounds(20)).zip([true, false].into_iter().cycle()) {
        let args: &[&str] = if adopt { &["3", "adopt"] } else { &["3"] };
        let job = guests.start("storm", args, "round 10\n");
        for _ in 0..3 {
            guests.save(job.pid, &["--leave-running"]).stdout();
            std::fs::remove_dir_all(guests.images()).unwrap();
            job.wait_for_output();
        }
        guests.save(job.pid, &[]).stdout();
        // Orphans that had left the tree run to their end.
        wait_for("none is left", || job.running("storm").is_empty().then_some(()));
        let moved = restored(&guests, &job);
        moved.wait_for_output();
        assert!(!moved.log().contains("FAIL"), "round {round}: {}", moved.log());
        moved.end_all("storm");
        std::fs::remove_dir_all(guests.images()).unwrap();
    }
    kept(&["a tree that forks all the time"]);
}

/// Python statements that make what CRIU cannot, what that is, and the words
/// that it is refused with.
const REFUSED: [(&str, &str, &str); 5] = [
    ("os.fork() or os._exit(200)", "a zombie with an exit status above 127", "exit status 200"),
    (
        "libc.prctl(36, 1); os.fork() or (os.setsid(), os.fork() and os._exit(0), signal.pause())",
        "an orphan in a session that no ancestor leads",
        "which is no ancestor of it",
    ),
    (
        "libc.syscall(56, 10, 0, 0, 0, 0) or signal.pause()",
        "another exit signal than SIGCHLD",
        "another signal than SIGCHLD",
    ),
    (
        "libc.syscall(56, 0x200 | 17, 0, 0, 0, 0) or signal.pause()",
        "directories shared with another process (CLONE_FS)",
        "root and working directory",
    ),
    ("libc.prctl(1, 15)", "a parent-death signal of the root", "PR_SET_PDEATHSIG"),
];

#[test]
fn what_criu_cannot_make_again_is_named_and_all_run_on() {
    let guests = guests();
    for (statement, state, name) in REFUSED {
        let script = format!(
            "import ctypes, os, signal\nlibc = ctypes.CDLL(None)\n\
             signal.signal(signal.SIGUSR1, lambda *_: print('done', flush=True))\n\
             {statement}\nprint('ready\\n', flush=True)\nwhile True: signal.pause()\n"
        );
        let job = guests.source.spawn(&["python3", "-c", &script]).once_it_prints("ready");
        let message = guests.save(job.pid, &[]).failure();
        assert!(message.contains(name), "{statement}: {name:?} is not in {message}");
        assert!(!std::path::Path::new(&guests.images()).exists(), "{statement}: images were begun");
        job.ask();
        job.guest.sh(&format!("kill -KILL -{}", job.pid));
        refused(state, name);
    }
}

fn thaw(job: &Job<'_>) -> Run {
    let pid = job.pid.to_string();
    ovmigrate(["thaw", "--domain", job.guest.name, "--pid", &pid, "--tree"])
}

#[test]
fn a_tree_that_cannot_be_frozen_runs_on_and_one_left_frozen_is_thawed() {
    let guests = guests();
    let job = guests.source.start("vforked", &[], "ready");
    let message = guests.save(job.pid, &["--timeout", "2s"]).error();
    assert!(message.contains("(state D) in ") && message.contains("wait_for_"), "{message}");
    assert!(message.contains("vfork()"), "{message}");
    assert!(message.contains(&format!("process {}", job.pid)), "{message}");
    let frozen = job.guest.sh(&format!("ps -o stat= -p {}", job.pid));
    assert!(frozen.starts_with('D'), "{frozen}");
    job.guest.sh(&format!("kill -KILL -{}", job.pid));

    let job = start_tree(&guests, FOLDER, &[]);
    let said = guests.save(job.pid, &["--leave-stopped"]).stdout();
    assert!(said.contains(&format!("--pid {} --tree", job.pid)), "{said}");
    thaw(&job).stdout();
    let after = job.ask();
    assert!(after.contains("done, 15 members, 0 failures"), "{after}");
    job.end_all("tree");
}
