//! Real programs that are moved while they work, and end with the right answer.

use std::fmt::Write as _;
use std::fs;

use crate::harness::{Guests, Job, TestKernel, guests, kept, refused, wait_for};

const FOLDER: &str = "/var/tmp/ovmigrate-tests/work";

/// The programs have a folder to work in, empty in both VMs.
fn prepare(guests: &Guests) {
    for guest in [&guests.source, &guests.destination] {
        guest.sh(&format!("rm -rf {FOLDER}; mkdir -p {FOLDER}"));
    }
}

/// Moves a process and its descendants, with the files that they work on as
/// those were when it was saved.
fn moved<'g>(guests: &'g Guests, job: &Job<'_>) -> Job<'g> {
    guests.save(job.pid, &[]).stdout();
    restored(guests, job, &[FOLDER])
}

/// The same under load, with these files.
fn moved_under_load<'g>(guests: &'g Guests, job: &Job<'_>, files: &[&str]) -> Job<'g> {
    guests.save_under_load(job.pid);
    restored(guests, job, files)
}

fn restored<'g>(guests: &'g Guests, job: &Job<'_>, files: &[&str]) -> Job<'g> {
    guests.copy_whole(&[files, &[&job.log]].concat());
    guests.restore().stdout();
    guests.destination.adopt(job.pid);
    Job { guest: &guests.destination, pid: job.pid, log: job.log.clone() }
}

/// The last line that it prints, when it has ended.
fn answer(job: &Job<'_>) -> String {
    job.wait_for_end();
    job.log().lines().last().unwrap_or_default().to_owned()
}

/// Puts a file of text that packs as text does into the source's folder.
fn push_text(guests: &Guests, name: &str, lines: u32) {
    let mut text = String::new();
    let mut random = fastrand::Rng::with_seed(u64::from(lines));
    for line in 0..lines {
        writeln!(text, "{line} {:x} of {}", random.u32(..), random.u16(..)).unwrap();
    }
    let here = guests.folder.join("text");
    fs::write(&here, text).unwrap();
    guests.source.push(&here, &format!("{FOLDER}/{name}"));
}

/// Starts a shell that packs the folder `text`, and waits until a part is done.
fn start_packing<'g>(guests: &'g Guests, compressor: &str) -> Job<'g> {
    prepare(guests);
    guests.source.sh(&format!("mkdir {FOLDER}/text"));
    for number in 0..6 {
        push_text(guests, &format!("text/{number}"), 50_000 + number);
    }
    let job = guests.source.spawn(&["sh", "-c", &pipeline(compressor)]);
    let name = compressor.split_once(' ').expect("options").0;
    wait_for("a part of it is packed", || {
        let script = format!("cat /proc/$(pgrep -P {} -x {name})/io", job.pid);
        let output = job.guest.try_sh(&script).stdout;
        let io = String::from_utf8(output).expect("text");
        let read: u64 = io.lines().find_map(|line| line.strip_prefix("rchar: ")?.parse().ok())?;
        (read > 1 << 20).then_some(())
    });
    job
}

/// Files are others there, which `tar` is not to tell of.
fn pipeline(compressor: &str) -> String {
    format!(
        "cd {FOLDER} && tar --sort=name --warning=no-file-changed -c text | {compressor} | \
         sha256sum; true"
    )
}

#[test]
fn a_pipeline_ends_with_the_right_sum() {
    let guests = guests();
    let xz = "xz -2 -T2 --block-size=1MiB";
    let restricts_itself = matches!(TestKernel::chosen().release, "6.12" | "7.2");
    let compressor = if restricts_itself { "zstd -15 -T2" } else { xz };
    let job = start_packing(&guests, compressor);
    let moved = moved(&guests, &job);
    assert_eq!(job.log(), "", "it had ended");
    // The same files, packed by one that stays.
    let expected = guests.source.sh(&pipeline(compressor));
    assert_eq!(answer(&moved), expected.trim_end());
    kept(&["a pipeline of tar, xz or zstd with threads, and sha256sum"]);
    if restricts_itself {
        let job = start_packing(&guests, xz);
        let message = guests.save(job.pid, &[]).failure();
        let name = "is restricted by Landlock";
        assert!(message.contains(name), "{message}");
        assert_eq!(answer(&job).split_whitespace().count(), 2, "it does not go on: {}", job.log());
        refused("xz of 5.6 and later, which restricts itself", name);
    }
}

#[test]
fn sort_finds_its_temporary_files() {
    const LINES: u32 = 1_000_000;
    let guests = guests();
    prepare(&guests);
    // All numbers up to LINES, each once.
    let text: String = (0..LINES)
        .map(|line| format!("{}\n", u64::from(line) * 48_271 % u64::from(LINES) + 1))
        .collect();
    let here = guests.folder.join("numbers");
    fs::write(&here, text).unwrap();
    guests.source.push(&here, &format!("{FOLDER}/numbers"));
    let sort = ["sort", "-n", "-S", "512K", "-T", FOLDER, "--parallel=2", "-o"];
    let files = [&format!("{FOLDER}/sorted") as &str, &format!("{FOLDER}/numbers")];
    let job = guests.source.spawn(&[&sort[..], &files].concat());
    wait_for("it has temporary files", || {
        let count = job.guest.sh(&format!("ls {FOLDER} | grep -c ^sort[A-Z0-9] || true"));
        (count.trim().parse::<u32>().expect("a number") >= 3).then_some(())
    });
    let moved = moved(&guests, &job);
    assert_eq!(answer(&moved), "");
    guests.destination.sh(&format!("seq 1 {LINES} | cmp - {FOLDER}/sorted"));
    assert_eq!(guests.destination.sh(&format!("ls {FOLDER}")), "numbers\nsorted\n");
    kept(&["sort of a large file, with temporary files"]);
}

#[test]
fn a_perl_program_has_all_its_timers() {
    const TICKS: u64 = 300;
    let guests = guests();
    prepare(&guests);
    let script = guests.source.program("timers.pl");
    guests.destination.program("timers.pl");
    let command = ["perl", &script, &TICKS.to_string()];
    let moved = moved(&guests, &guests.source.spawn(&command).once_it_prints("tick 20\n"));
    let sum: u64 = (1..=TICKS).map(|number| number * number).sum();
    assert_eq!(answer(&moved), format!("sum {sum}"));
    let log = moved.log();
    let ticks: Vec<_> = log.lines().filter(|line| line.starts_with("tick")).collect();
    let expected: Vec<_> = (10..=TICKS).step_by(10).map(|tick| format!("tick {tick}")).collect();
    assert_eq!(ticks, expected);
    kept(&["a Perl program with timers"]);
}

#[test]
fn a_pool_of_python_processes_finishes_its_tasks() {
    let guests = guests();
    prepare(&guests);
    let script = guests.source.program("pool.py");
    guests.destination.program("pool.py");
    let command = ["python3", &script, "300", "500"];
    let moved = moved(&guests, &guests.source.spawn(&command).once_it_prints("task 5\n"));
    // As many primes as there are below 150,000.
    assert_eq!(answer(&moved), "primes 13848 13848");
    let log = moved.log();
    let tasks: Vec<_> = log.lines().filter(|line| line.starts_with("task")).collect();
    let expected: Vec<_> = (1..=300).map(|task| format!("task {task}")).collect();
    assert_eq!(tasks, expected);
    kept(&["a Python pool of processes, with pipes, semaphores and shared memory"]);
}

/// Waits for the end of one that ticks and counts primes, moved at work.
fn has_ticked_and_counted(moved: &Job<'_>, ticks: u64) {
    // Of the numbers below 120,000.
    const PRIMES: u64 = 11_301;
    let sum: u64 = (1..=ticks).map(|number| number * number).sum();
    let said = answer(moved);
    assert_eq!(said, format!("sum {sum} primes {PRIMES}"), "{}", moved.log());
    let log = moved.log();
    let found: Vec<_> = log.lines().filter(|line| line.starts_with("tick")).collect();
    let expected: Vec<_> = (10..=ticks).step_by(10).map(|tick| format!("tick {tick}")).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_node_program_has_its_timers_and_threads() {
    const TICKS: u64 = 600;
    let guests = guests();
    prepare(&guests);
    let script = guests.source.program("timers.js");
    guests.destination.program("timers.js");
    let (keyless, ticks) = (guests.source.program("keyless"), TICKS.to_string());
    let mut command = vec!["node", script.as_str(), ticks.as_str()];
    // Its engine takes keys since Linux 5.13, and since version 20 it uses io_uring.
    let refusal = match TestKernel::chosen().release {
        "5.10" => None,
        "6.1" => Some(("protection keys", "it has protection keys (pkey_alloc)")),
        _ => Some(("io_uring", "uses io_uring")),
    };
    if let Some((what, words)) = refusal {
        let job = guests.source.spawn(&command).once_it_prints("tick 20\n");
        let message = guests.save(job.pid, &[]).error();
        assert!(message.contains(words), "{message}");
        refused(&format!("a Node program with {what}"), words);
        job.kill("KILL");
        job.wait_for_end();
        command.insert(0, &keyless);
    }
    let job = guests.source.spawn(&command).once_it_prints("tick 20\n");
    has_ticked_and_counted(&moved_under_load(&guests, &job, &[FOLDER]), TICKS);
    kept(&["a Node program with timers and threads, without protection keys and io_uring"]);
}

#[test]
fn a_java_program_has_its_timers_and_threads() {
    const TICKS: u64 = 600;
    let guests = guests();
    prepare(&guests);
    let script = guests.source.program("threads.js");
    guests.destination.program("threads.js");
    let rhino = "/usr/share/java/js.jar";
    let (main, ticks) = ("org.mozilla.javascript.tools.shell.Main", TICKS.to_string());
    let command = ["java", "-cp", rhino, main, &script, &ticks];
    let job = guests.source.spawn(&command).once_it_prints("tick 20\n");
    // What it tells of itself, for those that look at it.
    let told = format!("/tmp/hsperfdata_root/{}", job.pid);
    has_ticked_and_counted(&moved_under_load(&guests, &job, &[FOLDER, &told]), TICKS);
    kept(&["a Java program with timers and threads"]);
}
